"""Trials of two ranks of which one does not come to the collective operation that the other waits in; without Ray."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hpsearch.slots import rank_group
from hpsearch.slots.protocol import Assignment, Event, Failed, Report
from hpsearch.slots.slot import Slot
from tests.support.local_ranks import LocalRanks, local_slot, replace_ray
from tests.support.waiting import until

SHORT_S = 3.0
"""Time-out of collective operations in the second epoch of the trials of this module."""

NUMBERS = itertools.count(1)
Run = Callable[..., tuple[Event, str]]


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Slot, LocalRanks]]:
    """A slot of two ranks for the tests of this module: its preload server takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        replace_ray(patch)
        slot, ranks = local_slot(train, folder=tmp_path_factory.mktemp("sweep"), ranks=2)
        yield slot, ranks
        slot.finish()
        ranks.close()


@pytest.fixture
def run(slot: tuple[Slot, LocalRanks]) -> Run:
    """Train two epochs; returns the second event, and the trial's log."""
    trainer, ranks = slot

    def two_epochs(**config: Any) -> tuple[Event, str]:
        number = next(NUMBERS)
        trainer.assign(Assignment(number=number, attempt=1, config=config, seed=0, max_epochs=None))
        assert isinstance(trainer.next_event(), Report)
        pids = [member.process.pid for member in ranks.members]
        event = trainer.next_event()
        trainer.finish()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        return event, (Path(ranks.settings.sweep_dir) / "trials" / f"{number:04d}" / "log.txt").read_text()

    return two_epochs


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Adds up on two ranks; in its second epoch rank 1 has the trouble that the configuration names."""
    import torch

    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=600))
    rank = torch.distributed.get_rank()
    for epoch in range(3):
        if epoch == 1:
            torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=config.get("timeout_s", SHORT_S)))
            torch.distributed.barrier()
            if rank == 1:
                have_trouble(config)
        total = torch.ones(1)
        if not (epoch == 1 and rank == 1 and config["trouble"] == "skip"):
            torch.distributed.all_reduce(total)
        yield {"loss": float(total)}


def have_trouble(config: dict[str, Any]) -> None:
    if config["trouble"] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif config["trouble"] == "sleep":
        time.sleep(600)
    elif config["trouble"] == "late":
        time.sleep(SHORT_S + 1)
    elif config["trouble"] == "raise":
        raise ValueError("its own mistake")
    elif config["trouble"] == "raise late":
        try:
            raise RuntimeError("timed out waiting for the data server")
        finally:
            time.sleep(1)


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        ("stop", "its process is stopped by a signal (SIGSTOP), at "),
        ("sleep", "its process runs, at "),
    ],
)
def test_the_rank_that_the_other_waits_for_is_named_with_its_line(run: Run, trouble: str, state: str) -> None:
    event, log = run(trouble=trouble)
    assert isinstance(event, Failed) and event.cause == "hung"
    late, waited = event.evidence.split("; rank 0 waited for it in epoch 2: ")
    assert late.startswith("rank 1 (process ") and state in late and "in have_trouble; its stack is in the log" in late
    assert "Timed out waiting 3000ms" in waited and "test_late_ranks.py:" in waited and "in train)" in waited
    assert "Fatal Python error: Aborted" in log and "in have_trouble" in log


def test_a_rank_that_comes_after_the_time_out_is_named(run: Run) -> None:
    event, _ = run(trouble="late")
    assert isinstance(event, Failed) and event.cause == "hung"
    assert event.evidence.startswith("rank 0 waited too long for rank 1: ")


def test_a_stopped_rank_is_found_where_the_time_out_of_the_group_is_long(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_group, "STOPPED_S", 1.0)
    event, _ = run(timeout_s=600, trouble="stop")
    assert isinstance(event, Failed) and event.cause == "hung"
    assert event.evidence.startswith("rank 1 (process ") and "(SIGSTOP)" in event.evidence


@pytest.mark.parametrize("trouble", ["raise", "raise late"])
def test_the_own_error_of_a_rank_is_the_cause_although_the_other_waits_for_it(run: Run, trouble: str) -> None:
    event, _ = run(trouble=trouble)
    assert isinstance(event, Failed) and event.cause == "user_error"
    assert event.evidence.startswith(("ValueError: its own mistake", "RuntimeError: timed out waiting for the data"))


def test_a_rank_that_leaves_out_an_operation_is_named_with_the_error_of_the_other(run: Run) -> None:
    event, _ = run(trouble="skip")
    assert isinstance(event, Failed) and event.cause == "user_error"
    assert event.evidence.endswith("; rank 1 had finished the epoch without this operation")
