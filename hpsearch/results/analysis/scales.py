"""Scales of parameters: where a value is between both ends of the searched range, 0 at the lower and 1 at the upper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpsearch.plain import canonical, is_number
from hpsearch.space.distributions import Beta, Shaped, Uniform
from hpsearch.space.domains import Choice, Domain, Integer, Real

MAX_LISTED = 12
"""A range of at most so many whole numbers is treated as a list of them."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale of one parameter."""

    name: str
    """Dotted name."""
    values: tuple[Any, ...] | None = None
    """Values of a list, in the order of the axis; None for a range."""
    low: float = 0.0
    """Lower end of a range."""
    high: float = 1.0
    """Upper end of a range, above `low`."""
    is_log: bool = False
    """Whether the range is searched by its logarithm."""
    has_edges: bool = True
    """Whether it could be widened at an end: true of ranges with ends, and of lists of numbers."""

    def position(self, value: Any) -> float | None:
        """Position of a value on an axis: the number itself on a range, its index in a list; None without one."""
        if self.values is not None:
            known = [canonical(each) for each in self.values]
            return float(known.index(canonical(value))) if canonical(value) in known else None
        return float(value) if _is_finite(value) and (value > 0 or not self.is_log) else None

    def share(self, value: Any) -> float | None:
        """Position of a value between both ends, from 0 to 1, on the scale that is searched; None if it has none."""
        position = self.position(value)
        if position is None:
            return None
        if self.values is not None:
            return position / max(len(self.values) - 1, 1) if len(self.values) > 1 else 0.5
        low, high, at = (math.log(each) if self.is_log else each for each in (self.low, self.high, position))
        return min(max((at - low) / (high - low), 0.0), 1.0)


def scale_of(name: str, domain: Domain | None, seen: Iterable[Any]) -> Scale:
    """The scale of a parameter.

    Args:
        name: Dotted name.
        domain: Its domain in the spec; None if it is not in the spec.
        seen: The values that trials have; they set the ends of a range for which the spec has none.
    """
    if isinstance(domain, Choice):
        return _of_list(name, domain.values)
    if isinstance(domain, Integer) and domain.size <= MAX_LISTED:
        return _of_list(name, tuple(range(domain.min, domain.max + 1, domain.step)))
    seen = list(seen)
    if not all(map(_is_finite, seen)):
        return _of_list(name, tuple({canonical(value): value for value in seen}.values()))
    if isinstance(domain, Real | Integer):
        return _of_range(name, [domain.min, domain.max], is_log=domain.log)
    if isinstance(domain, Shaped):
        distribution = domain.distribution
        ends = list(distribution.bounds) if isinstance(distribution, Uniform) else seen
        is_log = not isinstance(distribution, Beta) and distribution.log
        return replace(_of_range(name, ends, is_log=is_log), has_edges=isinstance(distribution, Uniform))
    return replace(_of_range(name, seen, is_log=False), has_edges=False)


def scales_of(domains: Mapping[str, Domain], points: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[Scale]:
    """The scales of several parameters, in the order of `names`."""
    points = list(points)
    return [scale_of(name, domains.get(name), [point[name] for point in points if name in point]) for name in names]


def _of_list(name: str, values: tuple[Any, ...]) -> Scale:
    has_order = bool(values) and all(map(_is_finite, values))
    return Scale(name=name, values=tuple(sorted(values)) if has_order else values, has_edges=has_order)


def _of_range(name: str, ends: list[Any], *, is_log: bool) -> Scale:
    low, high = float(min(ends, default=0.0)), float(max(ends, default=1.0))
    is_log = is_log and low > 0
    if low == high:
        low, high = (low / 2, high * 2) if is_log else (low - 0.5, high + 0.5)
    return Scale(name=name, low=low, high=high, is_log=is_log)


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)
