"""Random histories of two sweeps of one ledger, without Ray: they pause, reuse, are killed, go on, and are cleaned.

The engine, the ledger, the locks and the files are real; slots are steps of this process, which write checkpoints of a
few bytes that say what they are of. A kill is an exception at a random instant: before or after a commit, or before
any file is linked, renamed or removed, by an engine or by a slot. While a sweep links the files of the other one, that
one goes on.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from hpsearch.api.results import Results
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.errors import Cause
from hpsearch.ledger import sqlite as file
from hpsearch.ledger.cleaning import clean
from hpsearch.ledger.lock import is_held, writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.paths import checkpoint_dir
from hpsearch.results.rows import trial_rows
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Event, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from tests.support.checkpoints import epochs_in, write_checkpoint
from tests.support.kills import KilledError

NAMES = ("one", "two")
CAUSES: tuple[Cause, ...] = ("killed", "user_error", "diverged")
CONNECT_ONCE = cache(file._connect)
"""SQLAlchemy compiles each statement once for each engine, which would take half of the time."""
FILE_CALLS = ("link", "rename", "replace", "unlink", "rmdir")


class Life:
    """One life of the driver of a sweep."""

    def __init__(self, history: History, name: str) -> None:
        self.history, self.dice, self.name = history, history.dice, name
        self.dies_in: int | None = None
        """Instants left; None to live."""
        self.assignments: dict[int, tuple[Assignment, int, int | None]] = {}
        self.trainings: dict[int, str] = {}
        """Assignment to the sweep that began the training which it goes on with: weights tell what comes next."""
        self.sweep = Sweep.from_dict(history.trees[name])
        self._held = ExitStack()

    def is_begun(self) -> bool:
        """Begin; True, unless the driver is killed meanwhile."""
        self.begin()
        return True

    def begin(self) -> None:
        """Open the ledger and hear the past."""
        folder = self.history.home / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(writer_lock(folder, self.name))
        self.ledger = Ledger(self.history.home, create=True, clock=lambda: self.history.now)
        self.history.keep_log()
        self._together = self.ledger._transactions.transaction
        self.ledger._transactions.transaction = self._commit  # type: ignore[method-assign]
        known = self.ledger.find_sweep(self.name)
        record = known or self.ledger.add_sweep(self.name, self.sweep.to_dict())
        searcher = make_searcher(self.sweep)
        parts = EngineParts(
            sweep=self.sweep,
            searcher=searcher,
            rule=make_stopping_rule(self.sweep, can_pause=True, is_random=searcher.is_random),
            ledger=self.ledger,
            record=record,
            cache=TrialCache(self.ledger, self.sweep, record, code={"train.py": "1"}, again=self.dice.random() < 0.15),
            retention=CheckpointRetention(self.sweep, folder, is_random=searcher.is_random),
            concurrent=2,
            clock=lambda: self.history.now,
        )
        if known is None:
            self.engine = Engine.new(parts)
        else:
            self.engine = Engine.resumed(parts, Past.read(self.ledger, known))
        self.ledger.reopen_sweep(record, self.sweep.to_dict())

    def step(self) -> bool:
        """One epoch of one assignment, and whatever assignments can begin; whether the sweep is not over."""
        self.history.now += 0.1
        while isinstance(assignment := self.engine.next_assignment(), Assignment):
            self.assignments[assignment.number] = (assignment, *self._resumed(assignment))
        if self.assignments:
            self._train(self.dice.choice(sorted(self.assignments)))
            return True
        return bool(self.engine.trials.deferred) and self.engine.reason is None

    def run_out(self) -> bool:
        """Every step that is left; false."""
        while self.step():
            pass
        return False

    def end(self) -> None:
        """Close the books."""
        self.engine.finish()
        self.close()

    def close(self) -> None:
        """The process is gone, whether it closed its books or not."""
        if hasattr(self, "ledger"):
            self.ledger._transactions._journal.close()
            self.ledger._transactions._engine.dispose()
        self._held.close()

    def hit(self) -> None:
        """One more instant at which it may be killed."""
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in <= 0:
                raise KilledError

    @contextmanager
    def _commit(self) -> Iterator[Any]:
        is_outer = self.ledger._transactions._open is None
        self.hit()
        with self._together() as connection:
            yield connection
        if is_outer:
            self.hit()

    def _folder(self, number: int) -> Path:
        return checkpoint_dir(self.history.home / self.name, number)

    def _resumed(self, assignment: Assignment) -> tuple[int, int | None]:
        """Where it begins, off the disk as a slot does, or at 0 where what is there can't be read."""
        saved = [epoch for epoch in epochs_in(self._folder(assignment.number)) if epoch <= assignment.known_epochs]
        saved = saved if self.dice.random() < 0.9 else []
        begun_at = max(saved, default=0)
        if begun_at < assignment.known_epochs:
            self.history.repeated.add(assignment.config["x"])
        self.trainings[assignment.number] = self.name
        if not saved:
            return 0, None
        content = content_of(self._folder(assignment.number), begun_at)
        assert content["x"] == assignment.config["x"], (
            f"trial {assignment.number} of {self.name} goes on from {content}"
        )
        self.trainings[assignment.number] = content["training"]
        return begun_at, begun_at

    def _train(self, number: int) -> None:
        assignment, epoch, saved = self.assignments[number]
        event: Event
        if self.dice.random() < 0.04:
            event = Failed(cause=self.dice.choice(CAUSES), evidence="it fell")
        elif epoch >= self.history.ends_at:
            event = Ended(elapsed_s=self.history.now, checkpoint_epoch=saved)
        else:
            epoch += 1
            training = self.trainings[number]
            loss = self.history.loss(training, assignment.config["x"], epoch)
            every = self.history.save_every
            if every is not None and (epoch % every == 0 or epoch in assignment.save_epochs):
                told = {"x": assignment.config["x"], "epoch": epoch, "loss": loss, "training": training}
                about = {"ranks": self.history.ranks, "previous": saved or 0}
                write_checkpoint(self._folder(number), epoch, json.dumps(told).encode(), **about)
                saved = epoch
            event = Report(epoch=epoch, metrics={"loss": loss}, elapsed_s=self.history.now, checkpoint_epoch=saved)
            if self.dice.random() < 0.04:
                event = Failed(cause=self.dice.choice(CAUSES), evidence="it fell before it could report")
        self.assignments[number] = (assignment, epoch, saved)
        self.hit()
        if self.engine.on_event(number, event) is not Verdict.CONTINUE:
            del self.assignments[number]


