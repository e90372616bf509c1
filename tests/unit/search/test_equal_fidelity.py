"""Which trials a model may compare, and by what."""

from __future__ import annotations

import math
import random
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any

from hpsearch.search.equal_fidelity import MIN_COMPARED, MIN_RIVALS, FidelitySelector
from hpsearch.search.searcher import Outcome


def outcome(number: int, *losses: float, state: str = "stopped") -> Outcome:
    curve = dict(enumerate(losses, start=1))
    return Outcome(number=number, point={}, state=state, losses=curve)  # type: ignore[arg-type]


def test_while_few_are_known_all_are_compared_where_the_first_was_stopped():
    comparable = FidelitySelector()
    comparable.add(outcome(1, 5.0, 1.0, state="done"))
    comparable.add(outcome(2, 4.0))
    assert (comparable.height, comparable.losses()) == (1, {1: 5.0, 2: 4.0})


def test_the_highest_epoch_that_enough_trials_have_reached_counts():
    comparable = FidelitySelector()
    for number in range(MIN_COMPARED):
        comparable.add(outcome(number, 3.0, 2.0, 2.5))
    comparable.add(outcome(99, 1.0))
    assert comparable.height == 3
    assert comparable.loss(0) == 2.0, "the best up to there"
    assert comparable.loss(99) is None, "stopped below"


def test_whole_trainings_are_compared_by_their_best_however_long_they_were():
    comparable = FidelitySelector()
    for number in range(MIN_COMPARED):
        comparable.add(outcome(number, *range(number + 2, 1, -1), state="done"))
    assert (comparable.height, comparable.any_stopped) == (math.inf, False)
    assert set(comparable.losses().values()) == {2}


def test_a_trial_that_is_told_anew_counts_once():
    comparable = FidelitySelector()
    comparable.add(outcome(1, 5.0))
    comparable.add(outcome(1, 5.0, 3.0))
    assert (comparable.height, comparable.losses()) == (2, {1: 3.0})


def rivals(*, proposed: tuple[float, ...], exploring: tuple[float, ...], count: int = MIN_RIVALS) -> FidelitySelector:
    """So many trials of both kinds, those that explore being odd; each adds its number to its losses."""
    comparable = FidelitySelector()
    for number in range(1, 2 * count + 1):
        losses = exploring if number % 2 else proposed
        comparable.add(outcome(number, *(loss + number for loss in losses)))
    return comparable


def is_odd(number: int) -> bool:
    return number % 2 == 1


def test_what_explores_leads_where_its_best_is_better_at_the_highest_epoch_that_both_have_reached():
    assert rivals(proposed=(1.0, 9.0), exploring=(8.0, 5.0)).random_is_ahead(is_odd) is False, "1 is the best up to 2"
    assert rivals(proposed=(9.0, 9.0), exploring=(11.0, 5.0)).random_is_ahead(is_odd) is True
    assert rivals(proposed=(5.0,), exploring=(8.0, 1.0, 1.0)).random_is_ahead(is_odd) is False, "8 up to there"
    assert rivals(proposed=(0.0,), exploring=(1.0,)).random_is_ahead(is_odd) is True, "of equals"


def test_nobody_leads_while_few_of_one_kind_are_known_and_a_prior_is_of_no_kind():
    comparable = rivals(proposed=(5.0,), exploring=(1.0,), count=MIN_RIVALS - 1)
    assert comparable.random_is_ahead(is_odd) is False
    comparable.add(outcome(-1, 1.0, state="done"))
    comparable.add(outcome(0, 1.0, state="done"))
    assert comparable.random_is_ahead(is_odd) is False


class Curve(dict[int, float]):
    """Losses that count how often somebody looks at them."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        Curve.looks += 1
        return super().__iter__()

    def items(self) -> ItemsView[int, float]:
        Curve.looks += 1
        return super().items()


def random_outcomes(count: int) -> Iterator[Outcome]:
    """So many trials at rungs 1, 3, 9 of a rule that promotes a third; who goes on is told anew."""
    rng = random.Random(0)
    for number in range(1, count + 1):
        for height in (1, 3, 9)[: min(1 + int(-math.log(rng.random(), 3)), 3)]:
            losses = Curve({epoch: random.Random(f"{number}/{epoch}").random() for epoch in range(1, height + 1)})
            state: Any = "done" if height == 9 else "stopped"
            yield Outcome(number=number, point={}, state=state, losses=losses)


def leads(told: Mapping[int, Outcome]) -> bool:
    """Whether the odd ones do, by a look at all."""
    height_of = {number: math.inf if each.state == "done" else max(each.losses) for number, each in told.items()}
    kinds = [[number for number in told if number % 2 == odd] for odd in (0, 1)]
    if min(map(len, kinds)) < MIN_RIVALS:
        return False
    height = min(sorted(height_of[number] for number in kind)[-MIN_RIVALS] for kind in kinds)
    best = [
        min(loss for n in kind if height_of[n] >= height for at, loss in told[n].losses.items() if at <= height)
        for kind in kinds
    ]
    return best[1] <= best[0]


def test_who_leads_is_known_after_each_trial():
    comparable, told, seen = FidelitySelector(), {}, set()
    for each in random_outcomes(200):
        comparable.add(each)
        told[each.number] = each
        seen.add(comparable.random_is_ahead(is_odd))
        assert comparable.random_is_ahead(is_odd) is leads(told)
    assert seen == {True, False}


def test_a_trial_that_is_told_anew_with_other_losses_leads_by_these():
    comparable = rivals(proposed=(5.0,), exploring=(1.0,))
    assert comparable.random_is_ahead(is_odd) is True
    comparable.add(outcome(1, 9.0))
    comparable.add(outcome(3, 9.0))
    comparable.add(outcome(5, 9.0))
    assert comparable.random_is_ahead(is_odd) is False


def test_who_leads_takes_no_look_at_all_trials_for_each():
    comparable, asked = FidelitySelector(), []

    def is_random(number: int) -> bool:
        asked.append(number)
        return is_odd(number)

    Curve.looks = 0
    for each in random_outcomes(1000):
        comparable.add(each)
        comparable.random_is_ahead(is_random)
    assert len(asked) < 2 * 1000
    assert Curve.looks < 20 * 1000
