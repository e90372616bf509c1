"""Durations and curves as text of few characters; values of parameters are in `text_table.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

BARS = "▁▂▃▄▅▆▇█"
"""Characters of a sparkline, from low to high."""
ASCII_BARS = "_.-=+*%#"
"""The same for a console that shows only ASCII."""
NOT_FINITE = "?"
"""In place of a bar for a value that is not finite."""
CLIPPED_SHARE = 0.2
"""Share of all values, the worst ones, that are drawn at the edge: the first losses would flatten all later ones."""


def clock_text(seconds: float) -> str:
    """A duration for a column: in seconds below two minutes, else in minutes or hours.

    Example:
        >>> clock_text(4.26), clock_text(119), clock_text(125), clock_text(7500)
        ('4.3 s', '119 s', '2:05 min', '2:05 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{round(seconds)} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 120 else f"{minutes // 60}:{minutes % 60:02d} h"


def scale_of(curves: Iterable[Iterable[float]], *, sign: int) -> tuple[float, float]:
    """The range that sparklines are drawn over, the same for all curves, so that they can be compared.

    Args:
        curves: Values of the metric.
        sign: 1 where lower is better, -1 where higher is better.

    Returns:
        The lowest and the highest value: the best of all, and the worst but for CLIPPED_SHARE of them.
    """
    losses = sorted(sign * value for curve in curves for value in curve if math.isfinite(value))
    if not losses:
        return 0.0, 0.0
    ends = (sign * losses[0], sign * losses[round((len(losses) - 1) * (1 - CLIPPED_SHARE))])
    return min(ends), max(ends)


def sparkline(values: Sequence[float], *, scale: tuple[float, float], width: int, bars: str = BARS) -> str:
    """A curve as one line of bars: a high bar is a high value, the latest epoch is on the right.

    Args:
        values: The curve, one value for each epoch; a value that is not finite is drawn as a question mark.
        scale: From `scale_of`; values beyond it are drawn at its ends.
        width: Characters at most; a longer curve is cut into parts, and each shows its last value.
        bars: Eight characters, the lowest first.
    """
    size = min(width, len(values))
    picked = [values[(column + 1) * len(values) // size - 1] for column in range(size)]
    return "".join(_bar(value, scale, bars) for value in picked)


def _bar(value: float, scale: tuple[float, float], bars: str) -> str:
    if not math.isfinite(value):
        return NOT_FINITE
    low, high = scale
    share = (value - low) / (high - low) if high > low else 0.0
    return bars[min(max(int(share * len(bars)), 0), len(bars) - 1)]
