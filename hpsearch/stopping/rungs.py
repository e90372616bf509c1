"""The ranking of trials at each rung, which `asha` and `asha_stop` share. Which epochs are rungs: `spec/rungs.py`."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import final

from hpsearch.spec.rungs import rung_epochs

IsRandom = Callable[[int], bool]
"""Whether the trial with a given number has a randomly drawn point (`search/interleaving.py`); always the same answer
for the same trial."""

Entry = tuple[float, int, int]
"""Loss of a trial, its position in the order of arrival at the rung (which breaks ties), its number."""


def never_random(number: int) -> bool:
    """False for every trial: all trials are ranked together."""
    return False


def make_rungs(
    *, min_epochs: int, max_epochs: int | None, eta: int, is_random: IsRandom = never_random
) -> dict[int, Rung]:
    """One empty rung for each of `rung_epochs`, by epoch, earliest first.

    Args:
        min_epochs: As in `rung_epochs`.
        max_epochs: As in `rung_epochs`.
        eta: As in `rung_epochs`.
        is_random: Which trials are ranked apart from the others.

    Raises:
        SpecError: As in `rung_epochs`.
    """
    epochs = rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
    return {epoch: Rung(eta, is_random) for epoch in epochs}


@final
class Rung:
    """The ranking of the trials that reached one epoch with a finite loss.

    Only ranks count. A diverged trial never enters: it is worse than all others and changes no decision on them.
    The cost of each method does not grow with the number of trials, except for the shift of a list.

    Random trials are ranked among themselves, and so are the model's: the best 1 in eta of each group qualify. So does
    the best trial of all, once the rung has eta entries; otherwise no trial could pass a rung with few entries.
    """

    def __init__(self, eta: int, is_random: IsRandom = never_random) -> None:
        """Make an empty rung.

        Args:
            eta: One trial in this many qualifies; at least 2.
            is_random: Which trials are ranked apart from the others.
        """
        self._eta, self._is_random = eta, is_random
        self._entries: dict[int, Entry] = {}
        self._ranking: list[Entry] = []
        self._rankings: tuple[list[Entry], list[Entry]] = ([], [])  # of random trials, and of all others
        self._paused: tuple[list[Entry], list[Entry]] = ([], [])  # likewise

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def enter(self, number: int, loss: float) -> bool:
        """Add a trial with a finite loss, and say whether it qualifies on arrival, a tie counting as better.

        The best trial so far qualifies even if the rung has fewer than eta entries.
        """
        entry = self._entries[number] = (loss, len(self._ranking), number)
        group = self._group_of(number, self._rankings)
        insort(self._ranking, entry)
        insort(group, entry)
        return bisect_left(group, (loss,)) < len(group) // self._eta or bisect_left(self._ranking, (loss,)) < 1

    def qualifies(self, number: int, *, at_least: int = 0) -> bool:
        """Whether a trial of the rung is among the best 1 in eta now, the earlier of two equal losses being better.

        Args:
            number: A trial that has entered.
            at_least: The best so many of all trials qualify in any case.
        """
        group, entry = self._group_of(number, self._rankings), self._entries[number]
        num_best = max(min(len(self._ranking) // self._eta, 1), at_least)
        return bisect_left(group, entry) < len(group) // self._eta or bisect_left(self._ranking, entry) < num_best

    def pause(self, number: int) -> None:
        """Note that a trial of the rung is paused here."""
        insort(self._group_of(number, self._paused), self._entries[number])

    def resume(self, number: int) -> None:
        """Note that a paused trial of the rung runs again."""
        paused = self._group_of(number, self._paused)
        del paused[bisect_left(paused, self._entries[number])]

    def best_paused(self, *, at_least: int) -> int | None:
        """The best paused trial that qualifies; None if no paused trial does. `at_least` is as in `qualifies`."""
        best = sorted(paused[0] for paused in self._paused if paused)
        return next((entry[-1] for entry in best if self.qualifies(entry[-1], at_least=at_least)), None)

    def _group_of(self, number: int, groups: tuple[list[Entry], list[Entry]]) -> list[Entry]:
        return groups[0] if self._is_random(number) else groups[1]
