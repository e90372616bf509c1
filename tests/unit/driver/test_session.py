"""How a session ends, whatever becomes of its trials: no Ray, one real process in the place of a rank."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpsearch.cluster.connect import Cluster
from hpsearch.cluster.heartbeat import Heartbeat
from hpsearch.cluster.nodes import Node
from hpsearch.driver.driver import Run
from hpsearch.engine.engine import Engine
from hpsearch.errors import Interrupted
from hpsearch.ledger.store import Ledger
from hpsearch.paths import processes_path
from hpsearch.slots.process_file import Process, RankProcess, TrialProcesses, write_process_file
from hpsearch.slots.protocol import Assignment, Failed, Report
from hpsearch.spec.sweep import Sweep
from tests.support.waiting import PATIENCE_S

TREE: dict[str, Any] = {
    "name": "ends",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2]}},
    "limits": {"trials": 2, "epochs": 1},
}
CLUSTER = Cluster(
    nodes=(Node(id="here", address="127.0.0.1", cpus=2, gpus=0),),
    ships_code=False,
    dashboard_url=None,
    owned=False,
    heartbeat=Heartbeat(None, None),
)


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A sweep whose Ray has one node, and comes up at once."""

    @contextmanager
    def connect(*words: object, **more: object) -> Iterator[Cluster]:
        yield CLUSTER

    monkeypatch.setattr("hpsearch.driver.session.connect", connect)
    return Run(sweep=Sweep.from_dict(TREE), home=home, function=lambda config: iter(()), show="none")


@pytest.fixture
def run_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[BaseException], subprocess.Popen[bytes]]]:
    """Makes `run_assignments` end with an error while a rank, which is given back, trains the first trial."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as rank:

        def make(error: BaseException) -> subprocess.Popen[bytes]:
            def run_assignments(engine: Engine, *words: object, **more: object) -> None:
                assignment = engine.next_assignment()
                assert isinstance(assignment, Assignment)
                members = (RankProcess(process=Process.of(rank.pid), gpus=""),)
                write_process_file(
                    processes_path(home / "ends", assignment.number),
                    TrialProcesses(attempt=assignment.attempt, ranks=members),
                )
                raise error

            monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", run_assignments)
            return rank

        yield make


def test_after_an_error_of_ours_no_rank_is_left(run, run_ends, home):
    rank = run_ends(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        run.start()
    assert rank.wait(PATIENCE_S) == -signal.SIGKILL


def test_after_a_second_signal_no_rank_is_left_and_the_sweep_can_go_on(run, run_ends, home):
    rank = run_ends(KeyboardInterrupt())
    run.start()
    assert rank.wait(PATIENCE_S) == -signal.SIGKILL
    with Ledger(home) as ledger:
        assert [trial.state for trial in ledger.trials(ledger.sweep("ends"))] == ["interrupted"]


def test_the_time_limit_begins_when_the_first_trial_has_processes(run, home, monkeypatch):
    left: list[float | None] = []

    def run_assignments(engine: Engine, *words: object, ticks: list[Callable[[], None]], **more: object) -> None:
        engine.next_assignment()
        path = processes_path(home / "ends", 1)
        for members in ((), (RankProcess(process=Process.of(os.getpid()), gpus=""),)):
            if members:
                write_process_file(path, TrialProcesses(attempt=1, ranks=members))
            ticks[0]()
            left.append(engine.time_left_s)
        path.unlink()

    monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", run_assignments)
    replace(run, sweep=Sweep.from_dict({**TREE, "limits": {"trials": 2, "epochs": 1, "time": "1h"}})).start()
    assert left == [None, pytest.approx(3600.0, abs=60.0)]


def test_a_sweep_that_gives_up_says_why_while_other_trials_still_run(run, monkeypatch, capsys):
    evidence = "reported [Loss], needed loss (did you mean 'Loss'?)"

    def run_assignments(engine: Engine, *words: object, ticks: list[Callable[[], None]], **more: object) -> None:
        engine.concurrent = 2
        for _ in range(2):
            engine.next_assignment()
        engine.on_event(2, Failed(cause="bad_metric", evidence=evidence, elapsed_s=9.0, is_misspelling=True))
        for tick in [*ticks, *ticks]:
            tick()

    monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", run_assignments)
    assert replace(run, show="lines").start() == 1
    said = f"Giving up: trial 2 failed after 9 s, and others probably would: {evidence}. Running epochs have 15 s"
    assert capsys.readouterr().out.count(f"{said} to finish.\n") == 1


def test_a_sweep_that_is_out_of_time_says_so_while_trials_still_run(run, monkeypatch, capsys):
    def run_assignments(engine: Engine, *words: object, ticks: list[Callable[[], None]], **more: object) -> None:
        engine.next_assignment()
        engine.begin_time(3600.0)
        engine.tick()
        for tick in [*ticks, *ticks]:
            tick()

    monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", run_assignments)
    limits = {"trials": 2, "epochs": 1, "time": "1h"}
    replace(run, sweep=Sweep.from_dict({**TREE, "limits": limits}), show="lines").start()
    said = "Stopping: the time limit of 3600 s was reached. Running epochs have 15 s to finish.\n"
    assert capsys.readouterr().out.count(said) == 1


def test_that_a_sweep_starts_again_is_the_first_line(run, home, monkeypatch, capsys):
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("ends", Sweep.from_dict({**TREE, "seed": 7}).to_dict())
        ledger.update_trial(ledger.add_trial(record, 1, point={"x": 1}, seed=7), state="failed", cause="user_error")
        ledger.end_sweep(record, "gave_up")
    monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", lambda *words, **more: None)
    replace(run, show="lines").start()
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == (
        "ends: its only trial had failed; it is kept as ends~1. The sweep starts again with the changed spec (seed)."
    )
    assert second.startswith(f"ends: files in {home / 'ends'}, ")


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (False, "Stopped 1 paused trial: not among the best of those that reached the same rung."),
        (True, "Stopped 1 paused trial: the time limit of 60 s was reached."),
    ],
)
def test_what_becomes_of_trials_that_are_paused_at_the_end_is_said(run, monkeypatch, capsys, ends, words):
    def run_assignments(engine: Engine, *words: object, **more: object) -> None:
        for _ in range(2):
            assignment = engine.next_assignment()
            assert isinstance(assignment, Assignment)
            report = Report(epoch=1, metrics={"loss": 1.0}, elapsed_s=1.0, checkpoint_epoch=1)
            engine.on_event(assignment.number, report)
            if ends:
                engine.stop("done", "the time limit of 60 s was reached")
                return
        engine.on_event(engine.next_assignment().number, report)  # type: ignore[union-attr]

    monkeypatch.setattr("hpsearch.driver.tuner.run_assignments", run_assignments)
    stopping = {"early_terminate": {"type": "asha"}, "limits": {"trials": 2, "epochs": 9, "concurrent": 1}}
    replace(run, sweep=Sweep.from_dict({**TREE, **stopping}), show="lines").start()
    assert words in capsys.readouterr().out


def test_a_signal_that_was_dropped_while_ray_came_up_ends_the_sweep_when_it_is_up(run, run_ends, monkeypatch):
    @contextmanager
    def connect(*words: object, **more: object) -> Iterator[Cluster]:
        with suppress(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        yield CLUSTER

    monkeypatch.setattr("hpsearch.driver.session.connect", connect)
    run_ends(AssertionError("a trial began"))
    with pytest.raises(Interrupted) as left:
        run.start()
    assert left.value.exit_code == 143
