"""Attempts that end before the first line of the user's code: no configuration and no trial is to blame for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.engine.engine import Idle
from hpsearch.engine.failure_policy import BEGINS_WITHOUT_ONE, INFRA_RETRIES, MAX_BEGINS
from hpsearch.slots.protocol import Assignment, Failed, Verdict
from tests.unit.engine.test_engine import Bench

NO_BEGIN = Failed(cause="node_lost", evidence="could not begin: OSError: Too many open files", has_begun=False)


@pytest.fixture
def bench(home: Path) -> Bench:
    return Bench(home, concurrent=2, limits={"epochs": 3, "retries": 0, "failures": 1})


def test_a_trial_that_could_not_begin_is_repeated_more_often_than_it_may_fail_and_teaches_nothing(bench: Bench):
    bench.next()
    bench.next()
    for attempt in range(1, INFRA_RETRIES + 3):
        assert bench.engine.on_event(1, NO_BEGIN) is Verdict.END
        again = bench.next()
        assert (again.number, again.attempt) == (1, attempt + 1)
        bench.report(2, 1)
    trial = bench.engine.trials[1]
    assert (trial.failures, trial.cause, trial.failure_sites) == (0, None, set())
    assert [bench.report(1, epoch) for epoch in (1, 2, 3)][-1] is Verdict.RUN_TO_END
    assert bench.states() == ["done", "running"]
    assert bench.ledger.failures(bench.record) == []
    assert [(outcome.number, outcome.state) for outcome in bench.searcher.outcomes] == [(1, "done")]
    assert bench.engine.reason is None


def test_a_sweep_in_which_no_trial_begins_any_more_gives_up_and_leaves_its_trials_to_resume(bench: Bench):
    bench.next()
    bench.next()
    for _ in range(BEGINS_WITHOUT_ONE):
        assert bench.engine.reason is None
        for number in (1, 2):
            bench.engine.on_event(number, NO_BEGIN)
            if bench.engine.reason is None:
                bench.next()
    assert bench.engine.reason == f"12 attempts in a row could not begin, whatever the trial: {NO_BEGIN.evidence}"
    assert bench.engine.stop_state.state == "gave_up"
    assert bench.engine.next_assignment() is Idle.FINISHED
    bench.engine.finish()
    assert bench.states() == ["interrupted", "interrupted"]
    assert bench.searcher.outcomes == []


def test_as_long_as_one_trial_trains_a_sweep_does_not_give_up(bench: Bench):
    bench.next()
    bench.next()
    bench.report(2, 1)  # its next epoch takes hours
    for _ in range(MAX_BEGINS - 1):
        bench.engine.on_event(1, NO_BEGIN)
        assert bench.next().number == 1
    assert bench.engine.reason is None


def test_a_trial_that_alone_can_not_begin_is_interrupted_and_the_others_are_trained(bench: Bench):
    bench.next()
    bench.next()
    for _ in range(MAX_BEGINS):
        bench.report(2, 1)
        bench.engine.on_event(1, NO_BEGIN)
        assert isinstance(bench.engine.next_assignment(), Assignment)
    assert bench.states() == ["interrupted", "running", "running"]
    assert bench.engine.trials[1].evidence == NO_BEGIN.evidence
    assert bench.searcher.outcomes == [] and bench.searcher.dropped == [1]
    assert bench.engine.reason is None


def test_a_trial_that_can_not_begin_while_a_sweep_stops_is_interrupted_and_not_failed(bench: Bench):
    bench.next()
    bench.engine.stop("interrupted", "Ctrl-C")
    bench.engine.on_event(1, NO_BEGIN)
    assert bench.states() == ["interrupted"]
