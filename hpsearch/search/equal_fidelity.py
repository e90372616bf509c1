"""Which trials a model may compare: those that came equally far, by their losses up to there.

Under a stopping rule most trials end early. Ranked by their best loss, what was trained longest looks best; ranked by
how far they came, every survivor looks better than what began later. So a model sees one height alone, the highest that
enough trials have reached, and leaves out what was stopped below it. Measured in docs/decisions/0031.

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
"""Trials that must have reached a height before a model looks at it instead of a lower one. Compared with 6 and 10 on
tables of learning curves: docs/decisions/0031."""

MANY = 4 * MIN_COMPARED
"""Trials after which losses at the first rung must do: a rule that lets few pass would keep a model waiting for long.
Before, they mislead more than they tell: docs/decisions/0045."""

MIN_RIVALS = 3
"""Trials of each kind that must have reached a height before the best of one is compared with the best of the other."""


@final
class FidelitySelector:
    """The outcomes of one sweep that did not fail, and the height at which they are compared."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._heights: list[float] = []  # ascending
        self._news: dict[int, Outcome] = {}
        self._kinds = (_Kind(), _Kind())  # of those that a model proposed, and of those that explore

    def add(self, outcome: Outcome) -> None:
        """A trial that has losses; one that was told before, and went on since, is told anew."""
        _note_height(self._heights, self._outcomes.get(outcome.number), outcome)
        self._outcomes[outcome.number] = outcome
        if outcome.number > 0:
            self._news[outcome.number] = outcome

    @property
    def knows_any(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self._heights)

    @property
    def any_stopped(self) -> bool:
        """Whether a trial was stopped or waits: without one, a model sees whole trainings alone."""
        return bool(self._heights) and self._heights[0] < math.inf

    @property
    def tells_enough(self) -> bool:
        """Whether a model may learn from the height: it is above the first rung, or many trials never pass that."""
        return len(self._heights) >= MANY or (bool(self._heights) and self._heights[0] < self.height)

    @property
    def height(self) -> float:
        """The epoch at which trials are compared; infinity for their ends."""
        return self._heights[max(len(self._heights) - MIN_COMPARED, 0)] if self._heights else math.inf

    def loss(self, number: int) -> float | None:
        """The best loss of a trial up to the height; None if it was stopped below."""
        outcome, height = self._outcomes[number], self.height
        if _height(outcome) < height:
            return None
        return _best(outcome, height)

    def random_is_ahead(self, is_random: Callable[[int], bool]) -> bool:
        """Whether the best of what explores is as good as the best of what a model proposed, or better, up to there.

        "There" is the highest epoch that MIN_RIVALS trials of both kinds have reached; false while there is none.

        Args:
            explores: By number, from 1; priors, which have none, are left out.
        """
        for number, outcome in self._news.items():
            self._kinds[is_random(number)].add(outcome)
        self._news.clear()
        proposed, exploring = self._kinds
        height = min(proposed.reached, exploring.reached)
        return height > 0 and exploring.best(height) <= proposed.best(height)

    def losses(self) -> dict[int, float | None]:
        """Of every trial."""
        return {number: self.loss(number) for number in self._outcomes}


@final
class _Kind:
    """The trials that explore, or all others, and their best at one height; all are looked at where that changes."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._heights: list[float] = []  # ascending
        self._best_at: tuple[float, float] | None = None  # a height, and the best loss there

    def add(self, outcome: Outcome) -> None:
        """Trial `outcome.number`, maybe anew."""
        before = self._outcomes.get(outcome.number)
        _note_height(self._heights, before, outcome)
        self._outcomes[outcome.number] = outcome
        if before is not None and not before.losses.items() <= outcome.losses.items():
            self._best_at = None
        elif self._best_at is not None and _height(outcome) >= (height := self._best_at[0]):
            self._best_at = height, min(self._best_at[1], _best(outcome, height))

    @property
    def reached(self) -> float:
        """The highest epoch that MIN_RIVALS of them have reached; 0 while there are fewer."""
        return self._heights[-MIN_RIVALS] if len(self._heights) >= MIN_RIVALS else 0

    def best(self, height: float) -> float:
        """The best loss up to there of those that have reached it; some have."""
        if self._best_at is None or self._best_at[0] != height:
            there = (outcome for outcome in self._outcomes.values() if _height(outcome) >= height)
            self._best_at = height, min(_best(outcome, height) for outcome in there)
        return self._best_at[1]


def _note_height(heights: list[float], before: Outcome | None, outcome: Outcome) -> None:
    """Keep a list of heights in order when a trial is told, for the first time or anew."""
    if before is not None:
        del heights[bisect_left(heights, _height(before))]
    insort(heights, _height(outcome))


def _best(outcome: Outcome, height: float) -> float:
    """The best loss up to there."""
    return min(loss for epoch, loss in outcome.losses.items() if epoch <= height)


def _height(outcome: Outcome) -> float:
    """How far a trial came; one that ended by itself is as good as it will ever be."""
    return math.inf if outcome.state == "done" else max(outcome.losses)
