"""Which home folder is meant, how a command that we print names it, and how files are replaced."""

from __future__ import annotations

import os
import shlex
import stat
import time
from pathlib import Path

import pytest

from hpsearch.paths import MAX_WRITE_S, home_dir, home_option, replace_file, replacing


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


def test_a_replaced_file_has_the_usual_permissions_and_leaves_nothing_beside_it(tmp_path):
    replace_file(tmp_path / "a.txt", "caf\u00e9", durable=True)
    (tmp_path / "b.txt").write_text("")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xc3\xa9"
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == stat.S_IMODE((tmp_path / "b.txt").stat().st_mode)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "link").is_symlink()


def test_after_an_error_the_old_file_is_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), replacing(path) as beside:
        assert beside.suffix == ".csv"
        beside.write_text("half")
        raise OSError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def left_by_a_killed_process(path: Path, *, age_s: float) -> Path:
    """The folder that `replacing` leaves when its process is killed in the middle of a write."""
    with replacing(path) as beside:
        beside.write_text("")
    beside.parent.mkdir()
    beside.write_text("half")
    os.utime(beside.parent, (time.time() - age_s, time.time() - age_s))
    return beside.parent


def test_what_a_killed_process_left_is_named_after_the_file_and_removed_by_a_later_write(tmp_path):
    path, other = tmp_path / "a[1].csv", tmp_path / "a1.csv"
    old = left_by_a_killed_process(path, age_s=MAX_WRITE_S + 60)
    young = left_by_a_killed_process(path, age_s=MAX_WRITE_S - 60)
    of_other = left_by_a_killed_process(other, age_s=MAX_WRITE_S + 60)
    assert young.name.startswith(".a[1].csv.new-")
    replace_file(path, "new")
    assert not old.exists()
    assert young.exists()  # another process may be writing it
    assert of_other.exists()


def test_under_a_lock_what_a_killed_process_left_is_removed_at_once(tmp_path):
    path = tmp_path / "ledger.db"
    young = left_by_a_killed_process(path, age_s=0)
    with replacing(path, locked=True) as beside:
        assert not young.exists()
        beside.write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["ledger.db"]


def test_two_writes_of_one_file_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.csv"
    with replacing(path) as first:
        first.write_text("first")
        replace_file(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_a_name_as_long_as_the_file_system_allows_is_replaced(tmp_path):
    path = tmp_path / ("\u00e9" * 125 + ".csv")
    replace_file(path, "new")
    assert path.read_text() == "new"
