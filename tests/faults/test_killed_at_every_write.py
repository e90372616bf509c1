"""Faults 1 and 2 below Ray: the driver dies at each write of the ledger, before it or after it, and the sweep goes on.

The executor is simulated: trials take turns, one epoch at a time, checkpoints lie on a "disk" that survives, and a
clock moves by a tenth of a second with each epoch. What is checked afterwards is read with plain sqlite3.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Event, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from tests.support.kills import KilledError

SPEC: dict[str, Any] = {
    "name": "victim",
    "trainable": "a:b",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 7, "epochs": 9},
}
GRID = {**SPEC, "method": "grid", "parameters": {"x": {"values": [0.1, 0.2, 0.3, 0.4, 0.5]}}}
ASHA = {**SPEC, "early_terminate": {"type": "asha"}}
NATURAL_END = 5
"""Epochs after which the simulated trainable ends by itself."""


class Disk:
    """What outlives the driver: two checkpoints of each trial, and how often each epoch was trained."""

    def __init__(self, *, natural_end: int = NATURAL_END) -> None:
        self.natural_end = natural_end
        self.checkpoints: dict[int, list[int]] = {}
        self.trained: Counter[tuple[int, int]] = Counter()

    def resume(self, assignment: Assignment) -> int:
        return max(
            (epoch for epoch in self.checkpoints.get(assignment.number, []) if epoch <= assignment.known_epochs),
            default=0,
        )

    def save(self, number: int, epoch: int) -> None:
        self.checkpoints[number] = [*self.checkpoints.get(number, [])[-1:], epoch]


class Driver:
    """One life of the driver's process."""

    def __init__(
        self, home: Path, disk: Disk, tree: dict[str, Any], *, dies_at: float | None = None, slots: int = 2
    ) -> None:
        """`dies_at` 3.0 dies before the third write, 3.5 right after it."""
        self.slots = slots
        self.now, self.writes, self.dies_at, self.disk = 0.0, 0, dies_at, disk
        self.sweep = Sweep.from_dict(tree)
        self.ledger = Ledger(home, create=True, clock=lambda: self.now)
        self._together = self.ledger._transactions.transaction
        self.ledger._transactions.transaction = self._write  # type: ignore[method-assign]
        self.assignments: dict[int, tuple[Assignment, int]] = {}
        self.memory: Callable[[SweepRecord], TrialCache | None] = lambda record: None

    @contextmanager
    def _write(self) -> Iterator[Any]:
        self.writes += 1
        this = self.writes  # one write may have others inside, which are committed with it
        if self.dies_at == this:
            raise KilledError
        with self._together() as connection:
            yield connection
        if self.dies_at == this + 0.5:
            raise KilledError

    def live(self) -> bool:
        """Run to the end, or to death; whether there was anything to do."""
        try:
            return self._live()
        finally:
            self.ledger._transactions._engine.dispose()

    def _live(self) -> bool:
        name = self.sweep.name or ""
        known = self.ledger.find_sweep(name)
        record = known or self.ledger.add_sweep(name, self.sweep.to_dict())
        searcher = make_searcher(self.sweep)
        rule = make_stopping_rule(self.sweep, can_pause=True, is_random=searcher.is_random)
        parts = EngineParts(
            sweep=self.sweep,
            searcher=searcher,
            rule=rule,
            ledger=self.ledger,
            record=record,
            cache=self.memory(record),
            concurrent=self.slots,
            clock=lambda: self.now,
        )
        if known is None:
            self.engine = Engine.new(parts)
        else:
            self.engine = Engine.resumed(parts, Past.read(self.ledger, known))
        num_known = len(self.engine.trials)
        if not self.engine.has_work():
            if record.state == "running" or len(self.engine.trials) > num_known:
                self.engine.finish()
            return False
        self.ledger.reopen_sweep(record, self.sweep.to_dict())
        while self._start_assignments():
            for number in list(self.assignments):
                self._step(number)
        self.engine.finish()
        return True

    def _start_assignments(self) -> bool:
        while isinstance(assignment := self.engine.next_assignment(), Assignment):
            self.assignments[assignment.number] = (assignment, self.disk.resume(assignment))
        return bool(self.assignments)

    def _step(self, number: int) -> None:
        assignment, epoch = self.assignments[number]
        self.now += 0.1
        self.engine.tick()
        event: Event = Ended(elapsed_s=self.now, checkpoint_epoch=epoch)
        if epoch < self.disk.natural_end or self.sweep.early_terminate.type != "none":
            epoch += 1
            self.disk.trained[number, epoch] += 1
            self.disk.save(number, epoch)
            loss = assignment.config["x"] + 1 / epoch
            event = Report(epoch=epoch, metrics={"loss": loss}, elapsed_s=self.now, checkpoint_epoch=epoch)
        self.assignments[number] = (assignment, epoch)
        if self.engine.on_event(number, event) is not Verdict.CONTINUE:
            del self.assignments[number]


