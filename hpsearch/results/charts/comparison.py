"""The comparison of several sweeps in one chart: the best value so far against training time."""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.results.analysis.compare import Comparison, SweepRead
from hpsearch.results.charts.axes import metric_axis, number_axis
from hpsearch.results.charts.description import Chart, Label, Mark, Role, Series
from hpsearch.results.charts.progress import time_unit
from hpsearch.results.labels import number, one_line

ROLES: tuple[Role, ...] = ("good", "best", "running", "failed", "stopped")
"""Line styles of the sweeps. With more sweeps than styles the styles repeat, and each line ends with its name."""


def comparison_chart(comparison: Comparison, sweeps: Sequence[SweepRead]) -> Chart:
    """A step line for each sweep, and a mark at the budget at which they are compared.

    Args:
        comparison: Comparison of the same sweeps.
        sweeps: The sweeps, in the order of the comparison.
    """
    drawn = [each for each in sweeps if each.steps]
    longest = max((each.steps[-1].seconds for each in drawn), default=0.0)
    unit_s, unit = time_unit(longest)
    values = [step.value for each in drawn for step in each.steps]
    y, beyond = metric_axis(f"best {one_line(comparison.metric, most=24)} so far", values)
    series = [_series(each, ROLES[i % len(ROLES)], unit_s) for i, each in enumerate(drawn)]
    ends = [(each.steps[-1], each.sweep.name) for each in drawn] if len(drawn) > len(ROLES) else []
    budget = comparison.equal_s / unit_s
    return Chart(
        title="Best so far against compute",
        x=number_axis(f"{unit} of training, summed over trials", (0.0, longest / unit_s or 1.0)),
        y=y,
        series=tuple(series),
        marks=(Mark(x=budget, text="equal budgets"),) if comparison.equal_epochs else (),
        labels=tuple(
            Label(x=step.seconds / unit_s, y=step.value, text=one_line(name, most=24), is_above=True)
            for step, name in ends
        ),
        alternative=_alternative(comparison),
        note=beyond,
    )


def _series(read: SweepRead, role: Role, unit_s: float) -> Series:
    return Series(
        name=one_line(read.sweep.name, most=24),
        role=role,
        kind="steps",
        x=tuple(step.seconds / unit_s for step in read.steps),
        y=tuple(step.value for step in read.steps),
        trials=tuple(step.trial for step in read.steps),
    )


def _alternative(comparison: Comparison) -> str:
    found = [
        f"{one_line(row.sweep)} {number(row.best)} in trial {row.best_trial}"
        for row in comparison.rows
        if row.best_trial is not None
    ]
    return f"{one_line(comparison.sentence, most=400)} Best values: {'; '.join(found) or 'none yet'}."
