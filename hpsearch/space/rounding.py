"""The bounds of a range that is rounded to multiples of `q`.

A range in hpsearch's own keys is clipped: its values are the multiples of `q` between min and max. With `clip: false`,
which other tools' names of distributions mean, a draw between the bounds is rounded to the nearest multiple, which may
lie outside of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hpsearch.plain import is_number

TOLERANCE = 1e-9
"""A bound is a multiple of `q` if it differs from one by this part of it, since 0.3 / 0.1 is not 3."""
MAX_NUMBER = 1e300
"""Larger numbers are left to the parser, which refuses whole numbers that no float can hold."""
MAX_EXACT = 2.0**53
"""Quotients above it are whole numbers in any case, since floats have no more digits."""


def multiple(index: int, q: float) -> float:
    """A multiple of `q`: a whole number if `q` is an int.

    Example:
        >>> multiple(3, 0.1), multiple(3, 5)
        (0.3, 15)
    """
    return index * q if isinstance(q, int) else float(f"{index * q:.15g}")


def clipped_bounds(low: float, high: float, q: float) -> tuple[float, float] | None:
    """The smallest and the largest multiple of `q` in [low, high]; None if there is none.

    A bound that is a multiple up to a rounding error is returned as it is.

    Example:
        >>> clipped_bounds(0.15, 1, 0.1), clipped_bounds(0.12, 0.18, 0.1)
        ((0.2, 1), None)
    """
    first, last = _multiple_towards(math.ceil, low, q), _multiple_towards(math.floor, high, q)
    return (first, last) if first <= last else None


def rounded_bounds(low: float, high: float, q: float) -> tuple[float, float]:
    """The multiples of `q` nearest to the bounds, which may lie outside of them.

    Example:
        >>> rounded_bounds(0.12, 0.98, 0.1)
        (0.1, 1.0)
    """
    return multiple(round(low / q), q), multiple(round(high / q), q)


def clip_range(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The map of a parameter with multiples of its `q` as bounds and without `clip: false`; unchanged if it has
    mistakes."""
    found = _range_and_q(tree)
    ends = None if found is None else clipped_bounds(*found)
    if found is None or ends is None:
        return tree
    kept = {key: value for key, value in tree.items() if key != "clip" or value is not False}
    return kept if ends == found[:2] else {**kept, "min": ends[0], "max": ends[1]}


def round_beyond(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The map of a parameter, with `clip: false` if it does not say `clip` and clipping would change its values."""
    found = _range_and_q(tree)
    is_clear = found is None or "clip" in tree or clipped_bounds(*found) == found[:2]
    return tree if is_clear else {**tree, "clip": False}


def _range_and_q(tree: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """(min, max, q) of a range that is rounded; None for any other map."""
    low, high, q = tree.get("min"), tree.get("max"), tree.get("q")
    if not (is_number(low) and is_number(high) and is_number(q)):
        return None
    is_good = max(abs(low), abs(high), abs(q)) <= MAX_NUMBER and q > 0  # False for nan, too
    return (low, high, q) if is_good else None


def _multiple_towards(towards: Callable[[float], int], bound: float, q: float) -> float:
    quotient = bound / q
    if abs(quotient) > MAX_EXACT or math.isclose(quotient, round(quotient), rel_tol=TOLERANCE):
        return bound
    return multiple(towards(quotient), q)