def table(home: Path) -> list[tuple[Any, ...]]:
    """Number, point, state, epochs and best value of every trial."""
    connection = sqlite3.connect(home / "ledger.db")
    rows = connection.execute(
        "SELECT number, point, state, epochs_trained, best_value FROM trials ORDER BY number"
    ).fetchall()
    connection.close()
    return rows


def check_invariants(home: Path, disk: Disk) -> None:
    connection = sqlite3.connect(home / "ledger.db")
    epochs: dict[int, list[int]] = {}
    for number, epoch in connection.execute(
        "SELECT number, epoch FROM reports JOIN trials ON trials.id = reports.trial_id ORDER BY reports.id"
    ):
        epochs.setdefault(number, []).append(epoch)
    trials = connection.execute("SELECT number, state, epochs_trained, last_metrics FROM trials").fetchall()
    state = connection.execute("SELECT state FROM sweeps").fetchone()
    connection.close()
    assert state == ("done",)
    for number, trial_state, trained, metrics in trials:
        assert trial_state in ("done", "stopped")
        assert epochs[number] == list(range(1, trained + 1)), "no gap, nothing twice, in order"
        assert json.loads(metrics)["loss"] > 0
    assert max(disk.trained.values()) <= 2, "one death repeats an epoch at most once"


def unbroken(home: Path, tree: dict[str, Any], *, slots: int = 2) -> tuple[list[tuple[Any, ...]], int]:
    driver = Driver(home, Disk(), tree, slots=slots)
    driver.live()
    return table(home), driver.writes


@pytest.mark.parametrize("tree", [SPEC, GRID, ASHA], ids=["random", "grid", "asha"])
@pytest.mark.parametrize("half", [0.0, 0.5], ids=["before", "after"])
def test_a_death_at_any_write_loses_nothing(tmp_path: Path, tree, half):
    expected, writes = unbroken(tmp_path / "unbroken", tree)
    assert writes > 15
    for write in range(1, writes + 1):
        home, disk = tmp_path / f"{write}", Disk()
        with pytest.raises(KilledError):
            Driver(home, disk, tree, dies_at=write + half).live()
        finished = {row for row in (table(home) if (home / "ledger.db").exists() else []) if row[2] == "done"}
        trained = Counter(disk.trained)
        Driver(home, disk, tree).live()
        check_invariants(home, disk)
        final = table(home)
        assert finished <= set(final), f"write {write}: a finished trial changed"
        for number, *_ in finished:
            again = {epoch for each, epoch in disk.trained - trained if each == number}
            assert not again, f"write {write}: finished trial {number} was trained again"
        if tree is not ASHA:
            assert final == expected, f"write {write}"
        assert [row[1] for row in final] == [row[1] for row in expected], "the same configurations"


def after_a_death(home: Path, tree: dict[str, Any], write: float) -> list[tuple[Any, ...]]:
    """The table of a sweep with one slot whose driver dies once and that goes on to its end."""
    disk = Disk()
    with pytest.raises(KilledError):
        Driver(home, disk, tree, dies_at=write, slots=1).live()
    Driver(home, disk, tree, slots=1).live()
    check_invariants(home, disk)
    return table(home)


