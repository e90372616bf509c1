"""The trials of a sweep, and which of them are running, deferred or have a result."""

from __future__ import annotations

import pytest

from hpsearch.engine.registry import RECHECK_S, Trials
from hpsearch.engine.trial import Trial


def trial(number: int, **changes: object) -> Trial:
    return Trial(number=number, point={}, ledger_id=number, **changes)  # type: ignore[arg-type]


def test_a_deferred_trial_is_offered_again_after_a_while_and_once():
    now = [0.0]
    trials = Trials(lambda: now[0])
    trials.add(trial(1))
    trials.defer(1)
    assert trials.pop_due() is None
    now[0] = RECHECK_S
    assert trials.pop_due() is trials[1]
    assert trials.pop_due() is None


def test_a_sweep_is_idle_when_no_trial_runs_and_none_is_deferred():
    trials = Trials()
    assert trials.is_idle
    trials.running.add(1)
    assert not trials.is_idle
    trials.running.clear()
    trials.defer(2)
    assert not trials.is_idle


def test_trials_are_found_by_number_in_the_order_in_which_they_began():
    trials = Trials()
    for number in (1, 2):
        trials.add(trial(number))
    assert (len(trials), list(trials), trials[2].number) == (2, [1, 2], 2)
    assert 3 not in trials and list(trials.values()) == [trials[1], trials[2]]


@pytest.mark.parametrize(
    ("state", "succeeded"), [("paused", True), ("reused", True), ("running", False), ("failed", False)]
)
def test_a_paused_trial_counts_as_a_success(state: str, succeeded: bool):
    trials = Trials()
    trials.add(trial(1, state=state))
    assert trials.any_succeeded is succeeded


def test_an_epoch_that_was_reused_is_not_one_that_was_trained():
    trials = Trials()
    trials.add(trial(1, epochs=3))
    assert not trials.any_trained
    trials.add(trial(2, epochs=1, ran_in_slot=True))
    assert trials.any_trained
