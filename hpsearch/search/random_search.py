"""Random search: a trial's point depends on the sweep's seed and its number alone."""

from __future__ import annotations

from typing import final

from hpsearch.search.searcher import Searcher
from hpsearch.space.space import Point


@final
class RandomSearcher(Searcher):
    """Draws each parameter independently from its own distribution; does not learn from outcomes.

    Source:
        Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012.
    """

    def _propose(self, number: int, draw: int) -> Point:
        return self.space.draw(self.rng(number, draw))
