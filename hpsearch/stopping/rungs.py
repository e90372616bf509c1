"""Rungs: the epochs after which trials are compared, and the ranking at each."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import final

from hpsearch.errors import SpecError

MAX_EPOCHS = 10_000_000
"""Beyond the last rung of a sweep that leaves the number of epochs to its trainable."""


IsRandom = Callable[[int], bool]
"""Whether the trial of a number explores (`hpsearch/search/exploration.py`); the same whenever it is asked."""

Entry = tuple[float, int, int]
"""A trial's loss, its place in the order of arrival, its number."""


def never_random(number: int) -> bool:
    """Explores."""
    return False


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


def make_rungs(
    *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
) -> dict[int, Rung]:
    """A rung that is still empty for each of `rung_epochs`."""
    epochs = rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
    return {epoch: Rung(eta, is_random) for epoch in epochs}


@final
class Rung:
    """The finite losses of the trials that finished one epoch.

    Only ranks count. A trial that diverged never enters: it is worse than all others and changes no verdict on them.
    Nothing here takes longer with more trials but the shift of a list.

    Trials that explore are ranked among themselves, and so are all others: the best 1 in eta of both pass. So does the
    best of all, as soon as there are eta; else a rung of few trials would let nobody through.
    """

    def __init__(self, eta: int, is_random: IsRandom = never_random) -> None:
        self._eta, self._explores = eta, is_random
        self._entries: dict[int, Entry] = {}
        self._ranking: list[Entry] = []
        self._rankings: tuple[list[Entry], list[Entry]] = ([], [])  # of those that explore, and of all others
        self._waiting: tuple[list[Entry], list[Entry]] = ([], [])

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def enter(self, number: int, loss: float) -> bool:
        """Add a trial; whether it passes, a tie counting as better: as the best of all it does from the start."""
        entry = self._entries[number] = (loss, len(self._ranking), number)
        own = self._own(self._rankings, number)
        insort(self._ranking, entry)
        insort(own, entry)
        return bisect_left(own, (loss,)) < len(own) // self._eta or bisect_left(self._ranking, (loss,)) < 1

    def is_best(self, number: int, *, at_least: int = 0) -> bool:
        """Whether a trial passes, or is one of the best `at_least` of all; the earlier of two equals is better."""
        own, entry = self._own(self._rankings, number), self._entries[number]
        places = max(min(len(self._ranking) // self._eta, 1), at_least)
        return bisect_left(own, entry) < len(own) // self._eta or bisect_left(self._ranking, entry) < places

    def wait(self, number: int) -> None:
        """A trial of the rung waits to pass it."""
        insort(self._own(self._waiting, number), self._entries[number])

    def leave(self, number: int) -> None:
        """It waits no more."""
        waiting = self._own(self._waiting, number)
        del waiting[bisect_left(waiting, self._entries[number])]

    def best_paused(self, *, at_least: int) -> int | None:
        """The best trial that waits and passes."""
        first = sorted(waiting[0] for waiting in self._waiting if waiting)
        return next((entry[-1] for entry in first if self.is_best(entry[-1], at_least=at_least)), None)

    def _own(self, both: tuple[list[Entry], list[Entry]], number: int) -> list[Entry]:
        return both[0] if self._explores(number) else both[1]
