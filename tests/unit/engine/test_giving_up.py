"""When a sweep gives up: after how many failures, of which causes, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Idle
from hpsearch.engine.failure_policy import COSTLY_S
from hpsearch.errors import CAUSE_CLASSES, Cause
from hpsearch.slots.protocol import Assignment, Ended, Failed, Verdict
from tests.unit.engine.test_engine import Bench

MISSING = Failed(cause="bad_metric", evidence="reported [n], needed m in every report", elapsed_s=1.0)
MISSPELT = Failed(
    cause="bad_metric", evidence="reported [M], needed m (did you mean 'M'?)", elapsed_s=1.0, is_misspelling=True
)


@pytest.fixture
def bench(home: Path) -> Callable[..., Bench]:
    return lambda **keys: Bench(home, **{"limits": {"retries": 0}, "concurrent": 1, **keys})


def killed(how: str, *, pid: int) -> Failed:
    return Failed(cause="killed", evidence=f"rank 0 (process {pid}) {how}")


def fail_next(b: Bench, failure: Failed | Ended) -> None:
    b.engine.on_event(b.next().number, failure)


def test_three_identical_failures_without_a_success_end_the_sweep(bench):
    b = bench(limits={"retries": 0}, concurrent=1)
    for number in (1, 2, 3):
        assert b.next().number == number
        b.fail(number)
    assert b.engine.next_assignment() is Idle.FINISHED
    assert b.engine.stop_state.state == "gave_up" and "same way" in (b.engine.reason or "")


def test_a_success_keeps_the_sweep_going(bench):
    b = bench(limits={"retries": 0}, concurrent=1)
    b.next()
    b.report(1, 1)
    b.engine.on_event(1, Ended(elapsed_s=1.0))
    for number in (2, 3, 4, 5):
        assert b.next().number == number
        b.fail(number)
    assert b.next().number == 6


def test_different_failures_do_not_add_up(bench):
    b = bench(limits={"retries": 0}, concurrent=1)
    for number in range(1, 6):
        assert b.next().number == number
        b.fail(number, place=f"E at f:{number}")
    assert b.engine.reason is None


def test_the_limit_of_failures_decides_alone_where_it_is_set(bench):
    b = bench(limits={"retries": 0, "failures": 5}, concurrent=1)
    for number in range(1, 6):
        b.next()
        b.fail(number)
    assert "limits.failures: 5" in (b.engine.reason or "")


def test_three_reports_without_the_metric_end_the_sweep(bench):
    b = bench()
    for _ in range(3):
        assert b.engine.reason is None
        fail_next(b, MISSING)
    assert b.engine.reason == (
        "3 trials failed in the same way and none succeeded: reported [n], needed m in every report"
    )
    assert b.engine.stop_state.state == "gave_up"


def test_a_metric_that_is_spelt_differently_ends_the_sweep_with_the_first_report(bench):
    b = bench(concurrent=4)
    for _ in range(4):
        b.next()
    b.engine.on_event(3, MISSPELT)
    assert b.engine.reason == (
        "trial 3 failed after 1 s, and others probably would: reported [M], needed m (did you mean 'M'?)"
    )
    assert b.engine.next_assignment() is Idle.FINISHED


def test_another_spelling_is_no_proof_once_a_trial_has_reported_the_metric(bench):
    b = bench(concurrent=2)
    b.next(), b.next()
    b.report(1, 1)
    b.engine.on_event(2, MISSPELT)
    assert b.engine.reason is None


def test_reports_with_other_names_are_another_failure(bench):
    b = bench()
    for name in "abcd":
        fail_next(b, Failed(cause="bad_metric", evidence=f"reported [{name}], needed m"))
    assert b.engine.reason is None


def test_values_that_are_no_number_may_differ(bench):
    b = bench()
    for value in (0.1, -2.5e-3, 3):
        fail_next(b, Failed(cause="bad_metric", evidence=f"reported m = [{value}], which is no number, needed m"))
    assert b.engine.stop_state.state == "gave_up"


@pytest.mark.parametrize(
    ("metric", "call"), [("m", "hpsearch.report(m=...)"), ("val/loss", "hpsearch.report({'val/loss': ...})")]
)
def test_three_trials_without_a_report_end_the_sweep_and_say_which_call_is_missing(bench, metric, call):
    b = bench(metric={"name": metric, "goal": "minimize"})
    for _ in range(3):
        fail_next(b, Ended(elapsed_s=1.0))
    assert b.engine.reason == (
        f"3 trials failed in the same way and none succeeded: it ended without a report: call {call} once an epoch"
    )


@pytest.mark.parametrize("how", ["was killed by signal 9 (Killed)", "exited with code 3"])
def test_three_trials_that_are_killed_alike_before_a_report_end_the_sweep(bench, how):
    b = bench()
    for pid in (411, 5012, 77):
        assert b.engine.reason is None
        fail_next(b, killed(how, pid=pid))
    assert b.engine.reason == f"3 trials failed in the same way and none succeeded: rank 0 (process 77) {how}"


def test_another_signal_is_another_failure(bench):
    b = bench()
    for number in (6, 9, 11, 15):
        fail_next(b, killed(f"was killed by signal {number}", pid=411))
    assert b.engine.reason is None


def test_a_trial_that_is_killed_after_a_report_does_not_count(bench):
    b = bench()
    for number in range(1, 6):
        b.next()
        b.report(number, 1)
        b.engine.on_event(number, killed("was killed by signal 9 (Killed)", pid=411))
    assert b.engine.reason is None


@pytest.mark.parametrize(
    "cause",
    [*(cause for cause, kind in CAUSE_CLASSES.items() if kind == "infra"), "diverged", "oom_gpu", "oom_host", "hung"],
)
def test_what_no_mistake_in_the_code_explains_never_ends_a_sweep(bench, cause: Cause):
    b = bench(limits={"retries": 0, "trials": 5})
    failure = Failed(cause=cause, evidence="the same each time", place="E at f:1", elapsed_s=3600.0)
    while isinstance(assignment := b.engine.next_assignment(), Assignment):
        b.engine.on_event(assignment.number, failure)
    assert b.states() == ["failed"] * 5 and b.engine.reason is None


@pytest.mark.parametrize("event", [MISSING, Ended(elapsed_s=1.0)], ids=["without the metric", "without a report"])
def test_a_first_trial_that_took_long_for_no_metric_ends_the_sweep_alone(bench, event: Any):
    b = bench(concurrent=4)
    for _ in range(4):
        b.next()
    b.engine.on_event(1, type(event)(**{**vars(event), "elapsed_s": 3700.0}))
    assert (b.engine.reason or "").startswith("trial 1 failed after 1 h 01 min, and no trial has reported the metric: ")
    assert b.engine.next_assignment() is Idle.FINISHED
    b.engine.finish()
    assert b.states() == ["failed", "interrupted", "interrupted", "interrupted"]


def test_two_such_trials_end_it_when_both_together_took_long(bench):
    b = bench()
    for number in (1, 2):
        assert b.engine.reason is None
        b.next()
        b.engine.on_event(number, Failed(cause="bad_metric", evidence="reported [n], needed m", elapsed_s=COSTLY_S / 2))
    assert b.engine.reason == "2 trials failed in the same way and none succeeded: reported [n], needed m"


def test_long_trials_count_one_by_one_once_a_trial_has_reported_the_metric(bench):
    b = bench(concurrent=2)
    b.next(), b.next()
    b.report(1, 1)
    b.engine.on_event(2, Ended(elapsed_s=3 * COSTLY_S))
    assert b.engine.reason is None


def test_a_running_trial_that_is_beyond_the_failure_keeps_the_sweep_alive(bench):
    b = bench(concurrent=2)
    b.next()
    b.report(1, 1)
    for _ in range(4):
        fail_next(b, MISSING)
    assert b.engine.reason is None
    b.engine.on_event(1, MISSING)
    assert b.engine.stop_state.state == "gave_up", "the trial that was ahead has failed too"


def test_running_trials_end_with_the_sweep_that_gives_up(bench):
    b = bench(concurrent=2)
    b.next()
    for _ in range(3):
        fail_next(b, MISSING)
    assert b.report(1, 1) is Verdict.SAVE_AND_END
    assert b.engine.next_assignment() is Idle.FINISHED
    assert b.states() == ["interrupted", *["failed"] * 3]


def test_the_limit_of_failures_decides_about_kills_and_not_about_reports_without_the_metric(bench):
    b = bench(limits={"retries": 0, "failures": 5})
    for pid in range(4):
        fail_next(b, killed("exited with code 1", pid=pid))
    assert b.engine.reason is None
    for _ in range(3):
        fail_next(b, MISSING)
    assert "needed m" in (b.engine.reason or "")
