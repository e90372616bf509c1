"""Grid search: every point of the grid once, in an order that is shuffled by the seed and computed point by point."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import final

from hpsearch.errors import SpecError
from hpsearch.search.searcher import Searcher
from hpsearch.space.space import Point, Space

NUM_ROUNDS = 6
"""Rounds of the Feistel network; four already give an order that looks random, two more cost 2 µs."""


def shuffled(index: int, *, size: int, seed: int) -> int:
    """The image of `index` under a random permutation of range(size), without a list of `size` entries.

    A Feistel network permutes the range up to the next square of a power of two. It is applied again until the result
    is below `size`, less than four times on average (cycle walking).

    Args:
        index: In [0, size).
        size: At least 1.
        seed: Chooses the permutation.

    Returns:
        A number in [0, size), a different one for each index.

    Source:
        Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002.
    """
    half_bits = max((size - 1).bit_length() + 1, 2) // 2
    while True:
        index = _feistel(index, half_bits=half_bits, seed=seed)
        if index < size:
            return index


def _feistel(index: int, *, half_bits: int, seed: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = index >> half_bits, index & mask
    for round_number in range(NUM_ROUNDS):
        digest = blake2b(f"{seed}/{round_number}/{right}".encode(), digest_size=16).digest()
        left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
    return left << half_bits | right


@final
class GridSearcher(Searcher):
    """Trial n gets point n of the shuffled grid, so that the first trials are spread over the whole grid.

    If that point is taken (it was an initial point), breaks a constraint or is likely to fail, the trial gets a later
    one; points that are likely to fail come last.
    """

    _tries_every_point = True

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        """Make a searcher without trials.

        Raises:
            SpecError: A parameter is continuous, without a step or a count.
        """
        super().__init__(space=space, seed=seed, initial=initial)
        if space.grid_size is None:
            raise SpecError("grid needs a list, a step or a count for every parameter.")
        self._size = space.grid_size
        self._first_free = 0

    def _propose(self, number: int, draw: int) -> Point | None:
        point = self._free(number - 1 + draw) if number + draw <= self._size else None
        while point is None and self._first_free < self._size:
            point = self._free(self._first_free)
            self._first_free += point is None
        return point

    def _free(self, position: int) -> Point | None:
        """The point at a position of the shuffled grid; None if it is taken or breaks a constraint."""
        point = self.space.on_grid.point_at(shuffled(position, size=self._size, seed=self.seed))
        return None if point is None or self.is_taken(point) else point

    @property
    def _draw_space(self) -> Space:
        return self.space.on_grid
