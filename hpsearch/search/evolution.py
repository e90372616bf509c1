"""Ageing evolution: the best of a few recent trials is changed in one place; the oldest make room, however good.

The population is the POPULATION newest trials that have an outcome, by their numbers, whatever the order in which they
came; before there are so many, points are drawn at random. So a sweep that was replayed goes on as an unbroken one.

Source:
    Real et al., "Regularized Evolution for Image Classifier Architecture Search", arXiv:1802.01548, algorithm 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import final

from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point, Space

POPULATION = 30
"""Trials that may have children."""
SAMPLE = 8
"""Of them, those among which the best is the parent."""


@final
class EvolutionSearcher(Searcher):
    """Children of the best of a sample; a failed trial is worse than any other."""

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._outcomes: dict[int, Outcome] = {}
        self._changeable = tuple(name for name, domain in space.searched.items() if domain.size != 1)

    def _propose(self, number: int, draw: int) -> Point:
        rng = self.rng(number, draw)
        newest = sorted(self._outcomes)[-POPULATION:]
        if len(newest) < POPULATION or not self._changeable:
            return self.space.draw(rng)
        sample = rng.sample(newest, SAMPLE)
        parent = min((self._outcomes[each] for each in sample), key=_fitness)
        return self._child(parent.point, rng)

    def _child(self, parent: Point, rng: random.Random) -> Point:
        """The parent with one of its parameters drawn anew, and whatever that makes active."""
        name = rng.choice([each for each in self._changeable if each in parent])
        kept = {each: value for each, value in parent.items() if each in self.space.searched and each != name}
        return self.space.draw_unchecked(rng, kept)

    def _learn(self, outcome: Outcome) -> None:
        if self.space.contains(outcome.point):
            self._outcomes[outcome.number] = outcome


def _fitness(outcome: Outcome) -> float:
    return math.inf if outcome.state == "infeasible" or outcome.loss is None else outcome.loss
