"""What a restart keeps, and two sweeps that want the same trial; the engine alone, without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Engine, EngineParts, Idle
from hpsearch.engine.replay import Past
from hpsearch.ledger.lock import is_held, writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Failed, Report
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

GRID: dict[str, Any] = {
    "trainable": "a:b",
    "metric": {"name": "loss", "goal": "minimize"},
    "method": "grid",
    "parameters": {"x": {"values": [1, 2, 3]}},
    "limits": {"epochs": 2},
}


class Life:
    """One life of a sweep's process, up to the point where it would start Ray."""

    def __init__(self, home: Path, name: str, *, retry_failed: bool = False, **keys: Any) -> None:
        self.now = 0.0
        self.sweep = Sweep.from_dict({**GRID, "name": name, **keys})
        self._held = ExitStack()
        self.ledger = self._held.enter_context(Ledger(home, create=True))
        (home / name).mkdir(exist_ok=True)
        self._held.enter_context(writer_lock(home / name, name))
        known = self.ledger.find_sweep(name)
        self.record = known or self.ledger.add_sweep(name, self.sweep.to_dict())
        parts = EngineParts(
            sweep=self.sweep,
            searcher=make_searcher(self.sweep),
            rule=make_stopping_rule(self.sweep, can_pause=True),
            ledger=self.ledger,
            record=self.record,
            cache=TrialCache(self.ledger, self.sweep, self.record, code={"a.py": "1"}),
            clock=lambda: self.now,
        )
        if known is None:
            self.engine = Engine.new(parts)
        else:
            self.engine = Engine.resumed(parts, Past.read(self.ledger, known), retry_failed=retry_failed)

    def die(self) -> None:
        """Release everything; nothing more is written."""
        self._held.close()

    def next(self) -> Assignment:
        assignment = self.engine.next_assignment()
        assert isinstance(assignment, Assignment), assignment
        return assignment

    def train(self, assignment: Assignment, *, epochs: int = 2) -> None:
        for epoch in range(assignment.known_epochs + 1, epochs + 1):
            metrics = {"loss": float(assignment.config["x"])}
            self.engine.on_event(
                assignment.number, Report(epoch=epoch, metrics=metrics, elapsed_s=1.0, checkpoint_epoch=epoch)
            )
        self.ledger.flush()

    def fail(self, assignment: Assignment, *, place: str | None = None, cause: str = "killed") -> None:
        self.engine.on_event(assignment.number, Failed(cause=cause, evidence="it broke", place=place))  # type: ignore[arg-type]

    def rows(self) -> list[tuple[str, str | None]]:
        return [(trial.state, trial.reused_from) for trial in self.ledger.trials(self.record)]


@pytest.fixture
def lives(home: Path) -> Iterator[Any]:
    """Makes lives that end with the test at the latest."""
    home.mkdir()
    made: list[Life] = []

    def make(name: str, **keys: Any) -> Life:
        made.append(Life(home, name, **keys))
        return made[-1]

    yield make
    for life in made:
        life.die()


def test_retries_are_used_up_over_restarts(lives):
    first = lives("a")
    assignment = first.next()
    first.fail(assignment)
    again = first.next()
    assert (again.number, again.attempt) == (assignment.number, 2)
    first.die()
    second = lives("a")
    assert (second.next().attempt) == 3, "it was running when the process died, which is no failure of its own"
    second.fail(assignment)
    assert second.rows()[0][0] == "failed", "limits.retries: 1 was used up before the restart"


def test_a_sweep_that_its_time_limit_ended_resumes_with_a_new_span_and_continues_the_best_paused_trial(lives):
    limits = {"trials": 3, "epochs": 9, "time": "1m"}
    keys: dict[str, Any] = {"limits": limits, "early_terminate": {"type": "asha", "min_iter": 1, "eta": 3}}
    first = lives("a", **keys)
    for _ in range(2):
        assignment = first.next()
        first.engine.begin_time()
        first.train(assignment, epochs=1)
    first.now = 60.0
    first.engine.tick()
    first.engine.finish()
    assert first.rows() == [("stopped", None), ("stopped", None)]
    first.die()
    second = lives("a", **keys)
    second.now = 1000.0
    new = second.next()
    second.engine.begin_time()
    assert (new.number, second.engine.time_left_s) == (3, 60.0)
    second.train(new, epochs=1)
    assert second.next().known_epochs == 1, "the best of the three"


