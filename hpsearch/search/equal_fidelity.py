"""Selects the trials that a model compares: those that trained for the same budget, by their best losses up to it.

Under a stopping rule most trials end early. Ranked by their best loss, the trials that trained longest look best;
ranked by how long they trained, every survivor looks better than the trials that started later. So a model compares
trials at a single budget (an epoch), the highest that enough trials have reached, and ignores trials that were stopped
before it. Measured in
docs/decisions/0031.

Source:
    Falkner, Klein and Hutter, "BOHB", arXiv:1807.01774, section 3.2.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import final

from hpsearch.search.searcher import Outcome

MIN_COMPARED = 16
"""Trials that must have reached a budget before a model uses it instead of a lower one. Compared with 6 and 10 on
tables of learning curves: docs/decisions/0031."""

ENOUGH_AT_FIRST_RUNG = 4 * MIN_COMPARED
"""Number of trials from which on a model learns from losses at the first rung, since under a rule that lets few trials
pass it would otherwise wait for long. With fewer trials, such losses mislead more than they help:
docs/decisions/0045."""

MIN_RIVALS = 3
"""Trials of each group, random and proposed by the model, that must have reached a budget before their best are
compared there."""


@final
class FidelitySelector:
    """The outcomes of a sweep that are not infeasible, and the budget at which they are compared."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._reached: list[float] = []  # the last epoch of each trial, ascending
        self._new: dict[int, Outcome] = {}  # not yet in a group
        self._groups = (_Group(), _Group())  # of trials that a model proposed, and of random ones

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a trial that has losses; the longer curve of a promoted trial replaces its earlier one."""
        _update_reached(self._reached, self._outcomes.get(outcome.number), outcome)
        self._outcomes[outcome.number] = outcome
        if outcome.number > 0:
            self._new[outcome.number] = outcome

    @property
    def has_outcomes(self) -> bool:
        """Whether any outcome was added."""
        return bool(self._reached)

    @property
    def any_stopped(self) -> bool:
        """Whether any trial was stopped or paused; if not, all outcomes are full trainings."""
        return bool(self._reached) and self._reached[0] < math.inf

    @property
    def is_informative(self) -> bool:
        """Whether a model may learn at the budget: it is above the first rung, or there are many trials."""
        is_above_first_rung = bool(self._reached) and self._reached[0] < self.budget
        return len(self._reached) >= ENOUGH_AT_FIRST_RUNG or is_above_first_rung

    @property
    def budget(self) -> float:
        """The epoch at which trials are compared; infinity to compare finished trials."""
        return self._reached[max(len(self._reached) - MIN_COMPARED, 0)] if self._reached else math.inf

    def loss(self, number: int) -> float | None:
        """The best loss of a trial up to the budget; None if the trial was stopped before it."""
        outcome, budget = self._outcomes[number], self.budget
        if _last_epoch(outcome) < budget:
            return None
        return _best(outcome, budget)

    def losses(self) -> dict[int, float | None]:
        """`loss` of every trial, by number."""
        return {number: self.loss(number) for number in self._outcomes}

    def random_is_ahead(self, is_random: Callable[[int], bool]) -> bool:
        """Whether the best random trial is as good as the best that a model proposed, or better.

        They are compared at the highest epoch that MIN_RIVALS trials of both groups have reached; False if there is
        none.

        Args:
            is_random: Whether a trial is random, by number from 1; called once for each outcome. Priors, which have
                no such number, are ignored.
        """
        for number, outcome in self._new.items():
            self._groups[is_random(number)].add(outcome)
        self._new.clear()
        proposed, random = self._groups
        epoch = min(proposed.reached, random.reached)
        return epoch > 0 and random.best(epoch) <= proposed.best(epoch)


@final
class _Group:
    """The random trials of a sweep, or all others, with their best loss at one epoch.

    The best loss is updated with each outcome, and computed from all outcomes only where the epoch changes.
    """

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._reached: list[float] = []  # ascending
        self._best_at: tuple[float, float] | None = None  # an epoch, and the best loss up to there

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a trial, or replace an earlier one of the same trial."""
        before = self._outcomes.get(outcome.number)
        _update_reached(self._reached, before, outcome)
        self._outcomes[outcome.number] = outcome
        if before is not None and not before.losses.items() <= outcome.losses.items():
            self._best_at = None
        elif self._best_at is not None and _last_epoch(outcome) >= (epoch := self._best_at[0]):
            self._best_at = epoch, min(self._best_at[1], _best(outcome, epoch))

    @property
    def reached(self) -> float:
        """The highest epoch that MIN_RIVALS trials of the group have reached; 0 if there are fewer trials."""
        return self._reached[-MIN_RIVALS] if len(self._reached) >= MIN_RIVALS else 0

    def best(self, epoch: float) -> float:
        """The best loss up to an epoch of the trials that have reached it, of which there is at least one."""
        if self._best_at is None or self._best_at[0] != epoch:
            there = (outcome for outcome in self._outcomes.values() if _last_epoch(outcome) >= epoch)
            self._best_at = epoch, min(_best(outcome, epoch) for outcome in there)
        return self._best_at[1]


def _update_reached(reached: list[float], before: Outcome | None, outcome: Outcome) -> None:
    """Put a trial's last epoch in its position of a sorted list, instead of that of its earlier outcome."""
    if before is not None:
        del reached[bisect_left(reached, _last_epoch(before))]
    insort(reached, _last_epoch(outcome))


def _best(outcome: Outcome, epoch: float) -> float:
    """The best loss up to an epoch."""
    return min(loss for each, loss in outcome.losses.items() if each <= epoch)


def _last_epoch(outcome: Outcome) -> float:
    """The last epoch of a trial; infinity for one that finished, which is as good as it will ever be."""
    return math.inf if outcome.state == "done" else max(outcome.losses)
