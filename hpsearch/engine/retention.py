"""Which checkpoints are still needed; the others are removed as soon as they are not.

Needed are the checkpoints of trials that run, wait, or may be retried; of the best trials of the sweep; and of the best
1 in eta at each rung, the last epoch included, since these continue if `limits.epochs` is raised. Where randomly drawn
trials are ranked apart at the rungs (`search/interleaving.py`), the best of either group are kept. Where a checkpoint
was removed, the trial's column `checkpoint` is empty; if the trial continues after all, it trains from epoch 0.
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
    """Ranks the trials of one running sweep, to know whose checkpoints are needed.

    The time of a step does not grow with the number of trials, but for the shift of a list.
    """

    def __init__(self, sweep: Sweep, folder: Path, *, is_random: IsRandom = never_random) -> None:
        """Begin without trials.

        Args:
            sweep: Sets `limits.checkpoints` and the rungs.
            folder: The sweep's files.
            is_random: Whether a trial, by its number, was drawn at random; from the sweep's searcher.
        """
        keep = sweep.limits.checkpoints
        self._folder, self._keeps_all = folder, keep == "all"
        rungs = [*sweep.rungs, *([sweep.max_epochs] if sweep.max_epochs else [])]
        self._group = is_random if interleaves_random(sweep) else never_random
        eta = sweep.early_terminate.eta
        self._rungs = {
            (epoch, group): _Top(size=max(sweep.max_trials // eta**rung, 1), eta=eta)
            for rung, epoch in enumerate(rungs, 1)
            for group in (True, False)
        }
        self._best = _Top(size=0 if keep == "all" else keep)
        self._num_tops: Counter[int] = Counter()
        """Trial to the number of rankings in whose top it is."""

    def expired(self, number: int, losses: Mapping[int, float]) -> list[int]:
        """Rank a trial that has succeeded, and find the trials whose checkpoints are no longer needed by any ranking.

        Args:
            number: The trial's number.
            losses: Epoch to loss, lower is better.

        Returns:
            Trials that are in the top of no ranking any more; the trial itself may be one.
        """
        if self._keeps_all or not losses:
            return []
        left = self._enter(self._best, number, min(losses.values()))
        group = self._group(number)
        for epoch in losses:
            if (top := self._rungs.get((epoch, group))) is not None:
                left |= self._enter(top, number, losses[epoch])
        return [each for each in left | {number} if self._num_tops[each] == 0]

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete the checkpoints of these trials, which the ledger no longer names."""
        for number in numbers:
            remove_checkpoints(checkpoint_dir(self._folder, number))

    def _enter(self, top: _Top, number: int, loss: float) -> set[int]:
        """Rank a trial; the trials that leave the top for it."""
        entered, left = top.enter(number, loss)
        for each in entered:
            self._num_tops[each] += 1
        for each in left:
            self._num_tops[each] -= 1
        return left


@final
class _Top:
    """The top of a ranking: the best `size` trials, or the best 1 in `eta` where that is more.

    A rung begins with the size that its top will have at the end of the sweep: what is removed early is missing then.
    """

    def __init__(self, *, size: int, eta: int | None = None) -> None:
        self._min_size, self._eta = size, eta
        self._losses: dict[int, float] = {}
        self._ranking: list[tuple[float, int]] = []
        self._members: set[int] = set()
        self._size = 0

    def enter(self, number: int, loss: float) -> tuple[set[int], set[int]]:
        """Rank a trial, or rank it again; the trials that enter the top with it, and those that leave it."""
        if number in self._losses:
            del self._ranking[self._rank(number)]
        self._losses[number] = loss
        insort(self._ranking, (loss, number))
        size, before = max(self._min_size, len(self._ranking) // self._eta if self._eta else 0), self._size
        self._size = size
        if size == before and number not in self._members and self._rank(number) >= size:
            return set(), set()  # as for most trials: it is below the top
        near = {number, *(each for _, each in self._ranking[max(size - 2, 0) : size + 2])}  # no other can change sides
        best = {each for each in near if self._rank(each) < size}
        entered, left = best - self._members, (near - best) & self._members
        self._members |= entered
        self._members -= left
        return entered, left

    def _rank(self, number: int) -> int:
        return bisect_left(self._ranking, (self._losses[number], number))
