"""Lives of a driver without Ray: real processes, a real ledger and real files; simulated slots and a fake clock.

`hpsearch.driver.driver` runs as it is, lock, ledger, replay, tables and all; only its `Session` is replaced by one that
trains trials as numbers on a clock of its own. Every life is a forked process. A *fail point* is passed before each
statement that writes the ledger, at each commit, at each epoch and around each file that is replaced; at a chosen one
the process kills itself with signal 9, which no `finally` survives.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa

from hpsearch.driver import driver
from hpsearch.driver.request import StoredSweep, make_run
from hpsearch.engine.engine import Engine, Idle
from hpsearch.ledger.store import Ledger
from hpsearch.slots.diagnosis import failure_of
from hpsearch.slots.protocol import Assignment, Ended, Event, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from tests.support.checkpoints import epochs_in, write_checkpoint
from tests.support.clock import Clock, TimeOfDay

TRAINABLE = "def train(config):\n    yield {'loss': config['x']}\n"
KILLED, BROKEN, FINE = -signal.SIGKILL, 3, 0
EPOCH_S = 0.1
"""Simulated; two epochs reach the ledger in one commit."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a sweep is like; two of equal scenario differ by the instants of their deaths alone."""

    method: str = "random"
    sampler: str | None = None
    stopping: str = "none"
    concurrent: int = 2
    trials: int = 7
    epochs: int = 9
    ends_at: int | None = None
    """Epoch at which the trainable ends by itself; None for `epochs`."""
    save_every: int | None = 1
    """Epochs between checkpoints; None for a trainable that keeps nothing."""
    failing: bool = False
    """Whether some trials fail, each in its own way."""
    finite: bool = False
    """Whether x has five values, so that a method runs into points that it has tried."""
    seed: int = 0
    holds_after: int | None = None
    """Epochs of all trials after which it waits for a file `go-on` beside the diary, while a test does something."""
    checkpoint_bytes: int = 0
    again: bool | None = None
    """As the option `--again` or `--no-again` of the command; not passed to `resume`."""
    hours_ahead: float = 0.0
    """By how much the time of day is ahead of the real one when the driver starts."""
    clock_steps: tuple[tuple[int, float], ...] = ()
    """Epochs of all trials in one life, and by how many hours the time of day is moved then."""

    def tree(self, name: str) -> dict[str, Any]:
        """The spec."""
        x: dict[str, Any] = {"values": [0.1, 0.2, 0.3, 0.4, 0.5]} if self.finite else {"min": 0.0, "max": 1.0}
        if self.method == "grid" and not self.finite:
            x = {"min": 0.0, "max": 1.0, "count": self.trials}
        return {
            "name": name,
            "trainable": "train.py:train",
            "metric": {"name": "loss", "goal": "minimize"},
            "method": self.method,
            **({"sampler": self.sampler} if self.sampler else {}),
            "parameters": {"x": x},
            "early_terminate": {"type": self.stopping},
            "limits": {"trials": self.trials, "epochs": self.epochs, "concurrent": self.concurrent},
            "seed": self.seed,
        }


