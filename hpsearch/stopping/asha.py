"""Asynchronous successive halving, in two forms: `Asha` pauses and promotes trials, `AshaStop` stops them for good."""

from __future__ import annotations

import math
from typing import final

from hpsearch.stopping.rule import Decision, StoppingRule
from hpsearch.stopping.rungs import IsRandom, make_rungs, never_random


@final
class AshaStop(StoppingRule):
    """ASHA that stops a trial for good if it is not among the best 1 in eta of a rung when it reaches the rung.

    While a rung has fewer than eta entries, the best of them passes; so does a tie, since a stop can't be undone.
    Regret on TaskSet at 200/500/1000 epochs, `benchmarks/taskset.py`: 0.497/0.248/0.139. Letting all trials pass until
    eta are there: 0.557/0.253/0.144; Ray's percentile among the others: 0.618/0.298/0.157.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934, for the rungs. Stopping
        instead of pausing is what Ray Tune's `ASHAScheduler` does.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
    ) -> None:
        """Make the rule, with empty rungs.

        Args:
            min_epochs: The first rung: no trial is stopped before it has finished so many epochs; at least 1.
            max_epochs: Epochs of a full trial; None if unknown.
            eta: One trial in this many passes a rung; at least 2.
            is_random: Which trials are ranked apart from the others at each rung.

        Raises:
            SpecError: A value is out of range.
        """
        self._rungs = make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta, is_random=is_random)
        self._stopped: set[int] = set()

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """STOP for a trial that diverged, and for one that is not among the best at a rung; else CONTINUE."""
        if number in self._stopped:
            return Decision.STOP
        rung = self._rungs.get(epoch)
        if math.isfinite(loss) and (rung is None or number in rung or rung.enter(number, loss)):
            return Decision.CONTINUE
        self._stopped.add(number)
        return Decision.STOP

    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped, rising."""
        return tuple(self._rungs)


@final
class Asha(StoppingRule):
    """ASHA as published: a trial is paused at each rung until it is among the rung's best 1 in eta.

    A tie goes to the earlier trial, so that a plateau does not let all trials pass. Regret on TaskSet at 200/500/1000
    epochs, `benchmarks/taskset.py`: 0.374/0.226/0.139. Promoting the best of a rung with fewer than eta entries, as
    `AshaStop` does: 0.532/0.269/0.147; so that is done at the end of a sweep alone, for at least one trial to reach the
    last epoch.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934, algorithm 2.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
    ) -> None:
        """Make the rule, with empty rungs.

        Args:
            min_epochs: The first rung: no trial is paused before it has finished so many epochs; at least 1.
            max_epochs: Epochs of a full trial; None if unknown.
            eta: One trial in this many passes a rung; at least 2.
            is_random: Which trials are ranked apart from the others at each rung.

        Raises:
            SpecError: A value is out of range.
        """
        self._rungs = make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta, is_random=is_random)
        self._paused: dict[int, int] = {}  # trial to the epoch of its rung

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """STOP for a trial that diverged, PAUSE for one that is not among the best at a rung; else CONTINUE."""
        if self._paused.get(number, epoch) < epoch:  # a replayed report: the trial was promoted before the restart
            self._rungs[self._paused.pop(number)].resume(number)
        if not math.isfinite(loss):
            return Decision.STOP
        rung = self._rungs.get(epoch)
        if rung is not None and number not in rung:
            rung.enter(number, loss)
            if not rung.qualifies(number):
                rung.pause(number)
                self._paused[number] = epoch
        return Decision.PAUSE if self._paused.get(number) == epoch else Decision.CONTINUE

    def promote(self, *, at_end: bool = False) -> int | None:
        """The best paused trial of the highest rung where one qualifies; at the end, the best of each rung does."""
        for rung in reversed(self._rungs.values()):
            number = rung.best_paused(at_least=1 if at_end else 0)
            if number is not None:
                rung.resume(number)
                del self._paused[number]
                return number
        return None

    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be paused, rising."""
        return tuple(self._rungs)
