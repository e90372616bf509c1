"""The importance of each parameter, as bars with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpsearch.results.charts.description import Axis, Chart, Series
from hpsearch.results.labels import one_line
from hpsearch.text import counted

if TYPE_CHECKING:
    from hpsearch.results.analysis.importance import Importance

MAX_BARS = 15
"""Most parameters that get a bar."""


def importance_chart(found: Importance) -> Chart:
    """A bar for each parameter, the most important one on top.

    Args:
        found: The importances; the chart is empty if there are none.
    """
    rows = found.rows[:MAX_BARS]
    y = tuple(float(len(rows) - 1 - i) for i in range(len(rows)))
    bars = Series(
        name="",
        role="good",
        kind="bars",
        x=tuple(100 * row.importance for row in rows),
        y=y,
        texts=tuple(f"{one_line(r.parameter)}: {r.importance:.0%} ({r.low:.0%} to {r.high:.0%})" for r in rows),
        low=tuple(100 * row.low for row in rows),
        high=tuple(100 * row.high for row in rows),
    )
    top = max((row.high for row in rows), default=1.0)
    hidden = len(found.rows) - len(rows)
    return Chart(
        title="Importance of the parameters",
        x=Axis(name="importance, % (90 % interval)", limits=(0.0, min(max(108 * top, 10.0), 105.0))),
        y=Axis(
            name="",
            ticks=tuple((at, one_line(row.parameter, most=24)) for at, row in zip(y, rows, strict=True)),
            limits=(-0.6, max(len(rows), 1) - 0.4),
        ),
        series=(bars,) if rows else (),
        alternative=_alternative(found),
        note=f"Not drawn: {counted(hidden, 'less important parameter')}." if hidden else "",
        height_px=110 + 34 * max(len(rows), 1),
    )


def _alternative(found: Importance) -> str:
    if not found.rows:
        return found.sentence
    shares = "; ".join(f"{one_line(r.parameter)} {r.importance:.0%} ({r.low:.0%} to {r.high:.0%})" for r in found.rows)
    return f"{found.sentence} {shares}."