class FailPoints:
    """Counts the instants at which a driver may die, and dies at one of them."""

    def __init__(self, dies_at: int | None) -> None:
        self.passed, self.dies_at = 0, dies_at

    def hit(self, *_: Any, **__: Any) -> None:
        """One more instant."""
        self.passed += 1
        if self.passed == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Into the ledger's connections and wherever a file takes its place, for the rest of this process."""

        def on_statement(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
                self.hit()

        sa.event.listen(sa.Engine, "before_cursor_execute", on_statement)
        sa.event.listen(sa.Engine, "commit", self.hit)
        real = Path.replace

        def replace(path: Path, target: Path) -> Path:
            self.hit()
            replaced = real(path, target)
            self.hit()
            return replaced

        Path.replace = replace  # type: ignore[method-assign, assignment]


class SimulatedSession:
    """Stands in for `hpsearch.driver.session.Session`: trials take turns, one epoch each, in an order of the seed."""

    def __init__(self, engine: Engine, *, folder: Path, points: FailPoints, scenario: Scenario, clock: Any, **_: Any):
        self._engine, self._folder, self._points, self._scenario, self._clock = engine, folder, points, scenario, clock
        self._random = random.Random(scenario.seed)
        self._assignments: dict[int, tuple[Assignment, int, int | None]] = {}
        self._steps = 0
        self._time_of_day = TimeOfDay()
        self._time_of_day.offset_s = 3600 * scenario.hours_ahead
        self._time_of_day.install()
        engine.watch_disk(folder, say=self._say)

    def run(self) -> None:
        """Every assignment to its end."""
        self._engine.concurrent = self._scenario.concurrent
        while self._start_assignments():
            if self._assignments:
                self._step(self._random.choice(sorted(self._assignments)))
        self._engine.finish()

    def _say(self, text: str) -> None:
        with (self._folder.parent.parent / "said.txt").open("a") as file:
            file.write(f"{text}\n")

    def _start_assignments(self) -> bool:
        """Whether it is not over."""
        while isinstance(assignment := self._engine.next_assignment(), Assignment):
            saved = max(
                (epoch for epoch in self._saved(assignment.number) if epoch <= assignment.known_epochs), default=None
            )
            self._assignments[assignment.number] = (assignment, saved or 0, saved)
            self._write(f"{assignment.number} begin {saved or 0}")
        return bool(self._assignments) or assignment is Idle.NOT_NOW

    def _step(self, number: int) -> None:
        assignment, epoch, saved = self._assignments[number]
        self._clock.now += EPOCH_S
        self._steps += 1
        for steps, hours in self._scenario.clock_steps:
            if steps == self._steps:
                self._time_of_day.move(hours, files_below=self._folder.parent)
        while self._steps == self._scenario.holds_after and not (self._folder.parent.parent / "go-on").exists():
            time.sleep(0.02)
        self._engine.tick()
        event = self._failure(assignment, epoch) or self._next(assignment, epoch, saved)
        if isinstance(event, Report):
            epoch, saved = event.epoch, event.checkpoint_epoch
        self._assignments[number] = (assignment, epoch, saved)
        self._points.hit()
        if self._engine.on_event(number, event) is not Verdict.CONTINUE:
            del self._assignments[number]

    def _next(self, assignment: Assignment, epoch: int, saved: int | None) -> Event:
        if epoch >= (self._scenario.ends_at or self._scenario.epochs):
            return Ended(elapsed_s=EPOCH_S * epoch, checkpoint_epoch=saved)
        epoch += 1
        self._write(f"{assignment.number} epoch {epoch}")
        every = self._scenario.save_every
        if every is not None and (epoch % every == 0 or epoch in assignment.save_epochs):
            self._points.hit()
            try:
                saved = self._save(assignment.number, epoch)
            except OSError as error:
                return failure_of(error)
        loss = assignment.config["x"] + 1 / epoch
        return Report(epoch=epoch, metrics={"loss": loss}, elapsed_s=EPOCH_S * epoch, checkpoint_epoch=saved)

    def _failure(self, assignment: Assignment, epoch: int) -> Failed | None:
        if not self._scenario.failing or epoch != 2:
            return None
        kind = assignment.number % 6
        if kind == 1:
            return Failed(cause="diverged", evidence="loss is nan")
        if kind == 2 and assignment.attempt == 1:
            return Failed(cause="killed", evidence="gone")
        if kind == 3 and assignment.attempt <= 2:
            return Failed(cause="node_lost", evidence="the node is gone")
        if kind == 4:
            return Failed(cause="user_error", evidence="KeyError", place=f"KeyError at f:{assignment.number}")
        return None

    def _folder_of(self, number: int) -> Path:
        return self._folder / "trials" / f"{number:04d}" / "checkpoint"

    def _saved(self, number: int) -> list[int]:
        return epochs_in(self._folder_of(number))

    def _save(self, number: int, epoch: int) -> int:
        content, previous = bytes(self._scenario.checkpoint_bytes), self._assignments[number][2] or 0
        write_checkpoint(self._folder_of(number), epoch, content, previous=previous)
        return epoch

    def _write(self, line: str) -> None:
        with (self._folder.parent.parent / "diary.txt").open("a") as file:
            file.write(f"{line}\n")


def live(
    folder: Path, scenario: Scenario, *, dies_at: int | None = None, name: str = "victim", resumes: bool = False
) -> tuple[int, int]:
    """One life of a driver, in a forked process.

    Args:
        folder: Holds `train.py`, the diary and the ledger's folder `sweeps`.
        scenario: Of the sweep; the same in every life.
        dies_at: The fail point at which it dies, counted from 1; None to live.
        name: Of the sweep.
        resumes: It goes on as `resume NAME` does, with what the ledger knows; `train.py` is left as it is.

    Returns:
        KILLED, FINE or BROKEN (then `broken.txt` has the traceback), and how many fail points it passed if it lived.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not resumes:
        (folder / "train.py").write_text(TRAINABLE)
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_child(folder, scenario, dies_at, name, writer, resumes))
    os.close(writer)
    with os.fdopen(reader) as answer:
        passed = int(answer.read() or 0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), passed


def warm_up(folder: Path) -> None:
    """Import and compile in this process what every life would do anew; no table is written, and no thread started."""
    import pyarrow.parquet  # noqa: F401

    import hpsearch.results.report
    import hpsearch.results.tables  # noqa: F401

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TRAINABLE)
    with mock.patch.object(driver, "write_results"):
        for method in ("optuna", "hyperopt"):
            _run(folder, Scenario(method=method, stopping="asha"), FailPoints(None), method)


def _run(folder: Path, scenario: Scenario, points: FailPoints, name: str, resumes: bool = False) -> None:
    clock = Clock()
    session = functools.partial(SimulatedSession, points=points, scenario=scenario, clock=clock)
    ledger = functools.partial(Ledger, clock=clock)
    with mock.patch.object(driver, "Session", session), mock.patch.object(driver, "Ledger", ledger):
        if resumes:
            make_run(StoredSweep(name), overrides={}, home=folder / "sweeps", show="none").start()
            return
        sweep = Sweep.from_dict(scenario.tree(name))
        driver.Run(sweep=sweep, home=folder / "sweeps", spec_dir=folder, show="none", again=scenario.again).start()


def _child(folder: Path, scenario: Scenario, dies_at: int | None, name: str, writer: int, resumes: bool) -> int:
    try:
        points = FailPoints(dies_at)
        points.install()
        _run(folder, scenario, points, name, resumes)
        os.write(writer, str(points.passed).encode())
        return FINE
    except BaseException:
        (folder / "broken.txt").write_text(traceback.format_exc())
        return BROKEN
