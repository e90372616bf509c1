"""Which checkpoints are of use: the driver removes the others, as soon as they are of none.

Of use are those of trials that run, wait, or may be tried again; of the best trials of the sweep; and of the best 1 in
eta of each rung, the last epoch being one, since these go on should the sweep go further: of those that explore and of
the others, where they are ranked apart (`search/interleaving.py`). Where a checkpoint is gone, the trial's column
`checkpoint` is empty, and should it go on after all it trains from 0.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import final

from hpsearch.ledger.checkpoints import remove_checkpoints
from hpsearch.paths import checkpoint_dir
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import interleaves_random
from hpsearch.stopping.rungs import IsRandom, never_random


@final
class CheckpointRetention:
    """The checkpoints of one running sweep; no step takes longer with more trials but the shift of a list."""

    def __init__(self, sweep: Sweep, folder: Path, *, is_random: IsRandom = never_random) -> None:
        """Nothing is over yet.

        Args:
            sweep: Its `limits.checkpoints` and its rungs count.
            folder: The sweep's files.
            explores: That of the sweep's searcher.
        """
        keep = sweep.limits.checkpoints
        self._folder, self._keeps_all = folder, keep == "all"
        rungs = [*sweep.rungs, *([sweep.max_epochs] if sweep.max_epochs else [])]
        self._apart = is_random if interleaves_random(sweep) else never_random
        eta = sweep.early_terminate.eta
        self._rungs = {
            (epoch, group): _Top(places=max(sweep.max_trials // eta**rung, 1), share=eta)
            for rung, epoch in enumerate(rungs, 1)
            for group in (True, False)
        }
        self._best = _Top(places=0 if keep == "all" else keep)
        self._tops: Counter[int] = Counter()

    def expired(self, number: int, losses: Mapping[int, float]) -> list[int]:
        """Trial `number` has succeeded with these losses; trials, it among them or not, that are in no top any more."""
        if self._keeps_all or not losses:
            return []
        left = self._enter(self._best, number, min(losses.values()))
        group = self._apart(number)
        for epoch in losses:
            if (top := self._rungs.get((epoch, group))) is not None:
                left |= self._enter(top, number, losses[epoch])
        return [each for each in left | {number} if self._tops[each] == 0]

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove the checkpoints of these trials, which the ledger does not name any more."""
        for number in numbers:
            remove_checkpoints(checkpoint_dir(self._folder, number))

    def _enter(self, top: _Top, number: int, loss: float) -> set[int]:
        entered, left = top.enter(number, loss)
        for each in entered:
            self._tops[each] += 1
        for each in left:
            self._tops[each] -= 1
        return left


@final
class _Top:
    """The best of a ranking: `places` of it, or one in `share` where that is more.

    A rung begins with the places that it will have at the end of the sweep: what is removed early would be missed then.
    """

    def __init__(self, *, places: int, share: int | None = None) -> None:
        self._places, self._share = places, share
        self._losses: dict[int, float] = {}
        self._ranking: list[tuple[float, int]] = []
        self._members: set[int] = set()
        self._edge = 0

    def enter(self, number: int, loss: float) -> tuple[set[int], set[int]]:
        """Rank a trial, anew if it was ranked; (who is among the best now and was not, who was and is not)."""
        if number in self._losses:
            del self._ranking[self._rank(number)]
        self._losses[number] = loss
        insort(self._ranking, (loss, number))
        edge, before = max(self._places, len(self._ranking) // self._share if self._share else 0), self._edge
        self._edge = edge
        if edge == before and number not in self._members and self._rank(number) >= edge:
            return set(), set()  # as with most: it came in below
        near = {number, *(each for _, each in self._ranking[max(edge - 2, 0) : edge + 2])}  # no other has changed sides
        best = {each for each in near if self._rank(each) < edge}
        entered, left = best - self._members, (near - best) & self._members
        self._members |= entered
        self._members -= left
        return entered, left

    def _rank(self, number: int) -> int:
        return bisect_left(self._ranking, (self._losses[number], number))
