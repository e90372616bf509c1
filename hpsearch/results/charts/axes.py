"""Axes that fit the numbers: logarithmic where they span decades, cut off where a few would squash all others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.charts.description import Axis
from hpsearch.results.labels import MAX_TEXT, number, one_line, value_text

DECADES = 1.7
"""An objective that is positive and spans more is drawn on a logarithmic axis."""
FAR = 3.0
"""A value is cut off when it is further out than the middle nine tenths are wide, so many times."""
MAX_POWER = 307.0
HUGE = 10**MAX_POWER
"""No axis goes further."""
MARGIN = 0.05
"""Of the span, free at both ends."""
ROOM = 6
"""Numbers such as 0.0001 that lie beside each other below a small chart."""
MAX_TICKS = 8
"""Ticks of a list, and powers of ten ..."""
TICK_TEXTS = 48
"""... and characters of all of them together."""


def metric_name(sweep: SweepRecord, *, most: int = MAX_TEXT) -> str:
    """The objective with its goal; of a long name `most` characters."""
    return f"{one_line(sweep.metric, most=most)} ({'lower' if sweep.sign > 0 else 'higher'} is better)"


def metric_axis(name: str, values: Iterable[float]) -> tuple[Axis, str]:
    """(axis, note) for values of the objective; the note says what is beyond the axis, empty where nothing is."""
    ranked = sorted(value for value in values if math.isfinite(value))
    if not ranked:
        return Axis(name=name), ""
    low, high = ranked[0], ranked[-1]
    if low > 0 and math.log10(high / low) > DECADES:
        return number_axis(name, (low, high), is_log=True), ""
    early, late = ranked[len(ranked) // 20], ranked[len(ranked) - 1 - len(ranked) // 20]
    reach = FAR * (late - early)
    shown = [value for value in ranked if early - reach <= value <= late + reach] if reach else ranked
    note = f"{len(ranked) - len(shown)} values lie beyond the axis, the furthest at {number(_furthest(ranked, shown))}."
    return number_axis(name, (shown[0], shown[-1])), note if len(shown) < len(ranked) else ""


def number_axis(name: str, ends: tuple[float, float], *, is_log: bool = False) -> Axis:
    """An axis from end to end, with a margin."""
    low, high = (math.log10(end) for end in ends) if is_log else ends
    margin = MARGIN * (high / 2 - low / 2) * 2 or abs(low) * MARGIN or 0.5
    if not is_log:
        return Axis(name=name, limits=(max(low - margin, -HUGE), min(high + margin, HUGE)))
    limits = 10 ** max(low - margin, -MAX_POWER), 10 ** min(high + margin, MAX_POWER)
    return Axis(name=name, is_log=True, limits=limits, ticks=_log_ticks(*ends))


def _log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Powers of ten, with 2 and 5 or 3 times these where there is room; both ends where none lies between."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in (1, 2, 5), (1, 3), (1,):
        every = math.ceil((last - first + 1) / MAX_TICKS) if factors == (1,) else 1
        found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        inside = [value for value in found if low * 0.9 <= value <= high * 1.1]
        if len(inside) <= ROOM:
            break
    return tuple((value, number(value)) for value in (inside if len(inside) > 1 else (low, high)))


def parameter_axis(scale: Scale) -> Axis:
    """The axis of a parameter: its whole range, or all values of its list."""
    name = one_line(scale.name)
    if scale.values is None:
        return number_axis(name, (scale.low, scale.high), is_log=scale.is_log)
    return Axis(name=name, ticks=tuple(list_ticks(scale.values)), limits=(-0.5, len(scale.values) - 0.5))


def list_ticks(values: Sequence[object]) -> Iterable[tuple[float, str]]:
    """Position and text of the values of a list; of a long one, some."""
    every = math.ceil(len(values) / MAX_TICKS)
    most = max(TICK_TEXTS * every // max(len(values), 1), 6)
    return [(float(i), value_text(value, most=most)) for i, value in enumerate(values) if i % every == 0]


def _furthest(ranked: Sequence[float], shown: Sequence[float]) -> float:
    below, above = shown[0] - ranked[0], ranked[-1] - shown[-1]
    return ranked[0] if below > above else ranked[-1]
