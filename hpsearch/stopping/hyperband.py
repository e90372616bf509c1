"""Hyperband without waiting: several ASHAs side by side, each with a later first rung than the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from hpsearch.stopping.asha import Asha, AshaStop
from hpsearch.stopping.rule import Decision, StoppingRule
from hpsearch.stopping.rungs import rung_epochs


@final
class Hyperband(StoppingRule):
    """Hedges against first rungs that mislead: some trials are compared late, a few never.

    Bracket k begins at rung k; the last one has no rung at all. Trials are dealt out in Hyperband's proportions, always
    to the bracket that is furthest behind its share, so that a trial's bracket follows from its number alone.

    Source:
        Li et al., "Hyperband", arXiv:1603.06560, algorithm 1, for the proportions; Li et al., arXiv:1810.05934,
        section 3, for brackets that are ASHAs.
    """

    def __init__(
        self, *, min_epochs: int, max_epochs: int, eta: int, brackets: int | None = None, can_pause: bool = True
    ) -> None:
        """Lay out the brackets.

        Args:
            min_epochs: The first rung of the first bracket.
            max_epochs: Epochs of a full trial.
            eta: As for `rung_epochs`.
            brackets: How many of them, the earliest ones; None for all.
            can_pause: Whether PAUSE can be obeyed; if not, brackets stop what they would pause.
        """
        firsts = [*rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta), max_epochs][:brackets]
        make = Asha if can_pause else AshaStop
        self._brackets = [make(min_epochs=first, max_epochs=max_epochs, eta=eta) for first in firsts]
        self._shares = bracket_shares(len(firsts), eta=eta)
        self._dealt: list[int] = []
        self._counts = [0] * len(firsts)

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """What the trial's bracket decides."""
        return self._brackets[self.bracket_of(number)].report(number, epoch, loss)

    def promote(self, *, at_end: bool = False) -> int | None:
        """What the first bracket promotes that has somebody to."""
        named = (bracket.promote(at_end=at_end) for bracket in self._brackets)
        return next((number for number in named if number is not None), None)

    def rungs(self) -> tuple[int, ...]:
        """Those of the first bracket: the others' are among them."""
        return self._brackets[0].rungs()

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """Those of the trial's bracket."""
        return self._brackets[self.bracket_of(number)].rungs()

    def bracket_of(self, number: int) -> int:
        """The bracket of trial `number`, from 0."""
        while len(self._dealt) < number:
            behind = [(2 * count + 1) / share for count, share in zip(self._counts, self._shares, strict=True)]
            bracket = behind.index(min(behind))
            self._counts[bracket] += 1
            self._dealt.append(bracket)
        return self._dealt[number - 1]


def bracket_shares(num_brackets: int, *, eta: int) -> Sequence[int]:
    """How many trials each bracket begins with, the earliest bracket first.

    Example:
        >>> bracket_shares(5, eta=3)
        [81, 34, 15, 8, 5]
    """
    return [math.ceil(num_brackets * eta**late / (late + 1)) for late in reversed(range(num_brackets))]