@pytest.mark.parametrize("half", [0.0, 0.5], ids=["before", "after"])
def test_with_one_slot_a_death_at_any_write_changes_nothing_under_asha(tmp_path: Path, half):
    """A report goes into the ledger with the pause that follows from it: one that came alone let the trial go on."""
    expected, writes = unbroken(tmp_path / "unbroken", ASHA, slots=1)
    for write in range(1, writes + 1):
        assert after_a_death(tmp_path / f"{write}", ASHA, write + half) == expected, f"write {write}"


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6, 0.7])
def test_with_one_slot_a_death_changes_nothing_of_a_model_with_random_trials(tmp_path: Path, share: float):
    """Floats come back from the ledger unchanged: which trials are random, and what the model proposes, needs them."""
    parameters = {
        "x": {"min": 0.0, "max": 1.0},
        "lr": {"min": 1e-8, "max": 1e3, "log": True},
        "kind": {"values": ["a", "b"]},
        "width": {"min": 0.1, "max": 1.3, "step": 0.1, "when": {"kind": "a"}},
    }
    more = {"constraints": ["x + lr / 1000 < 1.5"], "initial_points": [{"kind": "a"}, {"x": 0.1}]}
    tree = {**ASHA, "method": "bayes", "parameters": parameters, "limits": {"trials": 90, "epochs": 9}, **more}
    expected, writes = unbroken(tmp_path / "unbroken", tree, slots=1)
    assert after_a_death(tmp_path / "home", tree, int(share * writes)) == expected


@pytest.mark.parametrize("share", [0.6, 0.7])
def test_after_a_death_the_same_trials_are_random(tmp_path: Path, share: float):
    """Nothing on disk says which: it depends on who led when they began, and on their points since."""
    tree = {**ASHA, "method": "bayes", "limits": {"trials": 90, "epochs": 9}}
    _, writes = unbroken(tmp_path / "unbroken", tree)
    disk = Disk()
    first, second = Driver(tmp_path, disk, tree, dies_at=int(share * writes)), Driver(tmp_path, disk, tree)
    with pytest.raises(KilledError):
        first.live()
    known = [row[0] for row in table(tmp_path)]
    second.live()
    check_invariants(tmp_path, disk)
    random_ones, since = ([each.engine._searcher.is_random(number) for number in known] for each in (first, second))
    assert random_ones == since
    assert {True, False} == set(random_ones) and len(known) < 90 == len(table(tmp_path))


def test_many_deaths_in_a_row_end_all_the_same(tmp_path: Path):
    expected, _ = unbroken(tmp_path / "unbroken", SPEC)
    home, disk = tmp_path / "home", Disk()
    for death in range(200):
        try:
            Driver(home, disk, SPEC, dies_at=5 + death % 7).live()
            break
        except KilledError:
            continue
    assert table(home) == expected


def test_a_finished_sweep_has_nothing_left_to_do(tmp_path: Path):
    disk = Disk()
    for tree in (SPEC, ASHA):
        home = tmp_path / tree.get("early_terminate", {}).get("type", "none")
        assert Driver(home, disk, tree).live()
        before, trained = table(home), Counter(disk.trained)
        assert not Driver(home, disk, tree).live()
        assert table(home) == before and disk.trained == trained


def test_more_trials_train_only_the_new_ones(tmp_path: Path):
    disk = Disk()
    Driver(tmp_path, disk, SPEC).live()
    before, trained = table(tmp_path), Counter(disk.trained)
    assert Driver(tmp_path, disk, {**SPEC, "limits": {"trials": 10, "epochs": 9}}).live()
    assert table(tmp_path)[:7] == before
    assert {number for number, _ in disk.trained - trained} == {8, 9, 10}


def test_more_epochs_go_on_from_the_last_and_for_those_that_deserve_it(tmp_path: Path):
    disk = Disk()
    Driver(tmp_path, disk, ASHA).live()
    done = {row[0] for row in table(tmp_path) if row[3] == 9}
    assert done
    trained = Counter(disk.trained)
    assert Driver(tmp_path, disk, {**ASHA, "limits": {"trials": 7, "epochs": 27}}).live()
    longest = max(row[3] for row in table(tmp_path))
    assert longest == 27
    fresh = disk.trained - trained
    assert min(epoch for number, epoch in fresh if number in done) == 10, "from epoch 9, not from 0"
