"""What every search method can do, and the one place that keeps a finite space from being asked twice.

A searcher lives in the driver. It sees points (flat maps of dotted names, constants included) and losses (lower is
better, whatever the goal of the metric); it knows nothing of slots, Ray or the ledger. After a restart it is made anew
and told everything again, so a suggestion may depend only on the seed, the trial's number and what was told before.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from hpsearch.space import Point, Space

MAX_REDRAWS = 20
"""Proposals that are thrown away as known before an unknown point of a finite space is drawn directly."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, as far as a searcher can learn from it."""

    number: int
    """The trial's number, counted from 1."""
    point: Point
    """Its parameters."""
    state: Literal["done", "stopped", "infeasible"]
    """`stopped` by the stopping rule; `infeasible` when its own configuration made it fail."""
    losses: Mapping[int, float]
    """Epoch (from 1, rising) to loss, all finite, lower is better; may be empty only if infeasible."""

    @property
    def loss(self) -> float | None:
        """The best loss of any epoch; None without one."""
        return min(self.losses.values(), default=None)


class Searcher(ABC):
    """Proposes points and learns from outcomes. Not safe for threads: one driver asks and tells."""

    def __init__(self, *, space: Space, seed: int) -> None:
        self.space = space
        self.seed = seed
        self._taken: set[str] = set()

    @final
    def ask(self, number: int) -> Point | None:
        """The point that trial `number` shall try; None when a finite space has no point left.

        Args:
            number: The trial's number, counted from 1; each is asked for or adopted once, in any order.
        """
        for draw in range(MAX_REDRAWS):
            point = self._propose(number, draw)
            if point is None:
                return None
            if self.space.size is None or self.space.key(point) not in self._taken:
                break
        else:
            point = self._untried(number)
            if point is None:
                return None
        self.adopt(number, point)
        return point

    @final
    def adopt(self, number: int, point: Point) -> None:
        """Trial `number` tries `point`, whoever chose it: this searcher, the user, or an earlier run of this sweep."""
        self._taken.add(self.space.key(point))
        self._begin(number, point)

    @final
    def tell(self, outcome: Outcome) -> None:
        """Trial `outcome.number`, asked for or adopted before, is over."""
        self._learn(outcome)

    @final
    def drop(self, number: int) -> None:
        """Trial `number` is over and teaches nothing, for instance because a GPU died under it."""
        self._forget(number)

    def _untried(self, number: int) -> Point | None:
        """A random point of a finite space that was never taken; None when all were."""
        size = self.space.size
        assert size is not None
        if len(self._taken) >= size:
            return None
        free = (point for point in self.space.points() if self.space.key(point) not in self._taken)
        rng = random.Random(f"{self.seed}/{number}/untried")
        skip = rng.randrange(min(size - len(self._taken), 1000))
        return next(point for i, point in enumerate(free) if i == skip)

    @abstractmethod
    def _propose(self, number: int, draw: int) -> Point | None:
        """The `draw`-th proposal (from 0) for trial `number`; None when there is nothing left to propose."""

    @abstractmethod
    def _begin(self, number: int, point: Point) -> None:
        """Trial `number` runs `point`: others should not all be drawn to the same place."""

    @abstractmethod
    def _learn(self, outcome: Outcome) -> None:
        """Learn from a trial that is over."""

    @abstractmethod
    def _forget(self, number: int) -> None:
        """Trial `number` no longer runs and has no outcome."""
