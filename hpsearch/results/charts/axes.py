"""Axes that fit their values: logarithmic for values over decades, clipped where outliers would flatten the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.charts.description import Axis
from hpsearch.results.labels import MAX_TEXT, number, one_line, value_label
from hpsearch.text import counted

DECADES = 1.7
"""A positive objective that spans more decades than this gets a logarithmic axis."""
FAR = 3.0
"""A value is clipped if it is outside the range of the middle 90 % by more than this many times their width."""
MAX_POWER = 307.0
"""Largest power of ten on an axis; floating-point numbers end at 10**308."""
HUGE = 10**MAX_POWER
"""Limit of every axis in both directions."""
MARGIN = 0.05
"""Free space at each end of an axis, as a share of its span."""
ROOM = 6
"""Number of labels such as 0.0001 that fit beside each other below a small chart."""
MAX_TICKS = 8
"""Most ticks of a list of values, and most powers of ten."""
TICK_TEXTS = 48
"""Most characters of all tick labels of a list together."""


def metric_name(sweep: SweepRecord, *, most: int = MAX_TEXT) -> str:
    """The objective and its direction, for example `val_loss (lower is better)`; a long name is cut."""
    return f"{one_line(sweep.metric, most=most)} ({'lower' if sweep.sign > 0 else 'higher'} is better)"


def metric_axis(name: str, values: Iterable[float]) -> tuple[Axis, str]:
    """The axis of the objective.

    Args:
        name: Title of the axis.
        values: All values to show.

    Returns:
        The axis, and a note on values that it clips; the note is empty if there are none.
    """
    ranked = sorted(value for value in values if math.isfinite(value))
    if not ranked:
        return Axis(name=name), ""
    low, high = ranked[0], ranked[-1]
    if low > 0 and math.log10(high / low) > DECADES:
        return number_axis(name, (low, high), is_log=True), ""
    early, late = ranked[len(ranked) // 20], ranked[len(ranked) - 1 - len(ranked) // 20]
    reach = FAR * (late - early)
    shown = [value for value in ranked if early - reach <= value <= late + reach] if reach else ranked
    outside = len(ranked) - len(shown)
    note = f"Outside the axis: {counted(outside, 'value')}, the furthest at {number(_furthest(ranked, shown))}."
    return number_axis(name, (shown[0], shown[-1])), note if len(shown) < len(ranked) else ""


def number_axis(name: str, ends: tuple[float, float], *, is_log: bool = False) -> Axis:
    """An axis for numbers between two ends, with a margin. Both ends are above 0 if `is_log`."""
    low, high = (math.log10(end) for end in ends) if is_log else ends
    margin = MARGIN * (high / 2 - low / 2) * 2 or abs(low) * MARGIN or 0.5
    if not is_log:
        return Axis(name=name, limits=(max(low - margin, -HUGE), min(high + margin, HUGE)))
    limits = 10 ** max(low - margin, -MAX_POWER), 10 ** min(high + margin, MAX_POWER)
    return Axis(name=name, is_log=True, limits=limits, ticks=_log_ticks(*ends))


def _log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Ticks at powers of ten, and at 2 and 5 (or 3) times these if there is room; at both ends if there are none."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in (1, 2, 5), (1, 3), (1,):
        every = math.ceil((last - first + 1) / MAX_TICKS) if factors == (1,) else 1
        found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        inside = [value for value in found if low * 0.9 <= value <= high * 1.1]
        if len(inside) <= ROOM:
            break
    return tuple((value, number(value)) for value in (inside if len(inside) > 1 else (low, high)))


def parameter_axis(scale: Scale) -> Axis:
    """The axis of a parameter, which shows its whole range or all values of its list."""
    name = one_line(scale.name)
    if scale.values is None:
        return number_axis(name, (scale.low, scale.high), is_log=scale.is_log)
    return Axis(name=name, ticks=tuple(list_ticks(scale.values)), limits=(-0.5, len(scale.values) - 0.5))


def list_ticks(values: Sequence[object]) -> Iterable[tuple[float, str]]:
    """Position and text of the values of a list; of a long list, evenly chosen ones."""
    every = math.ceil(len(values) / MAX_TICKS)
    most = max(TICK_TEXTS * every // max(len(values), 1), 6)
    return [(float(i), value_label(value, most=most)) for i, value in enumerate(values) if i % every == 0]


def _furthest(ranked: Sequence[float], shown: Sequence[float]) -> float:
    below, above = shown[0] - ranked[0], ranked[-1] - shown[-1]
    return ranked[0] if below > above else ranked[-1]
