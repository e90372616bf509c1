"""A trial's process and all that it has started end with its rank, supervisor, preload server, raylet and driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.faults.checker import processes_of
from tests.support.real import RealSweep
from tests.support.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FAMILY = """

import subprocess

_train = train


def train(config):
    subprocess.Popen(["sleep", "6000"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(1)
        os._exit(0)
    yield from _train(config)
"""
"""Appended to the diarist: each trial has a child in a session of its own, and a daemon that was forked twice."""


def titled(sweep: RealSweep, text: str) -> list[int]:
    return [pid for pid, command in processes_of(sweep.mark).items() if text in command]


VICTIMS: dict[str, Callable[[RealSweep], list[int]]] = {
    "rank": lambda sweep: titled(sweep, "ray::Rank.step") or titled(sweep, "ray::trial"),
    "supervisor": lambda sweep: titled(sweep, "ray::Slot"),
    "server": lambda sweep: titled(sweep, "hpsearch victim preload"),
    "raylet": lambda sweep: [sweep.daemon("raylet")],
    "driver": lambda sweep: [],
}
"""Process ids by what is killed; `RealSweep` itself kills its driver."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", VICTIMS)
def test_nothing_of_a_trial_outlives_a_kill(victim, name: str) -> None:
    sweep = victim(trials=2, epochs=60, epoch_s=0.02)
    diarist = sweep.folder / "diarist.py"
    diarist.write_text(diarist.read_text() + FAMILY)
    sweep.start()
    sweep.train_until(lambda: titled(sweep, "hpsearch victim trial"), "a trial's process is there")
    trials = [psutil.Process(pid) for pid in titled(sweep, "hpsearch victim trial") if is_leader(pid)]
    family = [process for trial in trials for process in [trial, *trial.children(recursive=True)]]
    assert len(family) >= 3 * len(trials) > 0
    if name == "driver":
        sweep.kill()
    else:
        for pid in VICTIMS[name](sweep):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(lives(process) for process in family))
    if name == "driver":
        assert sweep.left_over() == {}
        sweep.let_go()
        code, output = sweep.run("resume")
    else:
        sweep.let_go()
        code, output = sweep.wait()
    assert code == 0, output
    sweep.watch.check_end(interruptions=len(trials))
    assert sweep.watch.figures.problems == []
    assert sweep.left_over() == {}
    assert sweep.left_over(agents=True) == {}, "after a kill of the driver they wait a minute for a GCS that is gone"


def is_leader(pid: int) -> bool:
    """Whether it is the trial's process itself, not a fork of it, which has the same title."""
    parent = psutil.Process(pid).parent()
    return parent is not None and "hpsearch victim preload" in " ".join(parent.cmdline())


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
