"""Rungs: the epochs after which trials are compared, and the ranking at each."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import final

from hpsearch.errors import SpecError

MAX_EPOCHS = 10_000_000
"""Beyond the last rung of a sweep that leaves the number of epochs to its trainable."""


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


def make_rungs(*, min_epochs: int, max_epochs: int | None, eta: int) -> dict[int, Rung]:
    """A rung that is still empty for each of `rung_epochs`."""
    epochs = rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
    return {epoch: Rung(eta) for epoch in epochs}


@final
class Rung:
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
