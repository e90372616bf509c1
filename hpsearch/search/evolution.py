"""Regularised (ageing) evolution: a new point is a mutation of the best of a few recent trials.

The population consists of the POPULATION trials with the highest numbers that have an outcome, whatever order the
outcomes arrive in; old trials leave it however good they are. While there are fewer trials, points are drawn at random.
So a resumed sweep proposes what an uninterrupted one would have proposed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import final

from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point, Space

POPULATION = 30
"""Trials from which parents are sampled."""
SAMPLE = 8
"""Trials of the population that are sampled for one proposal; the best of them is the parent."""


@final
class EvolutionSearcher(Searcher):
    """Changes one parameter of the best trial of a random sample of the population; failed trials rank last.

    Source:
        Real et al., "Regularized Evolution for Image Classifier Architecture Search", arXiv:1802.01548, algorithm 1.
    """

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
        """The parent with one parameter drawn again, as well as those that become active by its new value."""
        name = rng.choice([each for each in self._changeable if each in parent])
        kept = {each: value for each, value in parent.items() if each in self.space.searched and each != name}
        return self.space.draw_unchecked(rng, kept)

    def _learn(self, outcome: Outcome) -> None:
        if self.space.contains(outcome.point):
            self._outcomes[outcome.number] = outcome


def _fitness(outcome: Outcome) -> float:
    return math.inf if outcome.state == "infeasible" or outcome.loss is None else outcome.loss
