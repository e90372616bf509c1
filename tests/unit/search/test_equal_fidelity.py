"""Which trials a model may compare, and by what."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.search.equal_fidelity import MIN_COMPARED, MIN_RIVALS, FidelitySelector
from hpsearch.search.searcher import Outcome


def outcome(number: int, *losses: float, state: str = "stopped") -> Outcome:
    curve = dict(enumerate(losses, start=1))
    return Outcome(number=number, point={}, state=state, losses=curve)  # type: ignore[arg-type]


def test_while_there_are_few_trials_all_are_compared_where_the_first_was_stopped():
    selector = FidelitySelector()
    selector.add(outcome(1, 5.0, 1.0, state="done"))
    selector.add(outcome(2, 4.0))
    assert (selector.budget, selector.losses()) == (1, {1: 5.0, 2: 4.0})


def test_the_highest_epoch_that_enough_trials_have_reached_counts():
    selector = FidelitySelector()
    for number in range(MIN_COMPARED):
        selector.add(outcome(number, 3.0, 2.0, 2.5))
    selector.add(outcome(99, 1.0))
    assert selector.budget == 3
    assert selector.loss(0) == 2.0, "the best up to the budget"
    assert selector.loss(99) is None, "stopped before the budget"


def test_whole_trainings_are_compared_by_their_best_however_long_they_were():
    selector = FidelitySelector()
    for number in range(MIN_COMPARED):
        selector.add(outcome(number, *range(number + 2, 1, -1), state="done"))
    assert (selector.budget, selector.any_stopped) == (math.inf, False)
    assert set(selector.losses().values()) == {2}


def test_a_trial_that_is_reported_again_counts_once():
    selector = FidelitySelector()
    selector.add(outcome(1, 5.0))
    selector.add(outcome(1, 5.0, 3.0))
    assert (selector.budget, selector.losses()) == (2, {1: 3.0})


def rivals(
    *, proposed: tuple[float, ...], random_losses: tuple[float, ...], count: int = MIN_RIVALS
) -> FidelitySelector:
    """So many trials of both groups, the random ones being odd; each adds its number to its losses."""
    selector = FidelitySelector()
    for number in range(1, 2 * count + 1):
        losses = random_losses if number % 2 else proposed
        selector.add(outcome(number, *(loss + number for loss in losses)))
    return selector


def is_odd(number: int) -> bool:
    return number % 2 == 1


def test_random_is_ahead_if_its_best_is_better_at_the_highest_epoch_that_both_groups_have_reached():
    assert rivals(proposed=(1.0, 9.0), random_losses=(8.0, 5.0)).random_is_ahead(is_odd) is False, (
        "1 is the best up to 2"
    )
    assert rivals(proposed=(9.0, 9.0), random_losses=(11.0, 5.0)).random_is_ahead(is_odd) is True
    assert rivals(proposed=(5.0,), random_losses=(8.0, 1.0, 1.0)).random_is_ahead(is_odd) is False, (
        "8 is the best up to 1"
    )
    assert rivals(proposed=(0.0,), random_losses=(1.0,)).random_is_ahead(is_odd) is True, "a tie counts"


def test_random_is_not_ahead_while_a_group_has_few_trials_and_priors_are_in_no_group():
    selector = rivals(proposed=(5.0,), random_losses=(1.0,), count=MIN_RIVALS - 1)
    assert selector.random_is_ahead(is_odd) is False
    selector.add(outcome(-1, 1.0, state="done"))
    selector.add(outcome(0, 1.0, state="done"))
    assert selector.random_is_ahead(is_odd) is False


class Curve(dict[int, float]):
    """Losses that count how often they are read."""

    reads = 0

    def __iter__(self) -> Iterator[int]:
        Curve.reads += 1
        return super().__iter__()

    def items(self) -> Any:
        Curve.reads += 1
        return super().items()


def random_outcomes(count: int) -> Iterator[Outcome]:
    """So many trials at rungs 1, 3, 9 of a rule that promotes a third; a promoted trial is reported again."""
    rng = random.Random(0)
    for number in range(1, count + 1):
        for epoch in (1, 3, 9)[: min(1 + int(-math.log(rng.random(), 3)), 3)]:
            losses = Curve({epoch: random.Random(f"{number}/{epoch}").random() for epoch in range(1, epoch + 1)})
            state: Any = "done" if epoch == 9 else "stopped"
            yield Outcome(number=number, point={}, state=state, losses=losses)


def odd_is_ahead(outcomes: Mapping[int, Outcome]) -> bool:
    """Whether the odd ones are ahead, computed from all outcomes."""
    last_epoch_of = {
        number: math.inf if each.state == "done" else max(each.losses) for number, each in outcomes.items()
    }
    groups = [[number for number in outcomes if number % 2 == odd] for odd in (0, 1)]
    if min(map(len, groups)) < MIN_RIVALS:
        return False
    epoch = min(sorted(last_epoch_of[number] for number in group)[-MIN_RIVALS] for group in groups)
    best = [
        min(loss for n in group if last_epoch_of[n] >= epoch for at, loss in outcomes[n].losses.items() if at <= epoch)
        for group in groups
    ]
    return best[1] <= best[0]


def test_which_group_is_ahead_is_known_after_each_trial():
    selector, outcomes, seen = FidelitySelector(), {}, set()
    for each in random_outcomes(200):
        selector.add(each)
        outcomes[each.number] = each
        seen.add(selector.random_is_ahead(is_odd))
        assert selector.random_is_ahead(is_odd) is odd_is_ahead(outcomes)
    assert seen == {True, False}


def test_a_trial_that_is_reported_again_with_other_losses_counts_with_these():
    selector = rivals(proposed=(5.0,), random_losses=(1.0,))
    assert selector.random_is_ahead(is_odd) is True
    selector.add(outcome(1, 9.0))
    selector.add(outcome(3, 9.0))
    selector.add(outcome(5, 9.0))
    assert selector.random_is_ahead(is_odd) is False


def test_which_group_is_ahead_is_found_without_reading_all_trials_each_time():
    selector, asked = FidelitySelector(), []

    def is_random(number: int) -> bool:
        asked.append(number)
        return is_odd(number)

    Curve.reads = 0
    for each in random_outcomes(1000):
        selector.add(each)
        selector.random_is_ahead(is_random)
    assert len(asked) < 2 * 1000
    assert Curve.reads < 20 * 1000
