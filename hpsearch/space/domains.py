"""Domains, the values that one parameter can have: a constant, a choice, a range, or a value computed from others.

Numbers with a distribution of their own are in `distributions.py`; conditions, constraints and points, which concern
several parameters, are in `space.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hpsearch.plain import canonical
from hpsearch.space.distributions import Shaped
from hpsearch.space.expressions import Expression

Point = dict[str, Any]
"""Flat map from dotted parameter names to values."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A parameter with a fixed value, which is not searched."""

    value: Any
    """The value, of any type that JSON can represent."""

    @property
    def size(self) -> int:
        """Number of distinct values."""
        return 1

    def draw(self, rng: random.Random) -> Any:
        """The value."""
        return self.value

    def grid(self) -> tuple[Any, ...]:
        """The value as the only grid point."""
        return (self.value,)

    def contains(self, value: Any) -> bool:
        """Whether `value` is the constant's value; 1 is neither True nor 1.0."""
        return canonical(value) == canonical(self.value)

    def __str__(self) -> str:
        return canonical(self.value)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a list of values, whose order has no meaning."""

    values: tuple[Any, ...]
    """At least one value, of any types that JSON can represent; no two have the same canonical form."""
    probabilities: tuple[float, ...] | None = None
    """Probability with which each value is drawn; same length as `values`, sums to 1. None for a uniform choice."""

    @property
    def size(self) -> int:
        """Number of distinct values."""
        return len(self.values)

    def draw(self, rng: random.Random) -> Any:
        """A random value, by `probabilities`."""
        return rng.choices(self.values, weights=self.probabilities)[0]

    def grid(self) -> tuple[Any, ...]:
        """All values in the order of the spec."""
        return self.values

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the values; 1 is neither True nor 1.0."""
        return any(canonical(value) == canonical(known) for known in self.values)

    def index(self, value: Any) -> int:
        """Position of `value` in `values`.

        Raises:
            ValueError: It is not one of them.
        """
        return [canonical(known) for known in self.values].index(canonical(value))

    def __str__(self) -> str:
        return " | ".join(canonical(value) for value in self.values)


@dataclass(frozen=True, kw_only=True)
class Real:
    """A floating-point number in [min, max]."""

    min: float
    """Smallest value."""
    max: float
    """Largest value, at least `min`."""
    log: bool = False
    """Whether draws are uniform on a logarithmic scale; needs min > 0 and no step."""
    step: float | None = None
    """Distance between the allowed values min, min + step, ...; None to allow every number."""
    count: int | None = None
    """Number of grid points; only grid search uses it."""

    @property
    def size(self) -> int | None:
        """Number of distinct values; None if it is infinite."""
        if self.min == self.max:
            return 1
        return None if self.step is None else _num_steps(self.min, self.max, self.step)

    def draw(self, rng: random.Random) -> float:
        """A random number, uniform over the range, its logarithm or its steps."""
        if self.step is not None:
            return self._at_step(rng.randrange(_num_steps(self.min, self.max, self.step)))
        if self.log:
            return self.clip(math.exp(rng.uniform(math.log(self.min), math.log(self.max))))
        return self.clip(rng.uniform(self.min, self.max))

    def grid(self) -> tuple[float, ...] | None:
        """`count` points from min to max, evenly spaced (geometrically with `log`), else all steps; may be None."""
        if self.count is not None:
            return tuple(dict.fromkeys(self.clip(value) for value in self._spaced(self.count)))
        if self.min == self.max:
            return (self.min,)
        if self.step is None:
            return None
        return tuple(self._at_step(i) for i in range(_num_steps(self.min, self.max, self.step)))

    def contains(self, value: Any) -> bool:
        """Whether `value` is a number in the range and, with a step, on one of its steps (to 1e-9 of a step)."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.min <= value <= self.max:
            return False
        return self.step is None or abs(self.clip(value) - value) <= 1e-9 * self.step

    def clip(self, value: float) -> float:
        """The nearest allowed value; a value from a search library may be off by a rounding error."""
        if self.step is not None:
            last = _num_steps(self.min, self.max, self.step) - 1
            return self._at_step(min(max(round((value - self.min) / self.step), 0), last))
        return min(max(float(value), self.min), self.max)

    def _at_step(self, index: int) -> float:
        assert self.step is not None
        value = float(f"{self.min + index * self.step:.15g}")  # so that 0.1 + 2 * 0.1 is 0.3
        return min(max(value, self.min), self.max)

    def _spaced(self, count: int) -> Iterator[float]:
        for i in range(count):
            share = i / (count - 1) if count > 1 else 0.0
            if self.log:
                value = self.min ** (1 - share) * self.max**share
            else:
                value = self.min + share * (self.max - self.min)
            yield float(f"{value:.12g}")

    def __str__(self) -> str:
        return _range_text(self.min, self.max, log=self.log, step=self.step)


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number in [min, max]."""

    min: int
    """Smallest value."""
    max: int
    """Largest value, at least `min`."""
    log: bool = False
    """Whether draws are uniform on a logarithmic scale; needs min >= 1 and no step."""
    step: int = 1
    """Distance between the allowed values min, min + step, and so on."""
    count: int | None = None
    """Number of grid points; only grid search uses it."""

    @property
    def size(self) -> int:
        """Number of distinct values."""
        return (self.max - self.min) // self.step + 1

    def draw(self, rng: random.Random) -> int:
        """A random whole number, uniform over the range, its logarithm or its steps."""
        if self.log:  # half a unit on each side, so that the ends are as likely as their neighbours
            low, high = math.log(self.min - 0.5), math.log(self.max + 0.5)
            return self.clip(math.exp(rng.uniform(low, high)))
        return self.min + self.step * rng.randrange(self.size)

    def grid(self) -> Sequence[int]:
        """`count` distinct points from min to max, evenly spaced (geometrically with `log`); all values without it."""
        if self.count is None:
            return range(self.min, self.max + 1, self.step)  # a range, since there may be 2**53 values
        real = Real(min=self.min, max=self.max, log=self.log, count=self.count)
        return tuple(dict.fromkeys(self.clip(value) for value in real.grid() or ()))

    def contains(self, value: Any) -> bool:
        """Whether `value` is a whole number in the range and on one of its steps."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.min <= value <= self.max and (value - self.min) % self.step == 0

    def clip(self, value: float) -> int:
        """The nearest allowed value."""
        index = round((value - self.min) / self.step)
        return self.min + self.step * min(max(index, 0), self.size - 1)

    def __str__(self) -> str:
        return _range_text(self.min, self.max, log=self.log, step=None if self.step == 1 else self.step)


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A parameter whose value is computed from others and not searched."""

    expression: Expression
    """Expression over the names of other parameters."""

    def __str__(self) -> str:
        return f"= {self.expression.text}"


Searched = Choice | Real | Integer | Shaped
"""Domains of parameters that are searched."""
Drawn = Constant | Searched
"""Domains with values of their own, as opposed to computed ones."""
Domain = Drawn | Computed
"""All domains."""


def _num_steps(low: float, high: float, step: float) -> int:
    return math.floor((high - low) / step + 1e-9) + 1


def _range_text(low: int | float, high: int | float, *, log: bool, step: float | None) -> str:
    text = f"{low:g} .. {high:g}" if isinstance(low, float) or isinstance(high, float) else f"{low} .. {high}"
    return text + (" log" if log else "") + (f" step {step:g}" if step is not None else "")
