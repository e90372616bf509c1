"""Attempts in this process, as a rank makes them, without Ray."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import hpsearch
from hpsearch.devices.requests import WorkerRequest
from hpsearch.errors import LinkRefused
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.resident.attempt import ResidentAttempt
from tests.support.slot_settings import settings_of


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Keeps a model and counts."""
    epoch = hpsearch.current_trial().keep(model=nn.Linear(1, 1))
    while True:
        epoch += 1
        yield {"loss": 1 / epoch}


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    """Makes an attempt at trial 1, on one of `workers` ranks."""

    def make(*, rank: int = 0, workers: int = 1, known: int = 9, function: Any = train) -> ResidentAttempt:
        request = WorkerRequest(cpu=1, gpu=0, workers=workers)
        settings = settings_of(request=request, sweep_dir=str(tmp_path), working_dir=str(tmp_path))
        assignment = Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None, known_epochs=known)
        position = RankPosition(rank=rank, world_size=workers, local_rank=rank, local_world_size=workers)
        return ResidentAttempt(
            assignment, function, settings=settings, position=position, ranks_here=1, in_ray_session=False
        )

    return make


def test_that_a_checkpoint_was_damaged_is_in_the_log_once_and_not_with_every_epoch_of_every_rank(
    attempt: Any, tmp_path: Path
) -> None:
    first = attempt()
    assert [first.advance(save=True).checkpoint_epoch for _ in range(3)] == [1, 2, 3]
    first.close(save=False)
    path = tmp_path / "trials" / "0001" / "checkpoint" / "epoch-000003.rank-0.pt"
    path.write_bytes(path.read_bytes()[:-1])

    for rank in range(2):
        again = attempt(rank=rank)
        assert [again.advance(save=False).epoch for _ in range(3)] == [3, 4, 5]
        again.close(save=False)
    log = (tmp_path / "trials" / "0001" / "log.txt").read_text()
    assert log.splitlines() == [
        "hpsearch: has no checkpoint and starts over; epochs up to 9 are in the ledger and not reported again",
        "hpsearch: continues from its checkpoint of epoch 2",
        "hpsearch: checkpoint of epoch 3 is damaged (cut short), went back to epoch 2",
    ]


def test_the_log_says_where_a_trial_continues_and_nothing_of_one_that_begins(attempt: Any, tmp_path: Path) -> None:
    log = tmp_path / "trials" / "0001" / "log.txt"
    first = attempt(known=0)
    assert [first.advance(save=True).epoch for _ in range(2)] == [1, 2]
    first.close(save=False)
    assert log.read_text() == ""
    second = attempt(known=2)
    assert second.advance(save=False).epoch == 3
    second.close(save=False)
    assert log.read_text() == "hpsearch: continues from its checkpoint of epoch 2\n"


def test_a_checkpoint_of_an_epoch_that_is_not_on_record_is_not_used(attempt: Any) -> None:
    first = attempt(known=0)
    assert [first.advance(save=True).checkpoint_epoch for _ in range(3)] == [1, 2, 3]
    first.close(save=False)
    for known, begins_at in ((2, 3), (1, 1)):  # the newest two are kept, those of epochs 2 and 3
        again = attempt(known=known)
        assert again.advance(save=False).epoch == begins_at
        again.close(save=False)


@pytest.mark.parametrize("level", ["trials", "trials/0001", "trials/0001/checkpoint", "trials/0001/log.txt"])
def test_an_attempt_does_not_begin_where_its_folder_is_a_link(attempt: Any, tmp_path: Path, level: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / level).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / level).symlink_to(outside)
    with pytest.raises(LinkRefused):
        attempt()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("level", ["trials", "trials/0001", "trials/0001/checkpoint"])
def test_a_checkpoint_is_not_written_through_a_link_that_was_made_meanwhile(
    attempt: Any, tmp_path: Path, level: str
) -> None:
    running = attempt()
    assert running.advance(save=True).checkpoint_epoch == 1
    (tmp_path / level).rename(tmp_path / "outside")
    (tmp_path / level).symlink_to(tmp_path / "outside")
    before = sorted((tmp_path / "outside").rglob("*"))
    failure = running.advance(save=True).failure
    running.close(save=True)
    assert failure is not None and "this is a symbolic link" in failure.evidence
    assert sorted((tmp_path / "outside").rglob("*")) == before


class Stream:
    """A stream of the user's that can neither be written nor flushed."""


@pytest.mark.parametrize("how", ["close", "none", "replace"])
def test_the_own_error_of_a_trial_without_output_streams_is_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())

    def failing(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for name in ("stdout", "stderr"):
            if how == "close":
                getattr(sys, name).close()
            else:
                setattr(sys, name, None if how == "none" else Stream())
        yield {"loss": 1.0}
        raise KeyError("my own mistake")

    settings = settings_of(sweep_dir=str(tmp_path), working_dir=str(tmp_path))
    assignment = Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None)
    attempt = ResidentAttempt(
        assignment, failing, settings=settings, position=RankPosition(), ranks_here=1, in_ray_session=False
    )
    assert attempt.advance(save=False).metrics == {"loss": 1.0}
    failure = attempt.advance(save=False).failure
    assert failure is not None and "my own mistake" in failure.evidence and "test_attempt.py:" in failure.evidence
    attempt.close(save=False)
    assert "my own mistake" in (tmp_path / "trials" / "0001" / "log.txt").read_text()


def by_report(config: dict[str, Any]) -> None:
    """Fails in its first line, in a thread."""
    raise ValueError("my own")


def by_yield(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Fails in its first line."""
    raise ValueError("my own")
    yield {}


@pytest.mark.parametrize("function", [by_report, by_yield])
def test_what_fails_before_the_trainables_first_line_is_no_failure_of_the_trainable(
    attempt: Any, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(seed: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    own = attempt(function=function)
    failure = own.advance(save=False).failure
    own.close(save=False)
    assert (failure.cause, failure.has_begun) == ("user_error", True)
    monkeypatch.setattr("hpsearch.training.rng.seed_everything", broken)
    first = attempt(function=function)
    failure = first.advance(save=False).failure
    first.close(save=False)
    assert (failure.cause, failure.has_begun) == ("node_lost", False)
    assert failure.evidence == "could not begin: OSError: [Errno 24] Too many open files (start of the trainable)"
