"""Numbers that aren't drawn evenly from a range: normal, log-normal, beta, and anything rounded to multiples of `q`.

A distribution is a curve from shares to values: the share of a value is the part of all draws that lie below it.
Search methods model the share, in [0, 1]: to them every distribution is an even range, whatever library they come from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

EDGE = 1e-12
"""Shares closer to 0 or 1 than this are moved here: there a normal distribution would be infinite."""


@dataclass(frozen=True, kw_only=True)
class Even:
    """Evenly from a range, or from the range of its logarithm."""

    min: float
    """Smallest value."""
    max: float
    """Largest value, at least `min`."""
    log: bool = False
    """On a logarithmic scale; needs min > 0."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.min, self.max

    def draw(self, rng: random.Random) -> float:
        """A number, not rounded."""
        return self.value(rng.random())

    def share(self, value: float) -> float:
        """The part of all draws below a value of the range."""
        low, high, at = (self._scaled(each) for each in (self.min, self.max, value))
        return (at - low) / (high - low) if high > low else 0.5

    def value(self, share: float) -> float:
        """The value that this part of all draws lies below."""
        low, high = self._scaled(self.min), self._scaled(self.max)
        at = low + share * (high - low)
        return math.exp(at) if self.log else at

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def __str__(self) -> str:
        return f"{self.min:g} .. {self.max:g}{' log' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Normal:
    """A normal distribution, or one of the logarithm."""

    mu: float
    """Mean (of the logarithm)."""
    sigma: float
    """Standard deviation (of the logarithm); above 0."""
    log: bool = False
    """Whether it is the logarithm that is normal."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return (0.0 if self.log else -math.inf), math.inf

    def draw(self, rng: random.Random) -> float:
        """A number, not rounded."""
        return self.value(max(rng.random(), EDGE))

    def share(self, value: float) -> float:
        """The part of all draws below a value."""
        if self.log and value <= 0:
            return 0.0
        return NormalDist(self.mu, self.sigma).cdf(math.log(value) if self.log else value)

    def value(self, share: float) -> float:
        """The value that this part of all draws lies below."""
        at = NormalDist(self.mu, self.sigma).inv_cdf(share)
        return math.exp(at) if self.log else at

    def __str__(self) -> str:
        return f"{'log-normal' if self.log else 'normal'}, mu {self.mu:g}, sigma {self.sigma:g}"


@dataclass(frozen=True, kw_only=True)
class Beta:
    """A beta distribution, on [0, 1]."""

    a: float
    """First shape; above 0."""
    b: float
    """Second shape; above 0."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return 0.0, 1.0

    def draw(self, rng: random.Random) -> float:
        """A number, not rounded."""
        return rng.betavariate(self.a, self.b)

    def share(self, value: float) -> float:
        """The part of all draws below a value."""
        return beta_share(self.a, self.b, value)

    def value(self, share: float) -> float:
        """The value that this part of all draws lies below, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(54):  # as many as a float has bits
            middle = (low + high) / 2
            low, high = (middle, high) if self.share(middle) < share else (low, middle)
        return (low + high) / 2

    def __str__(self) -> str:
        return f"beta, a {self.a:g}, b {self.b:g}"


def beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Source:
        NIST Digital Library of Mathematical Functions, 8.17.22 and 8.17.4; https://dlmf.nist.gov/8.17.

    Example:
        >>> beta_share(2.0, 2.0, 0.5)
        0.5
    """
    if not 0 < x < 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below this point
        return 1 - beta_share(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    tail = 0.0
    for m in range(20 + int(3 * math.sqrt(a + b)), 0, -1):  # from the inside out: d[2m] and then d[2m - 1]
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        tail = odd / (1 + even / (1 + tail))
    return front / (1 + tail)


Curve = Even | Normal | Beta
"""How draws lie before they are rounded."""


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """A number drawn along a curve."""

    curve: Curve
    """How draws lie."""
    q: float | None = None
    """Draws are rounded to multiples of it; whole numbers come out if it is one. None for no rounding."""

    @property
    def size(self) -> int | None:
        """Number of distinct values; None where it is infinite."""
        multiples = self._multiples
        return None if multiples is None else len(multiples)

    def draw(self, rng: random.Random) -> float:
        """A number along the curve, rounded."""
        return self.clip(self.curve.draw(rng))

    def at(self, share: float) -> float:
        """The value that this part of all draws lies below, rounded."""
        return self.clip(self.curve.value(min(max(share, EDGE), 1 - EDGE)))

    def share(self, value: float) -> float:
        """The part of all draws below a value; for a rounded one the middle of its part."""
        half = 0.0 if self.q is None else self.q / 2
        low, high = self.curve.bounds
        ends = (self.curve.share(min(max(value + side, low), high)) for side in (-half, half))
        return math.fsum(ends) / 2

    def grid(self) -> Sequence[float] | None:
        """All multiples of `q`; None where there are infinitely many values."""
        multiples = self._multiples
        return None if multiples is None else [self._multiple(index) for index in multiples]

    def contains(self, value: Any) -> bool:
        """Whether `value` is a number of the right kind that can be drawn."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.q is None:
            low, high = self.curve.bounds
            return low <= value <= high
        return isinstance(value, type(self.q)) and abs(self.clip(value) - value) <= 1e-9 * self.q

    def clip(self, value: float) -> float:
        """The nearest value that can be drawn."""
        low, high = self.curve.bounds
        value = min(max(float(value), low), high)
        return value if self.q is None else self._multiple(round(value / self.q))

    @property
    def _multiples(self) -> range | None:
        low, high = self.curve.bounds
        if self.q is None or not (math.isfinite(low) and math.isfinite(high)):
            return None
        return range(round(low / self.q), round(high / self.q) + 1)

    def _multiple(self, index: int) -> float:
        assert self.q is not None
        return index * self.q if isinstance(self.q, int) else float(f"{index * self.q:.15g}")  # 3 * 0.1 is 0.3

    def __str__(self) -> str:
        return str(self.curve) + ("" if self.q is None else f", rounded to multiples of {self.q:g}")
