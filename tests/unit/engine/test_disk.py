"""Waiting for space on a disk whose free space the test sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.engine.disk import COMMIT_BYTES, MIB, START_BYTES, DiskGuard
from hpsearch.errors import LedgerError


class Disk:
    """A guard, what it has said, and how much is free at each check."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.is_over, self.slept = 2**40, False, 0.0
        self.said: list[str] = []
        self.guard = DiskGuard(folder, say=self.said.append, give_up=lambda: self.is_over, sleep=self._sleep)
        monkeypatch.setattr(self.guard, "_free", lambda: self.free)
        self.frees_after: int | None = None

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        assert self.slept < 100, "it waits for ever"
        if self.frees_after is not None and self.slept >= self.frees_after:
            self.free = 2**40


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


def test_starts_wait_for_space_and_report_once_how_much_is_missing(disk):
    disk.free = START_BYTES - 10 * MIB - 1
    assert [disk.guard.allows_start() for _ in range(3)] == [False] * 3
    (said,) = disk.said
    assert said.startswith("disk full: 11 MiB short in ")
    disk.free = START_BYTES
    assert disk.guard.allows_start()
    assert disk.said[1:] == ["There is space on the disk again: the sweep continues."]


def test_a_commit_waits_until_there_is_space(disk):
    disk.free, disk.frees_after = COMMIT_BYTES - 1, 7
    disk.guard.wait_to_commit()
    assert disk.slept == 7
    disk.guard.wait_to_commit()
    assert disk.slept == 7, "it waits no more"


def test_a_sweep_that_is_to_end_does_not_wait_for_space(disk):
    disk.free, disk.is_over = 0, True
    with pytest.raises(LedgerError, match="disk is full"):
        disk.guard.wait_to_commit()
    assert disk.slept == 0


def test_after_a_trial_ran_out_of_space_the_next_needs_twice_its_files(disk, tmp_path):
    (tmp_path / "checkpoint").write_bytes(bytes(3 * MIB))
    disk.free = START_BYTES + 6 * MIB - 1
    assert disk.guard.allows_start()
    disk.guard.raise_minimum(tmp_path)
    assert not disk.guard.allows_start()
    disk.free += 1
    assert disk.guard.allows_start()


def test_a_failure_that_is_reported_when_there_is_space_again_makes_no_trial_wait(disk, tmp_path):
    """The engine waits for space to record one failure; the next ones are handled when there is enough again."""
    for _ in range(5):
        disk.guard.raise_minimum(tmp_path)
        assert disk.guard.allows_start()
    disk.free = START_BYTES
    assert disk.guard.allows_start()


def test_the_free_space_is_that_of_the_folder(tmp_path: Path):
    guard = DiskGuard(tmp_path, say=print, give_up=lambda: True)
    assert guard.allows_start()
    assert guard._free() > MIB
