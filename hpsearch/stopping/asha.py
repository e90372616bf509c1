"""Asynchronous successive halving, in two forms: `Asha` pauses and promotes, `AshaStop` stops for good."""

from __future__ import annotations

import math
from typing import final

from hpsearch.stopping.rule import Decision, StoppingRule
from hpsearch.stopping.rungs import IsRandom, make_rungs, never_random


@final
class AshaStop(StoppingRule):
    """ASHA that stops, for good, whoever is not among the best 1 in eta at a rung when it gets there.

    While a rung has fewer than eta entries, its best so far goes on; a tie goes on too, since a stop can't be taken
    back. Regret on TaskSet at 200/500/1000 epochs, `benchmarks/taskset.py`: 0.497/0.248/0.139. Letting everyone pass
    until eta are there: 0.557/0.253/0.144; Ray's percentile among the others: 0.618/0.298/0.157.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
    ) -> None:
        self._rungs = make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta, is_random=is_random)
        self._stopped: set[int] = set()

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Stops a trial that diverged, and one that is not among the best at a rung."""
        if number in self._stopped:
            return Decision.STOP
        rung = self._rungs.get(epoch)
        if math.isfinite(loss) and (rung is None or number in rung or rung.enter(number, loss)):
            return Decision.CONTINUE
        self._stopped.add(number)
        return Decision.STOP

    def rungs(self) -> tuple[int, ...]:
        """Where it stops."""
        return tuple(self._rungs)


@final
class Asha(StoppingRule):
    """ASHA as published: a trial waits at each rung until it is among the rung's best 1 in eta, whenever that is.

    A tie goes to the earlier trial, so that a plateau does not let everyone through. Regret on TaskSet at 200/500/1000
    epochs, `benchmarks/taskset.py`: 0.374/0.226/0.139. Promoting the best of a rung with fewer than eta entries, as
    `AshaStop` does: 0.532/0.269/0.147; only the end of a sweep does so, for one trial at least to reach the last epoch.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934, algorithm 2.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
    ) -> None:
        self._rungs = make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta, is_random=is_random)
        self._paused: dict[int, int] = {}

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Stops a trial that diverged; pauses one that is not among the best at a rung."""
        if self._paused.get(number, epoch) < epoch:  # a replayed report: it was promoted before the restart
            self._rungs[self._paused.pop(number)].leave(number)
        if not math.isfinite(loss):
            return Decision.STOP
        rung = self._rungs.get(epoch)
        if rung is not None and number not in rung:
            rung.enter(number, loss)
            if not rung.is_best(number):
                rung.wait(number)
                self._paused[number] = epoch
        return Decision.PAUSE if self._paused.get(number) == epoch else Decision.CONTINUE

    def promote(self, *, at_end: bool = False) -> int | None:
        """The best trial that waits at the highest rung where one may pass; at the end, one may pass at each."""
        for rung in reversed(self._rungs.values()):
            number = rung.best_paused(at_least=1 if at_end else 0)
            if number is not None:
                rung.leave(number)
                del self._paused[number]
                return number
        return None

    def rungs(self) -> tuple[int, ...]:
        """Where it pauses."""
        return tuple(self._rungs)