def test_identical_failures_add_up_over_restarts(lives):
    limits = {"epochs": 2, "retries": 0}
    first = lives("a", limits=limits)
    for _ in range(2):
        first.fail(first.next(), cause="user_error", place="E at f:1")
    first.die()
    second = lives("a", limits=limits)
    second.fail(second.next(), cause="user_error", place="E at f:1")
    assert second.engine.stop_state.state == "gave_up"


FAILURES: dict[str, Any] = {
    "without the metric": Failed(cause="bad_metric", evidence="reported [val_los], needed loss"),
    "without a report": Ended(elapsed_s=1.0),
    "killed": Failed(cause="killed", evidence="rank 0 (process 411) was killed by signal 9 (Killed)"),
}


@pytest.fixture(params=FAILURES)
def given_up(request: pytest.FixtureRequest, lives: Any) -> tuple[dict[str, Any], Any]:
    """The keys of a sweep that gave up after three of its six trials, and the event with which each of them failed."""
    keys = {"parameters": {"x": {"values": list(range(6))}}, "limits": {"retries": 0}}
    first, event = lives("a", **keys), FAILURES[request.param]
    for _ in range(2):
        first.engine.on_event(first.next().number, event)
    assert first.engine.reason is None
    first.die()
    second = lives("a", **keys)
    second.engine.on_event(second.next().number, event)
    assert second.engine.stop_state.state == "gave_up", "failures count over restarts"
    second.engine.finish()
    second.die()
    return keys, event


def test_a_sweep_that_gave_up_and_fails_in_the_same_way_again_gives_up_at_once(lives, given_up):
    keys, event = given_up
    third = lives("a", **keys)
    third.engine.on_event(third.next().number, event)
    assert (third.engine.reason or "").startswith("4 trials failed in the same way and none succeeded: ")


def test_a_sweep_that_gave_up_does_not_end_for_a_failure_of_another_kind(lives, given_up):
    keys, _ = given_up
    third = lives("a", **keys)
    for place in ("E at f:1", "E at f:2"):
        third.fail(third.next(), cause="user_error", place=place)
    assert third.engine.reason is None


def test_failures_that_the_user_has_forgiven_do_not_count(lives, given_up):
    keys, event = given_up
    third = lives("a", retry_failed=True, **keys)
    for _ in range(2):
        assert third.engine.reason is None
        third.engine.on_event(third.next().number, event)
    assert third.engine.reason is None
    third.engine.on_event(third.next().number, event)
    assert (third.engine.reason or "").startswith("3 trials failed in the same way")


def test_failed_trials_are_retried_when_the_user_asks_for_it(lives):
    limits = {"epochs": 2, "retries": 0}
    first = lives("a", limits=limits)
    first.fail(first.next(), cause="user_error", place="E at f:1")
    for _ in range(2):
        first.train(first.next())
    assert first.engine.next_assignment() is Idle.FINISHED
    first.die()
    assert lives("a", limits=limits).engine.has_work() is False, "it was not asked for"


def test_a_retry_that_the_user_asked_for_is_not_forgotten_when_the_process_dies_before_it(lives):
    limits = {"epochs": 2, "retries": 0}
    first = lives("a", limits=limits)
    for _ in range(2):
        first.fail(first.next(), cause="user_error", place="E at f:1")
    first.train(first.next())
    first.die()
    second = lives("a", limits=limits, retry_failed=True)
    second.next()
    second.die()
    third = lives("a", limits=limits)
    for number in (1, 2):
        assignment = third.next()
        assert assignment.number == number
        third.train(assignment)
    assert third.rows() == [("done", None)] * 3


def test_more_epochs_are_not_forgotten_when_the_process_dies_before_every_trial_has_them(lives):
    first = lives("a", limits={"epochs": 2})
    for _ in range(3):
        first.train(first.next())
    first.die()
    for number, has_more in ((1, True), (2, True), (3, False)):
        life = lives("a", limits={"epochs": 4})
        life.ledger.reopen_sweep(life.record, life.sweep.to_dict())
        assignment = life.next()
        assert (assignment.number, assignment.known_epochs) == (number, 2)
        life.train(assignment, epochs=4 if has_more else 2)
        if not has_more:  # its function ends by itself
            life.engine.on_event(number, Ended(elapsed_s=1.0))
        life.die()
    assert not lives("a", limits={"epochs": 4}).engine.has_work(), "each of them had its chance"


