"""The engine on a simulated executor: no Ray, no process, a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Engine, EngineParts, Idle
from hpsearch.engine.replay import Past
from hpsearch.errors import LinkRefused
from hpsearch.ledger.store import Ledger
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Failed, Report, Unusable, Verdict
from hpsearch.space.space import Point, Real, Space
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Asha, Decision, StoppingRule, make_stopping_rule
from tests.support.clock import Clock
from tests.support.scripted import RecordingSearcher, ScriptedRule


class Bench:
    """One engine with everything around it."""

    def __init__(
        self, home: Path, *, concurrent: int = 2, goal: str = "minimize", rule: StoppingRule | None = None, **keys: Any
    ) -> None:
        tree = {
            "name": "bench",
            "trainable": "a:b",
            "metric": {"name": "m", "goal": goal},
            "parameters": {"x": {"min": 0.0, "max": 1.0}},
            **keys,
        }
        self.sweep = Sweep.from_dict(tree)
        self.clock, self.searcher, self.rule = Clock(), RecordingSearcher(), rule or ScriptedRule()
        self.ledger = Ledger(home, create=True, clock=self.clock)
        self.record = self.ledger.add_sweep("bench", self.sweep.to_dict())
        self.engine = Engine.new(
            EngineParts(
                sweep=self.sweep,
                searcher=self.searcher,
                rule=self.rule,
                ledger=self.ledger,
                record=self.record,
                concurrent=concurrent,
                clock=self.clock,
            )
        )

    def next(self) -> Assignment:
        assignment = self.engine.next_assignment()
        assert isinstance(assignment, Assignment), assignment
        return assignment

    def report(self, number: int, epoch: int, value: float = 1.0, *, saved: bool = True) -> Verdict:
        saved_epoch = epoch if saved else None
        report = Report(epoch=epoch, metrics={"m": value}, elapsed_s=float(epoch), checkpoint_epoch=saved_epoch)
        return self.engine.on_event(number, report)

    def fail(self, number: int, cause: str = "user_error", place: str | None = "E at f:1") -> None:
        self.engine.on_event(number, Failed(cause=cause, evidence="it broke", place=place))  # type: ignore[arg-type]

    def states(self) -> list[str]:
        self.ledger.flush()
        return [trial.state for trial in self.ledger.trials(self.record)]


@pytest.fixture
def bench(home: Path) -> Callable[..., Bench]:
    return lambda **keys: Bench(home, **keys)


def test_it_hands_out_as_many_assignments_as_run_at_once(bench):
    b = bench(concurrent=2)
    assert [b.next().number, b.next().number] == [1, 2]
    assert b.engine.next_assignment() is Idle.NOT_NOW
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    assert b.next().number == 3


def test_a_trial_is_in_the_ledger_before_its_assignment_leaves_the_engine(bench):
    b = bench()
    b.next()
    assert b.states() == ["running"]


def test_no_trial_begins_in_a_folder_that_has_become_a_link(bench, home: Path, tmp_path: Path):
    b = bench()
    (home / "bench" / "trials").mkdir(parents=True, exist_ok=True)
    (home / "bench" / "trials" / "0001").symlink_to(tmp_path)
    with pytest.raises(LinkRefused, match="0001: this is a symbolic link"):
        b.next()
    assert b.states() == []


def test_it_ends_after_the_last_trial(bench):
    b = bench(limits={"trials": 1})
    b.next()
    assert b.engine.next_assignment() is Idle.NOT_NOW, "the running one may fail and be retried"
    assert b.report(1, 1) is Verdict.CONTINUE
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    assert b.engine.next_assignment() is Idle.FINISHED
    assert b.states() == ["done"]


def test_a_trial_is_done_at_the_last_epoch(bench):
    b = bench(limits={"epochs": 2})
    assert b.next().save_epochs == (1, 2, 3)
    assert b.report(1, 1) is Verdict.CONTINUE
    assert b.report(1, 2) is Verdict.RUN_TO_END, "what comes after its loop still runs"
    assert b.states() == ["done"]


@pytest.mark.parametrize(("goal", "best"), [("minimize", (2, 1.0)), ("maximize", (1, 3.0))])
def test_the_best_value_follows_the_goal(bench, goal, best):
    b = bench(goal=goal)
    b.next()
    for epoch, value in enumerate([3.0, 1.0, 2.0], 1):
        b.report(1, epoch, value)
    b.engine.on_event(1, Ended(elapsed_s=3.0))
    trial = b.ledger.trials(b.record)[0]
    assert (trial.best_epoch, trial.best_value) == best
    assert b.searcher.outcomes[0].loss == (best[1] if goal == "minimize" else -best[1])
    assert [loss for _, _, loss in b.rule.reports] == ([3.0, 1.0, 2.0] if goal == "minimize" else [-3.0, -1.0, -2.0])


def test_a_stopped_trial_is_reported_to_the_searcher_with_its_curve(bench):
    b = bench()
    b.next()
    b.rule.decisions[1, 2] = Decision.STOP
    assert (b.report(1, 1, 5.0), b.report(1, 2, 4.0)) == (Verdict.CONTINUE, Verdict.END)
    assert b.states() == ["stopped"]
    assert (b.searcher.outcomes[0].state, b.searcher.outcomes[0].losses) == ("stopped", {1: 5.0, 2: 4.0})


@pytest.mark.parametrize("cause", ["invalid_config", "oom_gpu", "diverged", "bad_metric"])
def test_a_failure_by_configuration_is_infeasible_and_never_retried(bench, cause):
    b = bench(limits={"retries": 5})
    b.next()
    b.fail(1, cause)
    assert b.states() == ["failed"]
    assert [outcome.state for outcome in b.searcher.outcomes] == ["infeasible"]
    assert b.next().number == 2


def test_divergence_counts_as_worst_in_the_next_rung(bench):
    b = bench()
    b.next()
    b.report(1, 1, 1.0)
    b.fail(1, "diverged")
    assert b.rule.reports[-1] == (1, 2, float("inf"))


def test_a_failure_of_the_machine_is_retried_and_not_reported_to_the_searcher(bench):
    b = bench(limits={"retries": 0})
    assert (b.next().number, b.next().number) == (1, 2)
    for attempt in (2, 3, 4):
        b.fail(1, "gpu_fault", place=None)
        assignment = b.next()
        assert (assignment.number, assignment.attempt) == (1, attempt)
    b.fail(1, "gpu_fault", place=None)
    assert b.states()[0] == "failed"
    assert (b.searcher.outcomes, b.searcher.dropped) == ([], [1])


def test_trials_that_lose_their_slots_are_requeued_without_counting_as_failures(bench):
    b = bench(limits={"retries": 0})
    assert (b.next().number, b.next().number) == (1, 2)
    b.report(1, 1)
    for attempt in range(2, 12):
        b.engine.requeue_running("Ray's raylet is gone")
        assert (b.engine.num_running, b.states()) == (0, ["queued", "queued"])
        assignments = [b.next(), b.next()]
        assert [(assignment.number, assignment.attempt, assignment.known_epochs) for assignment in assignments] == [
            (1, attempt, 1),
            (2, attempt, 0),
        ]
    assert (b.searcher.outcomes, b.searcher.dropped) == ([], [])


def test_failures_of_the_machine_and_lost_slots_use_up_no_retry_of_the_trial(bench):
    b = bench(limits={"retries": 1}, concurrent=1)
    assert b.next().number == 1
    b.fail(1, "disk_full", place=None)
    assert b.next().attempt == 2
    b.engine.requeue_running("Ray's raylet is gone")
    assert b.next().attempt == 3
    b.fail(1, "killed", place=None)
    assert b.next().attempt == 4, "its first failure of its own"
    b.fail(1, "node_lost", place=None)
    assert b.next().attempt == 5
    b.fail(1, "killed", place=None)
    assert b.states() == ["failed"]


def test_a_trial_that_the_machine_has_failed_for_good_does_not_count_for_the_limit_of_failures(bench):
    b = bench(limits={"retries": 0, "failures": 1}, concurrent=1)
    for _ in range(4):
        assert b.next().number == 1
        b.fail(1, "gpu_fault", place=None)
    assert (b.states(), b.engine.reason) == (["failed"], None)
    assert b.next().number == 2
    b.fail(2, "diverged", place=None)
    assert b.engine.reason is None, "nor does a configuration that can't be trained"
    assert b.next().number == 3
    b.fail(3, "killed", place=None)
    assert "limits.failures: 1" in (b.engine.reason or "")


def test_an_unknown_failure_is_retried_up_to_the_limit(bench):
    b = bench(limits={"retries": 2})
    b.next()
    for attempt in (2, 3):
        b.fail(1, "killed", place=None)
        assert b.next().attempt == attempt
    b.fail(1, "killed", place=None)
    assert b.states() == ["failed"]


def test_the_same_exception_at_the_same_line_is_retried_once_in_a_sweep(bench):
    b = bench(limits={"retries": 5})
    b.next()
    b.report(1, 1)
    b.fail(1)
    assert b.next().attempt == 2
    b.fail(1)
    assert b.next().number == 2
    b.fail(2)
    assert b.states() == ["failed", "failed"]
    assert b.engine.trials[2].attempts == 1


def test_repeated_epochs_of_a_second_attempt_are_not_reported_twice(bench):
    b = bench()
    b.next()
    b.report(1, 1, 3.0), b.report(1, 2, 2.0)
    b.fail(1, "killed", place=None)
    b.next()
    b.report(1, 1, 9.0), b.report(1, 2, 9.0), b.report(1, 3, 1.0)
    b.engine.on_event(1, Ended(elapsed_s=3.0))
    b.ledger.flush()
    assert [(r.epoch, r.metrics["m"]) for r in b.ledger.reports(b.record)] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert b.searcher.outcomes[0].losses == {1: 3.0, 2: 2.0, 3: 1.0}


def test_a_stop_lets_epochs_end_and_saves_them(bench):
    b = bench()
    b.next(), b.next()
    b.engine.stop("interrupted", "Ctrl-C")
    assert b.engine.next_assignment() is Idle.FINISHED
    assert b.report(1, 1) is Verdict.SAVE_AND_END
    b.engine.finish()
    assert b.states() == ["interrupted", "interrupted"]
    record = b.ledger.sweep("bench")
    assert (record.state, record.reason) == ("interrupted", "Ctrl-C")


def test_the_time_limit_counts_from_when_a_trial_trains_and_not_from_the_start_of_ray(bench):
    b = bench(limits={"time": "1m"})
    b.clock.now = 100.0
    b.next()
    b.engine.on_event(1, Failed(cause="killed", evidence="no process could be started", has_begun=False))
    b.next()
    b.clock.now = 200.0
    b.engine.tick()
    assert b.engine.reason is None and b.engine.time_left_s is None, "slots are still starting"
    b.engine.begin_time()
    b.clock.now = 230.0
    b.next()
    b.engine.begin_time()
    assert b.engine.time_left_s == 30.0
    b.clock.now = 259.0
    b.engine.tick()
    assert b.engine.reason is None
    b.clock.now = 260.0
    assert b.engine.next_assignment() is Idle.FINISHED
    b.engine.finish()
    record = b.ledger.sweep("bench")
    assert (record.state, record.reason) == ("done", "the time limit of 60 s was reached")
    assert record.ended_by_time_limit


def test_the_time_limit_counts_the_epoch_that_is_the_first_sign_of_a_trial(bench):
    b = bench(limits={"time": "1m"})
    b.next()
    b.clock.now = 100.0
    b.engine.on_event(1, Report(epoch=1, metrics={"m": 1.0}, elapsed_s=20.0))
    assert b.engine.time_left_s == 40.0


def test_the_time_of_a_trial_counts_over_its_attempts(bench):
    b = bench(limits={"trial_time": 100})
    assert b.next().time_left_s == 100
    b.engine.on_event(1, Failed(cause="killed", evidence="gone", elapsed_s=30.0))
    assert b.next().time_left_s == 70


def test_a_paused_trial_continues_when_it_is_promoted(bench):
    b = bench(concurrent=1, limits={"trials": 2})
    b.next()
    b.rule.decisions[1, 1] = Decision.PAUSE
    assert b.report(1, 1) is Verdict.END
    assert b.states() == ["paused"]
    b.rule.promotions = [1]
    assignment = b.next()
    assert (assignment.number, assignment.attempt) == (1, 1)
    b.report(1, 2)
    b.engine.on_event(1, Ended(elapsed_s=2.0))
    assert b.states() == ["done"]


def test_a_paused_trial_that_is_not_promoted_is_stopped_at_the_end(bench):
    b = bench(concurrent=1, limits={"trials": 1})
    b.next()
    b.rule.decisions[1, 1] = Decision.PAUSE
    b.report(1, 1)
    assert b.engine.next_assignment() is Idle.FINISHED
    b.engine.finish()
    assert b.states() == ["stopped"]


def test_the_rule_may_promote_one_more_trial_when_nothing_runs_and_none_is_left(bench):
    b = bench(concurrent=2, limits={"trials": 2})
    b.next(), b.next()
    b.rule.decisions = {(1, 1): Decision.PAUSE, (2, 1): Decision.PAUSE}
    b.rule.at_end = [2]
    b.report(1, 1)
    assert b.engine.next_assignment() is Idle.NOT_NOW, "trial 2 still runs"
    b.report(2, 1)
    assert b.next().number == 2


def test_a_promoted_trial_is_reported_again_with_its_longer_curve(bench):
    b = bench(concurrent=1)
    b.next()
    b.rule.decisions[1, 1] = Decision.PAUSE
    b.report(1, 1, 5.0)
    b.rule.promotions = [1]
    b.next()
    b.report(1, 2, 3.0)
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    assert [(outcome.state, outcome.losses) for outcome in b.searcher.outcomes] == [
        ("stopped", {1: 5.0}),
        ("done", {1: 5.0, 2: 3.0}),
    ]


def test_without_a_checkpoint_at_the_rung_the_rule_stops_instead_of_pausing(home: Path):
    b = Bench(home, concurrent=1, early_terminate={"type": "asha"}, limits={"epochs": 9})
    b.rule.decisions = {(2, 1): Decision.PAUSE}  # type: ignore[attr-defined]  # the scripted rule of the bench
    b.next()
    assert b.report(1, 1, 1.0, saved=False) is Verdict.CONTINUE
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    b.next()
    assert b.report(2, 1, 2.0, saved=False) is Verdict.END
    assert b.states() == ["done", "stopped"], "the rule that took over got the reports of trial 1 too"
    b.next()
    assert b.report(3, 1, 0.5, saved=False) is Verdict.CONTINUE


def test_a_trainable_that_cannot_be_used_ends_the_sweep_as_a_mistake(bench):
    b = bench()
    b.next()
    b.engine.on_event(1, Unusable(evidence="it can't be imported"))
    assert b.engine.next_assignment() is Idle.FINISHED
    assert "can't be imported" in str(b.engine.mistake)


def test_events_of_an_assignment_that_was_given_up_change_nothing(bench):
    b = bench()
    b.next()
    b.engine.on_event(1, Ended(elapsed_s=0.0))
    before = b.states()
    assert b.report(1, 9) is Verdict.END
    assert b.states() == before


def test_late_reports_are_committed_by_the_clock(bench, home: Path):
    b = bench()
    b.next()
    b.report(1, 1, saved=False)
    with Ledger(home) as other:
        assert other.reports(b.record) == []
        b.clock.now += 0.25
        b.engine.tick()
        assert len(other.reports(b.record)) == 1


def test_a_finite_space_ends_when_it_is_exhausted(home: Path):
    tree = {
        "name": "finite",
        "trainable": "a:b",
        "metric": {"name": "m", "goal": "minimize"},
        "parameters": {"x": {"values": [1, 2, 3]}},
    }
    sweep = Sweep.from_dict(tree)
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("finite", sweep.to_dict())
        engine = Engine.new(
            EngineParts(
                sweep=sweep,
                searcher=make_searcher(sweep),
                rule=ScriptedRule(),
                ledger=ledger,
                record=record,
                concurrent=1,
            )
        )
        seen = []
        while isinstance(assignment := engine.next_assignment(), Assignment):
            seen.append(assignment.config["x"])
            engine.on_event(assignment.number, Report(epoch=1, metrics={"m": 1.0}, elapsed_s=1.0))
            engine.on_event(assignment.number, Ended(elapsed_s=1.0))
    assert sorted(seen) == [1, 2, 3]


def test_a_report_with_a_new_checkpoint_is_committed_at_once(bench, home: Path):
    b = bench()
    b.next()
    b.report(1, 1, saved=True)
    with Ledger(home) as other:
        assert len(other.reports(b.record)) == 1, "after a crash the checkpoint would be ahead of the ledger"


def test_a_trial_without_time_left_is_not_retried(bench):
    b = bench(limits={"trial_time": 100, "retries": 5})
    b.next()
    b.engine.on_event(1, Failed(cause="hung", evidence="too slow", elapsed_s=100.0))
    assert b.states() == ["failed"]


def test_an_observer_that_raises_is_removed_and_the_sweep_continues(bench):
    class ClosedPipe:
        def __getattr__(self, name: str) -> Any:
            raise BrokenPipeError

    b = bench()
    b.engine.observers = (ClosedPipe(),)
    assert (b.next().number, b.next().number) == (1, 2)
    assert b.engine.observers == ()
    b.engine.finish()
    assert b.ledger.sweep("bench").reason == "ClosedPipe raised BrokenPipeError; it shows nothing since"


def test_a_trainable_that_breaks_while_the_sweep_runs_fails_trials_alone(bench):
    b = bench(limits={"retries": 0})
    b.next()
    b.report(1, 1)
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    b.next()
    b.engine.on_event(2, Unusable(evidence="a half-typed edit"))
    assert b.engine.mistake is None
    assert b.states() == ["done", "failed"]
    assert b.next().number == 3


def test_the_evidence_of_a_failed_attempt_is_gone_once_the_trial_succeeds(bench):
    b = bench()
    b.next()
    b.fail(1, "killed", place=None)
    b.next()
    b.report(1, 1)
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    trial = b.ledger.trials(b.record)[0]
    assert (trial.state, trial.cause, trial.evidence) == ("done", None, None)


def test_after_a_restart_no_trial_that_failed_or_ended_is_promoted(home: Path):
    tree: dict[str, Any] = {"early_terminate": {"type": "asha"}, "limits": {"trials": 4, "epochs": 9}}
    first = Bench(home, concurrent=1, rule=Asha(min_epochs=1, max_epochs=9, eta=3), **tree)
    for number, value in enumerate([0.1, 0.5, 0.6], 1):
        assert first.next().number == number
        first.report(number, 1, value)
    assert first.next().number == 1, "the best of three is promoted"
    first.fail(1, "diverged")
    first.ledger.close()
    with Ledger(home) as ledger:
        parts = EngineParts(
            sweep=first.sweep,
            searcher=RecordingSearcher(),
            rule=make_stopping_rule(first.sweep, can_pause=True),
            ledger=ledger,
            record=first.record,
        )
        engine = Engine.resumed(parts, Past.read(ledger, first.record))
        assignment = engine.next_assignment()
        assert isinstance(assignment, Assignment) and assignment.number == 4
        assert ledger.trials(first.record)[0].state == "failed"


def test_a_search_method_that_raised_is_named_in_the_record_of_the_sweep(bench, monkeypatch, capsys):
    b = bench(limits={"trials": 2, "epochs": 1}, concurrent=1)

    def raises(number: int, draw: int) -> Point:
        raise RuntimeError("singular matrix")

    monkeypatch.setattr(b.searcher, "_propose", raises)
    monkeypatch.setattr(b.searcher, "space", Space(domains={"x": Real(min=0.0, max=1.0)}))
    for number in (1, 2):
        assert b.next().number == number
        b.report(number, 1)
    assert b.engine.next_assignment() is Idle.FINISHED
    b.engine.finish()
    record = b.ledger.sweep("bench")
    assert (record.state, b.states()) == ("done", ["done", "done"])
    assert "the search method raised RuntimeError: singular matrix (when it was asked for trial 1)" in record.reason
    assert capsys.readouterr().err.count("RuntimeError: singular matrix") == 1


class Raising(ScriptedRule):
    """Decides as set until a report of `at` comes, or `asked` is called; then it raises each time."""

    def __init__(self, *, at: tuple[int, int] | None = None, asked: str | None = None) -> None:
        super().__init__()
        self.at, self.asked, self.raised = at, asked, 0

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        return self._raise() if (number, epoch) == self.at else super().report(number, epoch, loss)

    def rungs(self) -> tuple[int, ...]:
        return self._raise() if self.asked == "rungs" else super().rungs()

    def promote(self, *, at_end: bool = False) -> int | None:
        return self._raise() if self.asked == "promote" else super().promote(at_end=at_end)

    def _raise(self) -> Any:
        self.raised += 1
        raise ZeroDivisionError("no rung has a trial")


def run_to_the_end(b: Bench) -> None:
    """Train every assignment until the engine ends it."""
    while isinstance(assignment := b.engine.next_assignment(), Assignment):
        epoch = assignment.known_epochs + 1
        while b.report(assignment.number, epoch) is Verdict.CONTINUE:
            epoch += 1
    assert assignment is Idle.FINISHED
    b.engine.finish()


@pytest.mark.parametrize(
    ("at", "asked", "when"),
    [
        ((2, 2), None, "at epoch 2 of trial 2"),
        (None, "rungs", "when it was asked for its rungs"),
        (None, "promote", "when it was asked for a promotion"),
    ],
)
def test_after_a_stopping_rule_raised_every_trial_runs_to_its_end_and_the_sweep_notes_it(home, capsys, at, asked, when):
    rule = Raising(at=at, asked=asked)
    rule.decisions = {(3, 1): Decision.STOP}
    b = Bench(home, concurrent=1, rule=rule, limits={"trials": 3, "epochs": 3})
    run_to_the_end(b)
    assert [trial.epochs_trained for trial in b.ledger.trials(b.record)] == [3, 3, 3]
    record = b.ledger.sweep("bench")
    said = f"the stopping rule raised ZeroDivisionError: no rung has a trial ({when}); no trial is stopped since"
    assert (record.state, record.reason, b.states()) == ("done", said, ["done"] * 3)
    assert rule.raised == 1, "it is not asked again"
    assert capsys.readouterr().err.count("ZeroDivisionError: no rung") == 1, "one traceback, for the log"


def test_trials_that_a_stopping_rule_paused_continue_after_it_raised(home):
    rule = Raising(at=(2, 2))
    rule.decisions = {(1, 1): Decision.PAUSE}
    b = Bench(home, concurrent=1, rule=rule, limits={"trials": 3, "epochs": 3})
    run_to_the_end(b)
    assert b.states() == ["done"] * 3
    epochs = [(report.number, report.epoch) for report in b.ledger.reports(b.record)]
    assert sorted(epochs) == [(number, epoch) for number in (1, 2, 3) for epoch in (1, 2, 3)], "none of them twice"


def test_a_stopping_rule_that_raises_in_the_replay_ends_no_sweep_either(home):
    limits = {"trials": 2, "epochs": 3}
    first = Bench(home, concurrent=1, limits=limits)
    first.next()
    first.report(1, 1)
    first.ledger.close()
    with Ledger(home) as ledger:
        parts = EngineParts(
            sweep=first.sweep, searcher=RecordingSearcher(), rule=Raising(at=(1, 1)), ledger=ledger, record=first.record
        )
        engine = Engine.resumed(parts, Past.read(ledger, first.record))
        assignment = engine.next_assignment()
        assert isinstance(assignment, Assignment) and (assignment.number, assignment.known_epochs) == (1, 1)
        engine.finish()
        assert "the stopping rule raised ZeroDivisionError" in (ledger.sweep("bench").reason or "")
