"""Random search: every trial's point depends on the seed and its number alone."""

from __future__ import annotations

from typing import final

from hpsearch.search.searcher import Searcher
from hpsearch.space.space import Point


@final
class RandomSearcher(Searcher):
    """Draws each parameter by its own distribution; learns nothing."""

    def _propose(self, number: int, draw: int) -> Point:
        return self.space.draw(self.rng(number, draw))
