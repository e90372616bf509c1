"""The best value so far against cost: trials, epochs or training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.curves import Step
from hpsearch.results.charts.axes import metric_axis, metric_name, number_axis
from hpsearch.results.charts.description import Chart, Series
from hpsearch.results.labels import number, one_line
from hpsearch.text import counted, duration_text

Cost = Literal["trials", "epochs", "seconds"]
"""What the best value is drawn against."""
UNITS = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
"""Seconds and name of the units of training time, largest first."""


def progress_chart(sweep: SweepRecord, steps: Sequence[Step], *, against: Cost) -> Chart:
    """A step line of the best value; its last point is the sweep's current state.

    Args:
        sweep: The sweep, whose objective is shown.
        steps: The improvements, from `best_value_steps`, and the current state last.
        against: The cost on the horizontal axis.
    """
    unit_s, unit = time_unit(steps[-1].seconds if steps else 0.0)
    costs = [step.seconds / unit_s if against == "seconds" else float(getattr(step, against)) for step in steps]
    name = f"{unit} of training, summed over trials" if against == "seconds" else f"{against} so far"
    values = tuple(step.value for step in steps)
    y, beyond = metric_axis(f"best {one_line(sweep.metric, most=24)} so far", values)
    line = Series(
        name="",
        role="good",
        kind="steps",
        x=tuple(costs),
        y=values,
        trials=tuple(step.trial for step in steps),
    )
    found = Series(name="", role="good", kind="points", x=line.x[:-1], y=values[:-1], trials=line.trials[:-1])
    return Chart(
        title=f"Best so far against {'compute' if against == 'seconds' else against}",
        x=number_axis(name, (0.0, max(costs, default=1.0) or 1.0)),
        y=y,
        series=(line, found) if steps else (),
        alternative=_alternative(sweep, steps, against),
        note=beyond,
        is_small=True,
        height_px=300,
    )


def time_unit(total_s: float) -> tuple[float, str]:
    """The unit for an axis of training time.

    Args:
        total_s: End of the axis, seconds.

    Returns:
        Seconds and name of the largest unit of which the axis spans at least two.

    Example:
        >>> time_unit(7200.0)
        (3600.0, 'hours')
    """
    return next(((size, name) for size, name in UNITS if total_s >= 2 * size), UNITS[-1])


def _alternative(sweep: SweepRecord, steps: Sequence[Step], against: Cost) -> str:
    if not steps:
        return "No trial has reported yet."
    first, last = steps[0], steps[-1]
    spent = (
        duration_text(last.seconds) + " of training" if against == "seconds" else f"{getattr(last, against)} {against}"
    )
    return (
        f"The best {metric_name(sweep)} went from {number(first.value)} to {number(last.value)} in {spent}. "
        f"It improved {counted(len(steps) - 1, 'time')}, last in trial {last.trial}."
    )
