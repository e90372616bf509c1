"""What the command line does before and around its verbs."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

import hpsearch
import hpsearch.__main__
from hpsearch.cli import app
from hpsearch.errors import Interrupted


def test_the_version_is_printed():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"hpsearch {hpsearch.__version__}\n")


@pytest.mark.parametrize("words", [[], ["sweep"], ["show"]])
def test_help_has_a_short_name_too(words):
    short, long = (CliRunner().invoke(app, [*words, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout


@pytest.mark.parametrize("code", [130, 143])
def test_a_signal_before_the_first_trial_has_a_message_and_an_exit_code(code, monkeypatch):
    def interrupted(*words: object, **more: object) -> None:
        raise Interrupted(code)

    monkeypatch.setattr("hpsearch.driver.request.make_run", interrupted)
    result = CliRunner().invoke(app, ["resume"])
    assert (result.exit_code, result.stderr) == (code, "Interrupted before a trial began.\n")


def test_ctrl_c_while_the_command_line_is_imported_is_no_traceback(monkeypatch):
    class CtrlC:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "hpsearch.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "hpsearch.cli")
    monkeypatch.setattr(sys, "meta_path", [CtrlC, *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        hpsearch.__main__.main()
    assert left.value.code == 130
