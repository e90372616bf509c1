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
from collections.abc import Callable
from typing import final

from hpsearch.search.contract import Outcome

MIN_COMPARED = 16
"""Trials that must have reached a height before a model looks at it instead of a lower one. Compared with 6 and 10 on
tables of learning curves: docs/decisions/0031."""

MANY = 4 * MIN_COMPARED
"""Trials after which losses at the first rung must do: a rule that lets few pass would keep a model waiting for long.
Before, they mislead more than they tell: docs/decisions/0045."""

MIN_RIVALS = 3
"""Trials of each kind that must have reached a height before the best of one is compared with the best of the other."""


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

    def explorers_lead(self, explores: Callable[[int], bool]) -> bool:
        """Whether the best of what explores is as good as the best of what a model proposed, or better, up to there.

        "There" is the highest epoch that MIN_RIVALS trials of both kinds have reached; false while there is none.

        Args:
            explores: By number, from 1; priors, which have none, are left out.
        """
        kinds: tuple[list[Outcome], list[Outcome]] = ([], [])
        for number, outcome in self._outcomes.items():
            if number > 0:
                kinds[explores(number)].append(outcome)
        if min(map(len, kinds)) < MIN_RIVALS:
            return False
        height = min(sorted(map(_height, kind))[-MIN_RIVALS] for kind in kinds)
        proposed, exploring = (min(_best(each, height) for each in kind if _height(each) >= height) for kind in kinds)
        return exploring <= proposed

    def losses(self) -> dict[int, float | None]:
        """Of every trial."""
        return {number: self.loss(number) for number in self._outcomes}


def _best(outcome: Outcome, height: float) -> float:
    """The best loss up to there."""
    return min(loss for epoch, loss in outcome.losses.items() if epoch <= height)


def _height(outcome: Outcome) -> float:
    """How far a trial came; one that ended by itself is as good as it will ever be."""
    return math.inf if outcome.state == "done" else max(outcome.losses)
