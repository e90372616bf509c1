"""Asynchronous Hyperband: several ASHAs in parallel, each with a later first rung than the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from hpsearch.spec.rungs import rung_epochs
from hpsearch.stopping.asha import Asha, AshaStop
from hpsearch.stopping.rule import Decision, StoppingRule


@final
class Hyperband(StoppingRule):
    """Compares some trials late, and a few never, as a hedge against first rungs that mislead.

    Bracket k begins at rung k; the last bracket has no rung at all. Trials are assigned in Hyperband's proportions,
    always to the bracket that is furthest behind its share, so that a trial's bracket follows from its number alone.

    Source:
        Li et al., "Hyperband", arXiv:1603.06560, algorithm 1, for the proportions; Li et al., arXiv:1810.05934,
        section 3, for brackets that are ASHAs.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int, eta: int, brackets: int | None = None, can_pause: bool = True
    ) -> None:
        """Make the brackets.

        Args:
            min_epochs: The first rung of the first bracket; at least 1.
            max_epochs: Epochs of a full trial; at least min_epochs.
            eta: As in `rung_epochs`; at least 2.
            brackets: Number of brackets, the earliest ones; None for all.
            can_pause: Whether PAUSE can be obeyed; if not, brackets stop the trials that they would pause.

        Raises:
            SpecError: A value is out of range.
        """
        firsts = [*rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta), max_epochs][:brackets]
        make = Asha if can_pause else AshaStop
        self._brackets = [make(min_epochs=first, max_epochs=max_epochs, eta=eta) for first in firsts]
        self._shares = bracket_shares(len(firsts), eta=eta)
        self._assigned: list[int] = []  # bracket of trial 1, 2, ...
        self._counts = [0] * len(firsts)

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The decision of the trial's bracket."""
        return self._brackets[self.bracket_of(number)].report(number, epoch, loss)

    def promote(self, *, at_end: bool = False) -> int | None:
        """The promotion of the first bracket that has one."""
        promoted = (bracket.promote(at_end=at_end) for bracket in self._brackets)
        return next((number for number in promoted if number is not None), None)

    def rungs(self) -> tuple[int, ...]:
        """The rungs of the first bracket, which include those of all others."""
        return self._brackets[0].rungs()

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """The rungs of the trial's bracket."""
        return self._brackets[self.bracket_of(number)].rungs()

    def bracket_of(self, number: int) -> int:
        """The bracket of trial `number` (from 1), from 0."""
        while len(self._assigned) < number:
            behind = [(2 * count + 1) / share for count, share in zip(self._counts, self._shares, strict=True)]
            bracket = behind.index(min(behind))
            self._counts[bracket] += 1
            self._assigned.append(bracket)
        return self._assigned[number - 1]


def bracket_shares(num_brackets: int, *, eta: int) -> Sequence[int]:
    """Relative number of trials that begin in each bracket, the earliest bracket first.

    Source:
        Li et al., "Hyperband", arXiv:1603.06560, algorithm 1, line 2.

    Example:
        >>> bracket_shares(5, eta=3)
        [81, 34, 15, 8, 5]
    """
    return [math.ceil(num_brackets * eta**late / (late + 1)) for late in reversed(range(num_brackets))]
