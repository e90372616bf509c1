"""Parameters as a few tokens each, for methods that choose a configuration token by token.

A parameter with few values has one token for each. A range with more values than MAX_TOKENS is divided into NUM_BINS
bins of equal probability under random search; a token is then a bin, in which the value is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

from hpsearch.space.distributions import Uniform
from hpsearch.space.domains import Searched
from hpsearch.space.space import Choice, Integer, Point, Real, Shaped, Space

MAX_TOKENS = 32
"""A range of at most so many values has a token for each; a list of values always has."""
NUM_BINS = 16
"""Tokens of a range with more values."""

Tokens = dict[str, int]
"""Dotted name to token, from 0, of the active parameters that have more than one."""


@final
class Vocabulary:
    """The tokens of a space, and the translation of points to tokens and back."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._values = {name: _values(domain) for name, domain in space.searched.items()}
        sizes = {name: NUM_BINS if values is None else len(values) for name, values in self._values.items()}
        self.sizes = {name: sizes[name] for name in space.order if sizes.get(name, 1) > 1}
        """Parameter to its number of tokens, at least 2; each parameter after those that its condition refers to."""

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a parameter is active, given the values of those before it."""
        return self._space.is_active(name, self._space.complete(values))

    def encode(self, point: Point) -> Tokens | None:
        """The tokens of a point; None if it lies outside of the space."""
        if not self._space.contains(point):
            return None
        return {name: self._token(name, point[name]) for name in self.sizes if name in point}

    def value(self, name: str, token: int, rng: random.Random) -> Any:
        """The value of a token; drawn from its bin if the token is one."""
        values, domain = self._values[name], self._space.searched[name]
        if values is not None:
            return values[token]
        assert not isinstance(domain, Choice)
        return _value_at(domain, (token + rng.random()) / NUM_BINS)

    def _token(self, name: str, value: Any) -> int:
        values, domain = self._values[name], self._space.searched[name]
        if isinstance(domain, Choice):
            return domain.index(value)
        if values is not None:
            return min(range(len(values)), key=lambda token: abs(values[token] - value))
        return min(int(_share(domain, value) * NUM_BINS), NUM_BINS - 1)


def _values(domain: Searched) -> tuple[Any, ...] | None:
    """The value of each token of a domain; None if its tokens are bins."""
    if isinstance(domain, Choice):
        return domain.values
    if domain.size is None or domain.size > MAX_TOKENS:
        return None
    without_count = domain if isinstance(domain, Shaped) else replace(domain, count=None)
    return tuple(without_count.grid() or ())


def _share(domain: Real | Integer | Shaped, value: float) -> float:
    """The quantile of a value: the share of draws below it."""
    return domain.cdf(value) if isinstance(domain, Shaped) else _uniform(domain).cdf(value)


def _value_at(domain: Real | Integer | Shaped, share: float) -> float:
    """The value at a quantile."""
    return domain.quantile(share) if isinstance(domain, Shaped) else domain.clip(_uniform(domain).quantile(share))


def _uniform(domain: Real | Integer) -> Uniform:
    return Uniform(min=domain.min, max=domain.max, log=domain.log)
