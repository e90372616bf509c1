"""Which home folder is meant, how a command that we print names it, and how files are replaced."""

from __future__ import annotations

import errno
import glob
import os
import shlex
import signal
import stat
import time
from pathlib import Path

import pytest

from hpsearch.paths import home_dir, home_option, replace_file, replacing


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


def killed_in_the_middle(path: Path) -> Path:
    """The folder that `replacing` leaves when its process is killed in the middle of a write."""
    if (child := os.fork()) == 0:
        with replacing(path) as beside:
            beside.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = path.parent.glob(f".{glob.escape(path.name)}.new-*")
    return left


def test_what_a_killed_process_left_is_named_after_the_file_and_removed_by_the_next_write(tmp_path):
    path, other = tmp_path / "a[1].csv", tmp_path / "a1.csv"
    left, of_other = killed_in_the_middle(path), killed_in_the_middle(other)
    assert left.name.startswith(".a[1].csv.new-")
    replace_file(path, "new")
    assert not left.exists()
    assert of_other.exists()


@pytest.mark.parametrize("age_s", [-3600.0, 0.0, 7200.0])
def test_a_folder_in_use_is_kept_however_old_the_clock_makes_it(tmp_path, age_s):
    path = tmp_path / "a.csv"
    with replacing(path) as beside:
        beside.write_text("first")
        os.utime(beside.parent, (time.time() - age_s, time.time() - age_s))
        replace_file(path, "second")
        assert beside.read_text() == "first"
    assert path.read_text() == "first"


@pytest.mark.parametrize("names", [[], ["lock.new"]])
def test_a_folder_that_another_process_is_about_to_lock_is_kept(tmp_path, names):
    path, folder = tmp_path / "a.csv", tmp_path / ".a.csv.new-0a1b2c3d"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("")
    replace_file(path, "new")
    assert folder.exists()


def test_where_the_file_system_has_no_locks_files_are_replaced_and_no_folder_of_others_is_removed(
    tmp_path, monkeypatch
):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "no locks here")

    left = killed_in_the_middle(tmp_path / "a.csv")
    monkeypatch.setattr("fcntl.flock", unsupported)
    replace_file(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "new"
    assert left.exists()


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
