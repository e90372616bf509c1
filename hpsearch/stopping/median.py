"""The median rule: a trial is stopped when it is worse than half of the others at the same epoch."""

from __future__ import annotations

import math
from bisect import insort
from typing import final

from hpsearch.stopping.rule import Decision, StoppingRule


@final
class Median(StoppingRule):
    """Stops a trial whose best loss so far is worse than the median of the others' average losses up to that epoch.

    The others are all trials that finished this epoch before, whether they still run or not. Of two values in the
    middle the worse one counts, in favour of the trial.

    Source:
        Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.
    """

    def __init__(self, *, min_epochs: int, min_trials: int) -> None:
        """Make the rule, without any report yet.

        Args:
            min_epochs: Grace period: no trial is stopped before it has finished so many epochs; at least 1.
            min_trials: Other trials that must have finished an epoch before a trial is stopped there; at least 1.
        """
        self._min_epochs, self._min_trials = min_epochs, min_trials
        self._averages: dict[int, list[float]] = {}  # epoch to the trials' average losses up to there, ascending
        self._reported: dict[int, tuple[int, float, float]] = {}  # trial to last epoch, sum of losses, lowest loss
        self._stopped: set[int] = set()

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """STOP for a trial that diverged, and for one that is worse than the median; else CONTINUE."""
        if number not in self._stopped and (not math.isfinite(loss) or self._is_worse(number, epoch, loss)):
            self._stopped.add(number)
        return Decision.STOP if number in self._stopped else Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """Always empty: a trial may be stopped after any epoch."""
        return ()

    def _is_worse(self, number: int, epoch: int, loss: float) -> bool:
        """Record an epoch, and say whether the trial is worse than the others there; a repeated epoch is ignored."""
        last, total, best = self._reported.get(number, (0, 0.0, math.inf))
        if epoch <= last:
            return False
        total, best = total + loss, min(best, loss)
        self._reported[number] = (epoch, total, best)
        others = self._averages.setdefault(epoch, [])
        is_comparable = epoch >= self._min_epochs and len(others) >= self._min_trials
        is_worse = is_comparable and best > others[len(others) // 2]
        insort(others, total / epoch)
        return is_worse
