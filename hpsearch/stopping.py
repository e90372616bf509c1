"""Stopping rules: which trial goes on after a report, which waits, which is over.

A rule lives in the driver, sees losses (lower is better; infinity for a trial that diverged) and is rebuilt after a
restart by hearing the same reports again. It knows nothing of slots, Ray or the ledger.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from enum import Enum
from typing import final

from hpsearch.errors import SpecError
from hpsearch.sweep import Sweep

MAX_EPOCHS = 10_000_000
"""Beyond the last rung of a sweep that leaves the number of epochs to its trainable."""


class Decision(Enum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


class StoppingRule(ABC):
    """Decides after each report; not safe for threads."""

    @abstractmethod
    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Trial `number` has finished `epoch` (from 1, rising by one) with `loss`; infinity if it diverged there."""

    @abstractmethod
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped, rising; empty if none is ever stopped."""

    def promote(self, *, at_end: bool = False) -> int | None:
        """The paused trial that should go on now, and counts as running from here; None to start a new one.

        After a restart it may name a trial that runs already (it was promoted, and has not reported since): ask again.

        Args:
            at_end: No trial runs and none is left to start. Whoever is paused after a None is over.
        """
        return None


def make_stopping_rule(sweep: Sweep, *, can_pause: bool = False) -> StoppingRule:
    """The stopping rule of a sweep, which has heard no report yet.

    Args:
        sweep: Its `early_terminate` and its number of epochs.
        can_pause: Whether PAUSE can be obeyed; if not, `asha` stops what it would pause.
    """
    rule = sweep.early_terminate
    if rule.type == "none":
        return NoStopping()
    make = Asha if rule.type == "asha" and can_pause else AshaStop
    return make(min_epochs=rule.min_iter, max_epochs=sweep.max_epochs, eta=rule.eta)


def rung_epochs(*, min_epochs: int, max_epochs: int | None, eta: int) -> tuple[int, ...]:
    """Epochs after which ASHA may stop a trial, earliest first.

    The last epoch is left out: a trial that gets there is finished, so stopping it saves nothing.

    Args:
        min_epochs: Epochs that no trial is stopped before; at least 1.
        max_epochs: Epochs of a full trial, at least min_epochs; None if unknown, for rungs up to ten million.
        eta: One trial in this many passes a rung; at least 2, no unit.

    Returns:
        Epoch counts, strictly rising, all in [min_epochs, max_epochs).

    Raises:
        SpecError: A value is out of range; the message names it and its limit.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934.

    Example:
        >>> rung_epochs(min_epochs=1, max_epochs=27, eta=3)
        (1, 3, 9)
    """
    if eta < 2:
        raise SpecError(f"eta must be at least 2, got {eta}.")
    if min_epochs < 1:
        raise SpecError(f"min_iter must be at least 1, got {min_epochs}.")
    last = MAX_EPOCHS if max_epochs is None else max_epochs
    if last < min_epochs:
        raise SpecError(f"the number of epochs must be at least min_iter {min_epochs}, got {last}.")
    rungs = []
    epoch = min_epochs
    while epoch < last:
        rungs.append(epoch)
        epoch *= eta
    return tuple(rungs)


@final
class NoStopping(StoppingRule):
    """Every trial goes on to its end."""

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Goes on."""
        return Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """None."""
        return ()


@final
class AshaStop(StoppingRule):
    """ASHA that stops, for good, whoever is not among the best 1 in eta at a rung when it gets there.

    While a rung has fewer than eta entries, its best so far goes on; a tie goes on too, since a stop can't be taken
    back. Regret on TaskSet at 200/500/1000 epochs, `benchmarks/taskset.py`: 0.497/0.248/0.139. Letting everyone pass
    until eta are there: 0.557/0.253/0.144; Ray's percentile among the others: 0.618/0.298/0.157.
    """

    def __init__(self, *, min_epochs: int, max_epochs: int | None, eta: int) -> None:
        self._rungs = _make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
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

    def __init__(self, *, min_epochs: int, max_epochs: int | None, eta: int) -> None:
        self._rungs = _make_rungs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
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
            number = rung.best_waiting(at_least=1 if at_end else 0)
            if number is not None:
                rung.leave(number)
                del self._paused[number]
                return number
        return None

    def rungs(self) -> tuple[int, ...]:
        """Where it pauses."""
        return tuple(self._rungs)


def _make_rungs(*, min_epochs: int, max_epochs: int | None, eta: int) -> dict[int, _Rung]:
    epochs = rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
    return {epoch: _Rung(eta) for epoch in epochs}


@final
class _Rung:
    """The finite losses of the trials that finished one epoch.

    Only ranks count. A trial that diverged never enters: it is worse than all others and changes no verdict on them.
    Nothing here takes longer with more trials but the shift of a list.
    """

    def __init__(self, eta: int) -> None:
        self._eta = eta
        self._entries: dict[int, tuple[float, int, int]] = {}  # number to loss, order of arrival, number
        self._ranking: list[tuple[float, int, int]] = []
        self._waiting: list[tuple[float, int, int]] = []

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def enter(self, number: int, loss: float) -> bool:
        """Add a trial; whether it is among the best 1 in eta, and at least the best, or as good as one of these."""
        num_better = bisect_left(self._ranking, (loss,))
        self._entries[number] = (loss, len(self._ranking), number)
        insort(self._ranking, self._entries[number])
        return num_better < max(len(self._ranking) // self._eta, 1)

    def is_best(self, number: int, *, at_least: int = 0) -> bool:
        """Whether a trial is among the best 1 in eta, or `at_least` so many; the earlier of two equals is better."""
        rank = bisect_left(self._ranking, self._entries[number])
        return rank < max(len(self._ranking) // self._eta, at_least)

    def wait(self, number: int) -> None:
        """A trial of the rung waits to pass it."""
        insort(self._waiting, self._entries[number])

    def leave(self, number: int) -> None:
        """It waits no more."""
        del self._waiting[bisect_left(self._waiting, self._entries[number])]

    def best_waiting(self, *, at_least: int) -> int | None:
        """The best trial that waits, if it is among the rung's best."""
        number = self._waiting[0][-1] if self._waiting else None
        return number if number is not None and self.is_best(number, at_least=at_least) else None