def test_a_failed_trial_that_is_retried_has_all_its_retries(lives):
    first = lives("a")
    for _ in range(2):
        first.fail(first.next())
    first.die()
    second = lives("a", retry_failed=True)
    assignment = second.next()
    assert (assignment.number, assignment.attempt) == (1, 3)
    second.fail(assignment)
    assert second.next().number == 1, "retried, as if for the first time"
    second.die()
    third = lives("a")
    third.next()
    third.fail(assignment)
    assert third.rows()[0][0] == "failed", "what was forgiven stays forgiven, what came after counts"


def test_a_trial_that_another_process_trains_is_deferred_and_reused_later(lives):
    a, b = lives("a"), lives("b")
    first = a.next()
    other = b.next()
    assert other.config != first.config, "others go first"
    assert b.rows()[0] == ("queued", None)
    b.train(other)
    b.train(b.next())
    assert b.engine.next_assignment() is Idle.NOT_NOW, "nothing runs here, but the other may yet fail"
    a.train(first)
    b.now += 2.0
    assert b.engine.next_assignment() is Idle.FINISHED
    assert b.rows()[0] == ("reused", "a/1")
    assert [trial.attempts for trial in b.ledger.trials(b.record)] == [0, 1, 1]
    assert a.engine.next_assignment() is Idle.FINISHED, "the rest is reused from the other"
    assert [row[0] for row in a.rows()] == ["done", "reused", "reused"]


def test_a_trial_that_a_dead_process_was_training_is_trained_by_another(lives):
    a = lives("a")
    assignment = a.next()
    a.train(assignment, epochs=1)
    a.die()
    b = lives("b")
    going_on = b.next()
    assert (going_on.config, going_on.known_epochs) == (assignment.config, 1)
    assert b.ledger.trials(b.record)[0].state == "running"
    again = lives("a")
    assert again.next().config != assignment.config, "and its own sweep leaves it alone meanwhile"


def test_a_trial_that_failed_elsewhere_is_trained_here(lives):
    a, b = lives("a", limits={"epochs": 2, "retries": 0}), lives("b")
    first = a.next()
    b.train(b.next()), b.train(b.next())
    a.fail(first)
    b.now += 2.0
    assert b.next().config == first.config


def test_a_trial_that_waited_when_its_process_died_is_no_second_attempt(lives):
    a, b = lives("a"), lives("b")
    first = a.next()
    b.next()
    b.die()
    a.fail(first), a.die()
    b = lives("b")
    assignment = b.next()
    assert (assignment.number, assignment.attempt) == (1, 1)


def test_reading_a_lock_does_not_take_it(home: Path):
    home.mkdir()
    assert not is_held(home)
    with writer_lock(home, "a"):
        assert is_held(home)
    assert not is_held(home)
    with writer_lock(home, "a"):
        pass


SWEEPER = """
import json, sys, time
from pathlib import Path
from tests.unit.engine.test_resuming import Life
from hpsearch.engine.engine import EngineParts, Idle
from hpsearch.slots.protocol import Assignment, Report
home, name, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
life = Life(home, name, parameters={"x": {"values": list(range(12))}})
engine, start = life.engine, time.monotonic()
trained = []
while True:
    life.now = time.monotonic() - start
    assignment = engine.next_assignment()
    if assignment is Idle.FINISHED:
        break
    if assignment is Idle.NOT_NOW:
        time.sleep(0.05)
        continue
    for epoch in range(assignment.known_epochs + 1, 3):
        time.sleep(0.05)
        trained.append([assignment.config["x"], epoch])
        report = Report(epoch=epoch, metrics={"loss": 1.0}, elapsed_s=1.0, checkpoint_epoch=epoch)
        engine.on_event(assignment.number, report)
engine.finish()
out.write_text(json.dumps([trained, [trial.state for trial in life.ledger.trials(life.record)]]))
"""


def test_two_processes_that_want_the_same_trials_train_each_once(home: Path, tmp_path: Path):
    home.mkdir()
    Ledger(home, create=True).close()
    outs = [tmp_path / name for name in ("a", "b")]
    processes = [subprocess.Popen([sys.executable, "-c", SWEEPER, str(home), out.name, str(out)]) for out in outs]
    assert [process.wait() for process in processes] == [0, 0]
    (a, a_states), (b, b_states) = (json.loads(out.read_text()) for out in outs)
    trained = Counter(tuple(each) for each in a + b)
    assert trained == Counter({(x, epoch): 1 for x in range(12) for epoch in (1, 2)}), (
        "every epoch once, by one of the two"
    )
    assert Counter(a_states + b_states) == {"done": 12, "reused": 12}
