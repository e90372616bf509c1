"""Which trials a model may compare: those that came equally far, by their losses up to there.

Under a stopping rule most trials end early. Ranked by their best loss, what was trained longest looks best; ranked by
how far they came, every survivor looks better than what began later. So a model sees one height alone, the highest that
enough trials have reached, and leaves out what was stopped below it. Measured in docs/decisions/0031.

Source:
    Falkner, Klein and Hutter, "BOHB", arXiv:1807.01774, section 3.2.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import final

from hpsearch.search.contract import Outcome

MIN_COMPARED = 16
"""Trials that must have reached a height before a model looks at it instead of a lower one. Compared with 6 and 10 on
tables of learning curves: docs/decisions/0031."""

MANY = 4 * MIN_COMPARED
"""Trials after which losses at the first rung must do: a rule that lets few pass would keep a model waiting for long.
Before, they mislead more than they tell: docs/decisions/0045."""


@final
class Comparable:
    """The outcomes of one sweep that did not fail, and the height at which they are compared."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._heights: list[float] = []  # ascending

    def add(self, outcome: Outcome) -> None:
        """A trial that has losses; one that was told before, and went on since, is told anew."""
        before = self._outcomes.get(outcome.number)
        if before is not None:
            self._heights.remove(_height(before))
        insort(self._heights, _height(outcome))
        self._outcomes[outcome.number] = outcome

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
        return min(loss for epoch, loss in outcome.losses.items() if epoch <= height)

    def losses(self) -> dict[int, float | None]:
        """Of every trial."""
        return {number: self.loss(number) for number in self._outcomes}


def _height(outcome: Outcome) -> float:
    """How far a trial came; one that ended by itself is as good as it will ever be."""
    return math.inf if outcome.state == "done" else max(outcome.losses)
