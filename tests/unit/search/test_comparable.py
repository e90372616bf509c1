"""Which trials a model may compare, and by what."""

from __future__ import annotations

import math

from hpsearch.search.comparable import MIN_COMPARED, Comparable
from hpsearch.search.contract import Outcome


def outcome(number: int, *losses: float, state: str = "stopped") -> Outcome:
    curve = dict(enumerate(losses, start=1))
    return Outcome(number=number, point={}, state=state, losses=curve)  # type: ignore[arg-type]


def test_while_few_are_known_all_are_compared_where_the_first_was_stopped():
    comparable = Comparable()
    comparable.add(outcome(1, 5.0, 1.0, state="done"))
    comparable.add(outcome(2, 4.0))
    assert (comparable.height, comparable.losses()) == (1, {1: 5.0, 2: 4.0})


def test_the_highest_epoch_that_enough_trials_have_reached_counts():
    comparable = Comparable()
    for number in range(MIN_COMPARED):
        comparable.add(outcome(number, 3.0, 2.0, 2.5))
    comparable.add(outcome(99, 1.0))
    assert comparable.height == 3
    assert comparable.loss(0) == 2.0, "the best up to there"
    assert comparable.loss(99) is None, "stopped below"


def test_whole_trainings_are_compared_by_their_best_however_long_they_were():
    comparable = Comparable()
    for number in range(MIN_COMPARED):
        comparable.add(outcome(number, *range(number + 2, 1, -1), state="done"))
    assert (comparable.height, comparable.any_stopped) == (math.inf, False)
    assert set(comparable.losses().values()) == {2}


def test_a_trial_that_is_told_anew_counts_once():
    comparable = Comparable()
    comparable.add(outcome(1, 5.0))
    comparable.add(outcome(1, 5.0, 3.0))
    assert (comparable.height, comparable.losses()) == (2, {1: 3.0})
