"""Which folder is meant, and how a command that we print names it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hpsearch.paths import home_dir, home_option


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPSEARCH_HOME", raising=False)


def test_what_is_given_goes_before_the_variable_and_that_before_the_default(monkeypatch):
    assert home_dir(None) == Path("sweeps")
    monkeypatch.setenv("HPSEARCH_HOME", "elsewhere")
    assert home_dir(None) == Path("elsewhere")
    assert home_dir("given") == home_dir(Path("given")) == Path("given")


def test_the_default_folder_needs_no_option():
    assert home_option(Path("sweeps")) == ""


def test_a_folder_with_a_blank_can_be_pasted_into_a_shell():
    assert shlex.split(f"resume resnet{home_option(Path('my sweeps'))}") == ["resume", "resnet", "--home", "my sweeps"]


def test_the_default_folder_is_named_where_the_variable_leads_elsewhere(monkeypatch):
    monkeypatch.setenv("HPSEARCH_HOME", "elsewhere")
    assert home_option(Path("sweeps")) == " --home sweeps"
