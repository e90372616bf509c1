"""The median rule: whoever is worse than half of the others at the same age is stopped."""

from __future__ import annotations

import math
from bisect import insort
from typing import final

from hpsearch.stopping.rule import Decision, StoppingRule


@final
class Median(StoppingRule):
    """Stops a trial whose best loss so far is worse than the median of the others' average losses up to that epoch.

    The others are all that got as far, whether they go on or not. Of two values in the middle the worse one counts,
    which lets a trial go on rather than not.

    Source:
        Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.
    """

    def __init__(self, *, min_epochs: int, min_trials: int) -> None:
        """A rule that has heard nothing.

        Args:
            min_epochs: Grace: no trial is stopped before it has finished so many.
            min_trials: Others that must have got as far before anybody is stopped there; at least 1.
        """
        self._min_epochs, self._min_trials = min_epochs, min_trials
        self._averages: dict[int, list[float]] = {}  # of each epoch, rising
        self._heard: dict[int, tuple[int, float, float]] = {}  # of each trial: last epoch, sum of losses, lowest loss
        self._stopped: set[int] = set()

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Stops a trial that diverged, and one that is worse than the median."""
        if number not in self._stopped and (not math.isfinite(loss) or self._is_worse(number, epoch, loss)):
            self._stopped.add(number)
        return Decision.STOP if number in self._stopped else Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """None: a trial may be stopped after any epoch."""
        return ()

    def _is_worse(self, number: int, epoch: int, loss: float) -> bool:
        """Take in an epoch, once; whether the trial is worse than the others there."""
        last, total, best = self._heard.get(number, (0, 0.0, math.inf))
        if epoch <= last:
            return False
        total, best = total + loss, min(best, loss)
        self._heard[number] = (epoch, total, best)
        others = self._averages.setdefault(epoch, [])
        is_comparable = epoch >= self._min_epochs and len(others) >= self._min_trials
        is_worse = is_comparable and best > others[len(others) // 2]
        insort(others, total / epoch)
        return is_worse