class History:
    """What happens to two sweeps of one ledger; the dice decide."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.dice, self.now = home, random.Random(seed), 0.0
        self.save_every = self.dice.choice((1, 1, 2, 3, None))
        self.ranks = self.dice.choice((1, 1, 2))
        self.ends_at = self.dice.choice((99, 99, 4))
        self.is_exact = self.dice.random() < 0.6
        """Whether equal trials have equal losses."""
        self.repeated: set[float] = set()
        """Configurations whose epochs on record were trained again: unless it is exact, they are of two trainings."""
        self.trees = {name: self._tree(name) for name in NAMES}
        self.lives: dict[str, Life] = {}
        self.active: list[Life] = []
        self.log: list[str] = []
        self._kept = ExitStack()

    def run(self, num_events: int) -> None:
        """Let things happen, look at every row after each; then let both sweeps come to their end."""
        events = (self._go_on, self._go_on, self._go_on, self._kill, self._interrupt, self._clean, self._ask_for_more)
        with self._instants(), self._kept:
            for _ in range(num_events):
                event, name = self.dice.choice(events), self.dice.choice(NAMES)
                self.log.append(f"{event.__name__} {name}")
                event(name)
                self.check()
            for name in NAMES:
                self._come_to_end(name)
                self.check(is_last=True)
        self.check_end()

    def keep_log(self) -> None:
        """Keep SQLite's write-ahead log until the end, since all lives share the connections that each one closes."""
        connection = self._kept.enter_context(closing(sqlite3.connect(self.home / "ledger.db")))
        connection.execute("SELECT count(*) FROM sweeps").fetchall()

    def loss(self, training: str, x: float, epoch: int) -> float:
        """Of an epoch, lower being better; the best is seldom the last."""
        return random.Random(f"{x} {epoch} {'' if self.is_exact else training}").random()

    def is_of_one_training(self, x: float) -> bool:
        """Whether all epochs on record of a configuration are those of its checkpoints."""
        return self.is_exact or x not in self.repeated

    def _tree(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "trainable": "a:b",
            "metric": {"name": "loss", "goal": "minimize"},
            "method": self.dice.choice(("grid", "random")),
            "parameters": {"x": {"values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}},
            "early_terminate": {"type": self.dice.choice(("asha", "asha", "asha_stop", "none"))},
            "limits": {
                "trials": self.dice.choice((3, 5)),
                "epochs": self.dice.choice((3, 9)),
                "checkpoints": self.dice.choice((1, 3, "all")),
            },
        }

    def _go_on(self, name: str, *, most: int = 12) -> None:
        life = self._life(name)
        if life is not None:
            self._live(life, lambda: all(life.step() for _ in range(self.dice.randint(1, most))))

    def _kill(self, name: str) -> None:
        if name in self.lives or not is_held(self.home / name):
            life = self.lives.get(name) or Life(self, name)
            life.dies_in = self.dice.randint(1, 60)
            self.lives[name] = life
            self._go_on(name, most=60)
            if self.lives.get(name) is life:
                life.dies_in = None

    def _interrupt(self, name: str) -> None:
        life = self.lives.get(name)
        if life is not None:
            life.engine.stop("interrupted", "a signal")
            self._live(life, life.run_out)

    def _clean(self, name: str) -> None:
        if not is_held(self.home / name) and self._has(name):
            clean(self.home, name)

    def _ask_for_more(self, name: str) -> None:
        if name not in self.lives:
            limits = self.trees[name]["limits"]
            more = self.dice.choice(({"trials": 6}, {"epochs": 9}))
            self.trees[name] = {**self.trees[name], "limits": {**limits, **more}}

    def _come_to_end(self, name: str) -> None:
        for other in set(self.lives) - {name}:  # it is killed where it is, so that nothing waits for it
            self.lives.pop(other).close()
        life = self._life(name)
        assert life is not None
        self._live(life, life.run_out)

    def _life(self, name: str) -> Life | None:
        """The sweep's driver, begun if it is not alive; None if it is killed as it begins."""
        life = self.lives.get(name) or Life(self, name)
        self.lives[name] = life
        if not hasattr(life, "engine"):
            self._live(life, life.is_begun)
        return self.lives.get(name)

    def _live(self, life: Life, act: Callable[[], bool]) -> None:
        """Let a driver act; it is over afterwards if it was killed, or says that nothing is left."""
        self.active.append(life)
        try:
            if not act():
                life.end()
                del self.lives[life.name]
        except KilledError:
            self.log.append(f"killed {life.name}")
            life.close()
            del self.lives[life.name]
        finally:
            self.active.pop()

    @contextmanager
    def _instants(self) -> Iterator[None]:
        """Before each change of a file the driver at work may be killed, and the other one goes on before each link."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(file, "_connect", CONNECT_ONCE))
            for name in FILE_CALLS:
                stack.enter_context(mock.patch.object(os, name, self._watched(name, getattr(os, name))))
            yield

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.active:
                self.active[-1].hit()
                if name == "link" and len(self.active) == 1 and self.dice.random() < 0.3:
                    self._meanwhile(next(other for other in NAMES if other != self.active[0].name))
            return call(*args, **kwargs)

        return watched

    def _meanwhile(self, name: str) -> None:
        if name in self.lives and hasattr(self.lives[name], "engine"):
            self._go_on(name)
        else:
            self._clean(name)

    def _has(self, name: str) -> bool:
        return bool(self._query("SELECT 1 FROM sweeps WHERE name = ?", name))

    def _query(self, text: str, *values: Any) -> list[Any]:
        if not (self.home / "ledger.db").exists():
            return []
        with closing(sqlite3.connect(self.home / "ledger.db", timeout=30)) as connection:
            return connection.execute(text, values).fetchall()

    # -- what must hold ----------------------------------------------------------------------------------------------

    def check(self, *, is_last: bool = False) -> None:
        """Each row names a checkpoint that is there, whole, of that epoch, and of what the row says; or none."""
        rows = self._query(
            "SELECT name, number, point, checkpoint_epoch, trials.id FROM trials JOIN sweeps ON sweeps.id = sweep_id"
        )
        for name, number, point, epoch, key in rows:
            if epoch is not None:
                folder = checkpoint_dir(self.home / name, number)
                assert epoch in epochs_in(folder), f"{name}/{number} names {epoch}, there are {epochs_in(folder)}"
                content = content_of(folder, epoch)
                assert (content["x"], content["epoch"]) == (json.loads(point)["x"], epoch), (
                    f"{name}/{number}: {content}"
                )
                if self.is_of_one_training(content["x"]):
                    assert content["loss"] == self._loss_on_record(key, epoch), f"{name}/{number}: {content}"
        name = self.dice.choice(NAMES)
        if rows and self._has(name) and (is_last or self.dice.random() < 0.3):
            self._check_tables(name)

    def _check_tables(self, name: str) -> None:
        results = Results(self.home, name)
        with Ledger(self.home) as ledger:
            sweep = ledger.sweep(name)
            trials = ledger.trials(sweep)
        rows = {row["trial"]: row for row in trial_rows(sweep, trials, home=self.home)}
        for trial in trials:
            named = rows[trial.number]["checkpoint"]
            assert (named is None) == (trial.checkpoint_epoch is None)
            assert named is None or self._told_by(self.home / named)["epoch"] == trial.checkpoint_epoch
        best = results.best
        if best is not None:
            row = rows[best.trial]
            newest = row["checkpoint"] and str(self.home / row["checkpoint"])
            if best.checkpoint is None:
                assert newest is None or self._told_by(Path(newest))["epoch"] != best.epoch
            else:
                content = self._told_by(Path(best.checkpoint))
                assert (content["x"], content["epoch"]) == (best.config["x"], best.epoch)
                assert content["loss"] == best.value or not self.is_of_one_training(best.config["x"])

    def _loss_on_record(self, key: int, epoch: int) -> float:
        ((metrics,),) = self._query("SELECT metrics FROM reports WHERE trial_id = ? AND epoch = ?", key, epoch)
        return float(json.loads(metrics)["loss"])

    def _told_by(self, path: Path) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(path.read_bytes())
        return told

    def check_end(self) -> None:
        """Every trial is over, and has all its epochs, each as it was trained."""
        rows = self._query(
            "SELECT name, trials.id, number, trials.state, point, epochs_trained FROM trials"
            " JOIN sweeps ON sweeps.id = sweep_id"
        )
        for name, key, number, state, point, trained in rows:
            assert state in ("done", "stopped", "failed", "reused"), f"{name}/{number} is {state}"
            reports = self._query("SELECT epoch, metrics FROM reports WHERE trial_id = ? ORDER BY epoch", key)
            assert [epoch for epoch, _ in reports] == list(range(1, trained + 1)), f"{name}/{number}"
            losses, x = [json.loads(metrics)["loss"] for _, metrics in reports], json.loads(point)["x"]
            curves = [[self.loss(each, x, epoch) for epoch, _ in reports] for each in NAMES]
            assert losses in curves or not self.is_of_one_training(x), f"{name}/{number} has epochs of two trainings"


def content_of(folder: Path, epoch: int) -> dict[str, Any]:
    """What the file of rank 0 says that it is of."""
    told: dict[str, Any] = json.loads((folder / f"epoch-{epoch:06d}.rank-0.pt").read_bytes())
    return told
