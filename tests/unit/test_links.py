"""Paths below a home folder: what is opened, made and checked, and that no link there is followed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from hpsearch.errors import LedgerError, LinkRefused
from hpsearch.links import (
    IN_HOME,
    IN_SWEEP,
    IN_TRIAL,
    check_sweep_folder,
    check_unlinked,
    is_linked,
    make_folder,
    open_file,
    opened_folder,
    read_file,
)
from hpsearch.paths import log_path, trials_dir

LEVELS = ("net", "net/trials", "net/trials/0002", "net/trials/0002/log.txt")
"""Each part of the path of a trial's log that may be a link."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a sweep `net` that has one trial, whose log says `mine`."""
    folder = tmp_path / "sweeps"
    log = log_path(folder / "net", 2)
    log.parent.mkdir(parents=True)
    log.write_text("mine")
    return folder


def replace_by_link(path: Path, elsewhere: Path) -> None:
    """Move a file or folder elsewhere and leave a link."""
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def write(path: Path) -> None:
    os.close(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, parts=IN_TRIAL))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("use", [lambda path: read_file(path, parts=IN_TRIAL), write])
def test_no_part_of_a_path_below_the_home_may_be_a_link(
    home: Path, tmp_path: Path, level: str, use: Callable[[Path], object]
):
    replace_by_link(home / level, tmp_path / "elsewhere")
    log = log_path(home / "net", 2)
    with pytest.raises(LinkRefused) as caught:
        use(log)
    assert str(caught.value).startswith(f"{home / level}: this is a symbolic link to {tmp_path}/elsewhere. ")
    assert log.read_text() == "mine"


@pytest.mark.parametrize("level", LEVELS[:3])
def test_no_folder_is_made_through_a_link(home: Path, tmp_path: Path, level: str):
    replace_by_link(home / level, tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LinkRefused):
        make_folder(home / "net" / "trials" / "0002" / "checkpoint", parts=IN_TRIAL)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_home_itself_may_be_a_link_and_so_may_the_folders_above_it(home: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "other").symlink_to(home)
    monkeypatch.chdir(tmp_path)
    for linked in (tmp_path / "other", Path("other"), tmp_path / "link" / "sweeps"):
        assert read_file(log_path(linked / "net", 2), parts=IN_TRIAL) == b"mine"
        make_folder(linked / "new" / "trials", parts=IN_SWEEP)
        check_sweep_folder(linked / "net")
    assert trials_dir(home / "new").is_dir()
    monkeypatch.chdir(home)
    assert read_file(log_path(Path("net"), 2), parts=IN_TRIAL) == b"mine"


def test_a_link_to_another_place_in_the_home_is_not_followed_either(home: Path):
    trials_dir(home / "net").joinpath("0003").symlink_to(home / "net" / "trials" / "0002")
    assert is_linked(log_path(home / "net", 3), parts=IN_TRIAL)
    with pytest.raises(LinkRefused):
        read_file(log_path(home / "net", 3), parts=IN_TRIAL)


def test_a_link_that_leads_nowhere_or_to_itself_is_refused_with_its_name(home: Path):
    for name, target in (("nowhere", "/no/such/place"), ("circle", "circle"), ("odd\x1b[2J", "a\nb")):
        (home / name).symlink_to(target)
        with pytest.raises(LinkRefused) as caught:
            check_unlinked(home / name / "lock", parts=IN_SWEEP)
        assert str(caught.value).isprintable()


def test_what_does_not_exist_passes_the_check_and_is_an_error_of_the_system_when_it_is_opened(home: Path):
    assert check_unlinked(home / "none" / "lock", parts=IN_SWEEP) == home / "none" / "lock"
    check_sweep_folder(home / "none")
    with pytest.raises(FileNotFoundError):
        read_file(home / "none" / "lock", parts=IN_SWEEP)
    with pytest.raises(FileNotFoundError), opened_folder(home / "none", parts=IN_HOME):
        pass


def test_a_pipe_in_the_place_of_a_file_does_not_block_its_reader(home: Path):
    os.mkfifo(home / "net" / "live.json")
    with pytest.raises(OSError, match="not a file"):
        read_file(home / "net" / "live.json", parts=IN_SWEEP)


@pytest.mark.parametrize(
    "name", ["lock", "journal.jsonl", "runs.jsonl", "prior.json", "driver.log", "code", "trials", "trials/0002",
             "trials/0002/log.txt", "trials/0002/checkpoint", "trials/notes"],
)  # fmt: skip
def test_the_check_of_a_sweeps_folder_finds_each_link_that_would_be_followed(home: Path, tmp_path: Path, name: str):
    check_sweep_folder(home / "net")
    path = home / "net" / name
    (tmp_path / "elsewhere").mkdir()
    replace_by_link(path, tmp_path / "moved") if path.exists() else path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LinkRefused) as caught:
        check_sweep_folder(home / "net")
    assert str(caught.value).startswith(f"{path}: ")


def test_links_that_hpsearch_never_opens_are_the_users_own(home: Path):
    (home / "net" / "best.pt").symlink_to("trials/0002/checkpoint")
    (home / "net" / "trials" / "0002" / "last.ckpt").symlink_to("/somewhere")
    check_sweep_folder(home / "net")


@pytest.mark.parametrize("level", LEVELS[:3])
def test_a_link_that_appears_after_the_check_is_not_followed(home: Path, tmp_path: Path, level: str, monkeypatch):
    real = os.open

    def swapping(name, flags, *args, **kwargs):
        monkeypatch.setattr(os, "open", real)
        replace_by_link(home / level, tmp_path / "elsewhere")
        return real(name, flags, *args, **kwargs)

    log = log_path(home / "net", 2)
    check_unlinked(log, parts=IN_TRIAL)
    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(LinkRefused):
        write(log)
    assert log.read_text() == "mine"


def test_the_error_is_one_of_the_ledger_and_of_the_system_and_passes_between_processes(home: Path):
    (home / "link").symlink_to("/elsewhere")
    with pytest.raises(LinkRefused) as caught:
        check_unlinked(home / "link", parts=IN_HOME)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, LedgerError) and isinstance(copy, OSError) and str(copy) == str(caught.value)
    assert copy.exit_code == 5
