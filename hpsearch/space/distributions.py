"""Probability distributions of numbers (uniform, normal, log-normal, beta) and their rounding to multiples of `q`.

Search methods model the cumulative probability of a value, in [0, 1], instead of the value itself: there every
distribution is uniform, so a method needs no code for each of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from hpsearch.space.rounding import multiple

EDGE = 1e-12
"""Probabilities are kept this far from 0 and 1, where the quantile of a normal distribution is infinite."""


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """A uniform distribution of a number or of its logarithm."""

    min: float
    """Smallest value."""
    max: float
    """Largest value, at least `min`."""
    log: bool = False
    """Whether the logarithm is uniform; needs min > 0."""

    @property
    def bounds(self) -> tuple[float, float]:
        """(smallest, largest) value."""
        return self.min, self.max

    def draw(self, rng: random.Random) -> float:
        """A random value."""
        return self.quantile(rng.random())

    def cdf(self, value: float) -> float:
        """Probability that a draw is at most `value`, which is in the range; 0.5 if the range has a single value."""
        low, high, at = (self._scaled(each) for each in (self.min, self.max, value))
        return (at - low) / (high - low) if high > low else 0.5

    def quantile(self, probability: float) -> float:
        """The value with this `cdf`."""
        low, high = self._scaled(self.min), self._scaled(self.max)
        at = low + probability * (high - low)
        return math.exp(at) if self.log else at

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def __str__(self) -> str:
        return f"{self.min:g} .. {self.max:g}{' log' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Normal:
    """A normal distribution of a number or of its logarithm."""

    mu: float
    """Mean of the number, or of its logarithm."""
    sigma: float
    """Standard deviation of the number, or of its logarithm; above 0."""
    log: bool = False
    """Whether the logarithm is normally distributed."""

    @property
    def bounds(self) -> tuple[float, float]:
        """(smallest, largest) value."""
        return (0.0 if self.log else -math.inf), math.inf

    def draw(self, rng: random.Random) -> float:
        """A random value."""
        return self.quantile(max(rng.random(), EDGE))

    def cdf(self, value: float) -> float:
        """Probability that a draw is at most `value`."""
        if self.log and value <= 0:
            return 0.0
        return NormalDist(self.mu, self.sigma).cdf(math.log(value) if self.log else value)

    def quantile(self, probability: float) -> float:
        """The value with this `cdf`; `probability` is in (0, 1)."""
        at = NormalDist(self.mu, self.sigma).inv_cdf(probability)
        return math.exp(at) if self.log else at

    def __str__(self) -> str:
        return f"{'log-normal' if self.log else 'normal'}, mu {self.mu:g}, sigma {self.sigma:g}"


@dataclass(frozen=True, kw_only=True)
class Beta:
    """A beta distribution on [0, 1]."""

    a: float
    """First shape parameter (alpha); above 0."""
    b: float
    """Second shape parameter (beta); above 0."""

    @property
    def bounds(self) -> tuple[float, float]:
        """(smallest, largest) value."""
        return 0.0, 1.0

    def draw(self, rng: random.Random) -> float:
        """A random value."""
        return rng.betavariate(self.a, self.b)

    def cdf(self, value: float) -> float:
        """Probability that a draw is at most `value`."""
        return beta_cdf(self.a, self.b, value)

    def quantile(self, probability: float) -> float:
        """The value with this `cdf`, found by bisection."""
        low, high = 0.0, 1.0
        for _ in range(54):  # as many as a float has bits
            middle = (low + high) / 2
            low, high = (middle, high) if self.cdf(middle) < probability else (low, middle)
        return (low + high) / 2

    def __str__(self) -> str:
        return f"beta, a {self.a:g}, b {self.b:g}"


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Source:
        NIST Digital Library of Mathematical Functions, 8.17.22 and 8.17.4; https://dlmf.nist.gov/8.17.

    Example:
        >>> round(beta_cdf(2.0, 2.0, 0.5), 9)
        0.5
    """
    if not 0 < x < 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below this point
        return 1 - beta_cdf(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    tail = 0.0
    for m in range(20 + int(3 * math.sqrt(a + b)), 0, -1):  # from the innermost term: d[2m], then d[2m - 1]
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        tail = odd / (1 + even / (1 + tail))
    return front / (1 + tail)


Distribution = Uniform | Normal | Beta
"""The distribution of a number before it is rounded."""


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """A number with a distribution of its own, rounded to multiples of `q` if there is one."""

    distribution: Distribution
    """Distribution before rounding."""
    q: float | None = None
    """Draws are rounded to multiples of it, and are whole numbers if it is an int. None for no rounding."""

    @property
    def size(self) -> int | None:
        """Number of distinct values; None if it is infinite."""
        multiples = self._multiples
        return None if multiples is None else len(multiples)

    def draw(self, rng: random.Random) -> float:
        """A random value, rounded."""
        return self.clip(self.distribution.draw(rng))

    def quantile(self, probability: float) -> float:
        """The value with this `cdf`, rounded."""
        return self.clip(self.distribution.quantile(min(max(probability, EDGE), 1 - EDGE)))

    def cdf(self, value: float) -> float:
        """Probability that a draw is at most `value`; for a rounded value, the middle of the interval rounded to it."""
        half = 0.0 if self.q is None else self.q / 2
        low, high = self.distribution.bounds
        ends = (self.distribution.cdf(min(max(value + side, low), high)) for side in (-half, half))
        return math.fsum(ends) / 2

    def grid(self) -> Sequence[float] | None:
        """All multiples of `q`; None if there are infinitely many values."""
        multiples = self._multiples
        return None if multiples is None or self.q is None else [multiple(index, self.q) for index in multiples]

    def contains(self, value: Any) -> bool:
        """Whether `value` can be drawn, an int where `q` is an int and a float where it is a float."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.q is None:
            low, high = self.distribution.bounds
            return low <= value <= high
        return isinstance(value, type(self.q)) and abs(self.clip(value) - value) <= 1e-9 * self.q

    def clip(self, value: float) -> float:
        """The nearest value that can be drawn."""
        low, high = self.distribution.bounds
        value = min(max(float(value), low), high)
        return value if self.q is None else multiple(round(value / self.q), self.q)

    @property
    def _multiples(self) -> range | None:
        low, high = self.distribution.bounds
        if self.q is None or not (math.isfinite(low) and math.isfinite(high)):
            return None
        return range(round(low / self.q), round(high / self.q) + 1)

    def __str__(self) -> str:
        return str(self.distribution) + ("" if self.q is None else f", rounded to multiples of {self.q:g}")
