"""Checkpoints as files: which are complete, how two trials share them, and how they are removed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.ledger.checkpoints import (
    checkpoint_path,
    complete_epochs,
    drop_later,
    newest_epoch,
    remove_checkpoints,
    share_checkpoints,
)
from tests.support.checkpoints import epochs_in, write_checkpoint
from tests.support.kills import KilledError


def write_ray_checkpoint(folder: Path, epoch: int, *, files: int = 2) -> None:
    path = folder / f"ray-epoch-{epoch}" / "inside"
    path.mkdir(parents=True)
    for number in range(files):
        (path / f"{number}").write_text(f"{epoch}")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def at_call(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, Callable[[], None]], None]:
    """Do something before a call of a function of `os`: `at_call("link", 2, act)` before the second one."""

    def install(name: str, which: int, act: Callable[[], None]) -> None:
        real, calls = getattr(os, name), [0]

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == which:
                act()
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)

    return install


def test_what_ranks_really_write_is_complete(tmp_path: Path):
    torch = pytest.importorskip("torch")
    from hpsearch.training.checkpoint import save_checkpoint

    about = {"world_size": 2, "device": torch.device("cpu")}
    save_checkpoint(tmp_path, epoch=4, rank=0, objects={"model": torch.nn.Linear(1, 1)}, **about)
    assert complete_epochs(tmp_path) == []
    save_checkpoint(tmp_path, epoch=4, rank=1, objects={}, **about)
    assert complete_epochs(tmp_path) == epochs_in(tmp_path) == [4]
    path = checkpoint_path(tmp_path, 4)
    assert path is not None and torch.load(path)["epoch"] == 4


@pytest.mark.parametrize("lost", ["rank-0.pt", "rank-0.json", "rank-1.pt", "rank-1.json"])
def test_a_checkpoint_that_lacks_a_file_is_none(tmp_path: Path, lost: str):
    write_checkpoint(tmp_path, 3, ranks=2)
    write_checkpoint(tmp_path, 4, ranks=2)
    (tmp_path / f"epoch-000004.{lost}").unlink()
    assert complete_epochs(tmp_path) == [3]
    assert checkpoint_path(tmp_path, 4) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"world_size": 0, "size_bytes": 1}', '{"world_size": "1"}'])
def test_what_is_no_manifest_makes_no_checkpoint(tmp_path: Path, text: str):
    write_checkpoint(tmp_path, 4)
    (tmp_path / "epoch-000004.rank-0.json").write_text(text)
    assert complete_epochs(tmp_path) == []


def test_a_file_that_was_cut_or_is_a_link_makes_no_checkpoint(tmp_path: Path):
    for epoch in (1, 2):
        write_checkpoint(tmp_path, epoch, b"four")
    (tmp_path / "epoch-000001.rank-0.pt").write_bytes(b"fou")
    (tmp_path / "epoch-000002.rank-0.pt").rename(tmp_path / "elsewhere")
    (tmp_path / "epoch-000002.rank-0.pt").symlink_to(tmp_path / "elsewhere")
    assert complete_epochs(tmp_path) == []


def test_a_ray_function_has_a_folder_for_each(tmp_path: Path):
    write_ray_checkpoint(tmp_path, 2)
    write_ray_checkpoint(tmp_path, 11)
    (tmp_path / "ray-epoch-12").mkdir()
    (tmp_path / "ray-tmp-7").mkdir()
    assert complete_epochs(tmp_path) == [2, 11]
    assert checkpoint_path(tmp_path, 11) == tmp_path / "ray-epoch-11"
    assert (newest_epoch(tmp_path, at_most=10), newest_epoch(tmp_path, at_most=1)) == (2, None)


def test_without_a_folder_there_is_none(tmp_path: Path):
    assert complete_epochs(tmp_path / "none") == []
    assert newest_epoch(tmp_path / "none", at_most=9) is None
    remove_checkpoints(tmp_path / "none")
    drop_later(tmp_path / "none", 0)
    assert share_checkpoints(tmp_path / "none", tmp_path / "own", epochs=[1]) is None
    assert not (tmp_path / "own").exists()


def test_a_shared_checkpoint_takes_no_room_and_outlives_the_other(tmp_path: Path):
    other, own = tmp_path / "other", tmp_path / "own"
    write_checkpoint(other, 4, b"four", ranks=2)
    assert share_checkpoints(other, own, epochs=[4]) == 4
    assert (own / "epoch-000004.rank-1.pt").samefile(other / "epoch-000004.rank-1.pt")
    remove_checkpoints(other)
    assert epochs_in(own) == [4]


def test_only_what_was_asked_for_and_is_complete_is_shared_and_the_newest_two_stay(tmp_path: Path):
    other, own = tmp_path / "other", tmp_path / "own"
    for epoch in (1, 3):
        write_checkpoint(own, epoch)
    for epoch in (8, 9, 10):
        write_checkpoint(other, epoch)
    (other / "epoch-000009.rank-0.json").unlink()
    assert share_checkpoints(other, own, epochs=[8, 9]) == 8
    assert complete_epochs(own) == epochs_in(own) == [3, 8]
    assert not [name for name in names(own) if "0009" in name or "0010" in name or "0001" in name]


def test_a_checkpoint_that_was_never_finished_is_replaced(tmp_path: Path):
    other, own = tmp_path / "other", tmp_path / "own"
    write_checkpoint(other, 4, b"other", ranks=2)
    write_checkpoint(own, 4, b"own", ranks=3)
    (own / "epoch-000004.rank-2.json").unlink()
    assert share_checkpoints(other, own, epochs=[4]) == 4
    assert epochs_in(own) == [4] and (own / "epoch-000004.rank-0.pt").read_bytes() == b"other"
    assert not (own / "epoch-000004.rank-2.pt").exists()


def test_without_hard_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    write_checkpoint(tmp_path / "other", 4, b"four")
    write_ray_checkpoint(tmp_path / "other", 5)
    assert share_checkpoints(tmp_path / "other", tmp_path / "own", epochs=[4, 5]) == 5
    shutil.rmtree(tmp_path / "other")
    assert epochs_in(tmp_path / "own") == [4] and complete_epochs(tmp_path / "own") == [4, 5]


def test_a_copy_that_finds_no_room_leaves_the_own_ones_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    write_checkpoint(tmp_path / "other", 4, b"four")
    write_ray_checkpoint(tmp_path / "other", 5)
    write_checkpoint(tmp_path / "own", 3)
    before = names(tmp_path / "own")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    assert share_checkpoints(tmp_path / "other", tmp_path / "own", epochs=[4, 5]) is None
    assert names(tmp_path / "own") == before


@pytest.mark.parametrize("which", range(1, 9))
@pytest.mark.parametrize("write", [write_checkpoint, write_ray_checkpoint])
def test_a_source_that_is_removed_meanwhile_leaves_a_complete_checkpoint_or_none(
    tmp_path: Path, write: Callable[..., None], which: int, at_call: Callable[..., None]
):
    other, own = tmp_path / "other", tmp_path / "own"
    write_checkpoint(own, 1)
    for epoch in (3, 4):
        write(other, epoch, **({"ranks": 2} if write is write_checkpoint else {}))
    at_call("link", which, lambda: remove_checkpoints(other))
    shared = share_checkpoints(other, own, epochs=[3, 4])
    assert shared == max((epoch for epoch in complete_epochs(own) if epoch > 1), default=None)
    assert all(checkpoint_path(own, epoch) for epoch in (shared or 1,))
    whole = names(own)
    drop_later(own, shared or 1)
    assert names(own) == whole, "no half of another one is left"


@pytest.mark.parametrize("which", range(1, 9))
@pytest.mark.parametrize("name", ["link", "unlink", "rename"])
@pytest.mark.parametrize("write", [write_checkpoint, write_ray_checkpoint])
def test_a_kill_at_any_instant_leaves_only_complete_checkpoints_and_the_next_try_succeeds(
    tmp_path: Path, write: Callable[..., None], name: str, which: int, at_call: Callable[..., None]
):
    def die() -> None:
        raise KilledError

    other, own = tmp_path / "other", tmp_path / "own"
    for epoch in (1, 2):
        write(own, epoch)
    for epoch in (3, 4):
        write(other, epoch)
    at_call(name, which, die)
    try:
        share_checkpoints(other, own, epochs=[3, 4])
    except KilledError:
        assert len(complete_epochs(own)) >= 2
        assert write is write_ray_checkpoint or complete_epochs(own) == epochs_in(own)
    missing = [epoch for epoch in (3, 4) if epoch not in complete_epochs(own)]
    share_checkpoints(other, own, epochs=missing)
    assert {3, 4} <= set(complete_epochs(own))


def test_later_epochs_are_dropped_complete_or_not(tmp_path: Path):
    for epoch in (3, 4, 5):
        write_checkpoint(tmp_path, epoch)
    write_ray_checkpoint(tmp_path, 6)
    (tmp_path / "epoch-000005.rank-0.json").unlink()
    (tmp_path / "mine.txt").touch()
    drop_later(tmp_path, 3)
    assert names(tmp_path) == {"epoch-000003.rank-0.pt", "epoch-000003.rank-0.json", "mine.txt"}


def test_a_removal_that_is_cut_short_leaves_nothing_that_looks_complete(tmp_path: Path, at_call: Callable[..., None]):
    def die() -> None:
        raise KilledError

    folder = tmp_path / "checkpoint"
    write_ray_checkpoint(folder, 4)
    at_call("unlink", 2, die)
    with pytest.raises(KilledError):
        remove_checkpoints(folder)
    assert complete_epochs(folder) == []
    remove_checkpoints(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_the_user_put_elsewhere_is_left_alone(tmp_path: Path):
    write_checkpoint(tmp_path / "elsewhere", 4)
    (tmp_path / "checkpoint").symlink_to(tmp_path / "elsewhere")
    remove_checkpoints(tmp_path / "checkpoint")
    assert complete_epochs(tmp_path / "checkpoint") == [], "it is not read through the link"
    assert complete_epochs(tmp_path / "elsewhere") == [4], "nor removed"
