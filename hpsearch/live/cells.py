"""Numbers, values and curves in few characters, and nothing that a terminal obeys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hpsearch.space.space import canonical
from hpsearch.text import printable

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"
NO_NUMBER = "?"
"""In place of a bar for what is not finite."""
WORST_SHARE = 0.2
"""So much of the values, on the bad side, is drawn at the edge: the first losses would flatten all that follows."""


def short(value: Any) -> str:
    """A parameter's value in few characters.

    Example:
        >>> short(0.000123456), short("adamw"), short([1, 2])
        ('0.000123', 'adamw', '[1,2]')
    """
    if isinstance(value, float):
        return f"{value:.3g}"
    return printable(value if isinstance(value, str) else canonical(value))


def cut(text: str, width: int) -> str:
    """At most `width` characters; an ellipsis says that there were more.

    Example:
        >>> cut("batch_size", 6)
        'batch…'
    """
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def clock_text(seconds: float) -> str:
    """A duration in a column: seconds below two minutes, else minutes or hours.

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
    """(lowest, highest) value that bars are drawn between, the same for all curves, so that they can be compared.

    From the best value of all to the worst but for WORST_SHARE of them.

    Args:
        curves: Values of the metric.
        sign: 1 where lower is better, -1 where higher is.
    """
    losses = sorted(sign * value for curve in curves for value in curve if math.isfinite(value))
    if not losses:
        return 0.0, 0.0
    ends = (sign * losses[0], sign * losses[round((len(losses) - 1) * (1 - WORST_SHARE))])
    return min(ends), max(ends)


def sparkline(values: Sequence[float], *, scale: tuple[float, float], width: int, bars: str = BARS) -> str:
    """A curve as one line of bars: high is a high value, the latest epoch is on the right.

    Args:
        values: By epoch; what is not finite is drawn as a question mark.
        scale: As `scale_of` gives it; values beyond are drawn at its ends.
        width: Characters at most; a longer curve shows the last value of each part.
        bars: Eight characters, the lowest first.
    """
    size = min(width, len(values))
    picked = [values[(column + 1) * len(values) // size - 1] for column in range(size)]
    return "".join(_bar(value, scale, bars) for value in picked)


def _bar(value: float, scale: tuple[float, float], bars: str) -> str:
    if not math.isfinite(value):
        return NO_NUMBER
    low, high = scale
    share = (value - low) / (high - low) if high > low else 0.0
    return bars[min(max(int(share * len(bars)), 0), len(bars) - 1)]
