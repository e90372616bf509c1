"""The objective against one parameter, over all trials that can be compared."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from hpsearch.ledger.records import SweepRecord, TrialRecord
from hpsearch.results.analysis.edges import Edge
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.charts.axes import metric_axis, metric_name, parameter_axis
from hpsearch.results.charts.description import Chart, Role, Series
from hpsearch.results.charts.palette import DRAW_ORDER, ROLE_LABELS, role_of
from hpsearch.results.labels import number, one_line, value_label
from hpsearch.text import counted

SPREAD = 0.18
"""Points of one value of a list are spread by up to this much to both sides, so that they don't hide each other."""


def slice_chart(
    sweep: SweepRecord,
    trials: Iterable[TrialRecord],
    scale: Scale,
    *,
    values: Mapping[int, float],
    epoch: int | None,
    best: int | None = None,
    edge: Edge | None = None,
) -> Chart:
    """A point for each trial: its value of the objective at its value of one parameter.

    Args:
        sweep: The sweep, whose objective is shown.
        trials: Trials of the sweep.
        scale: Scale of the parameter.
        values: Trial number to its value of the objective; trials without one are left out.
        epoch: Epoch up to which `values` are the best ones; None if they are over all epochs.
        best: Number of the best trial, which is highlighted; None for none.
        edge: A remark on the parameter's range; None for none.
    """
    shown = [trial for trial in trials if trial.number in values and _position(trial, scale) is not None]
    metric = one_line(sweep.metric, most=24)
    name = f"best {metric}" if epoch is None else f"{metric} by epoch {epoch}"
    y, beyond = metric_axis(name, (values[trial.number] for trial in shown))
    groups: dict[Role, list[TrialRecord]] = {role: [] for role in DRAW_ORDER}
    for trial in shown:
        groups["best" if trial.number == best else role_of(trial)].append(trial)
    missing = len(values.keys() - {trial.number for trial in shown})
    absent = f"Not drawn: {counted(missing, 'trial')} without {one_line(scale.name)}." if missing else ""
    return Chart(
        title=one_line(scale.name),
        x=parameter_axis(scale),
        y=y,
        series=tuple(_series(role, group, scale, values) for role, group in groups.items() if group),
        alternative=_alternative(sweep, shown, scale, values),
        note=" ".join(filter(None, (str(edge) if edge else "", absent, beyond))),
        is_small=True,
        height_px=320,
    )


def _position(trial: TrialRecord, scale: Scale) -> float | None:
    """Position of a trial on the parameter's axis; None if it has no value there."""
    return scale.position(trial.point[scale.name]) if scale.name in trial.point else None


def _series(role: Role, trials: list[TrialRecord], scale: Scale, values: Mapping[int, float]) -> Series:
    positions = [(_position(trial, scale) or 0.0) + _jitter(trial.number, scale) for trial in trials]
    texts = [
        f"trial {trial.number}: {value_label(trial.point[scale.name])} gave {number(values[trial.number])}"
        for trial in trials
    ]
    return Series(
        name=ROLE_LABELS[role],
        role=role,
        kind="points",
        x=tuple(positions),
        y=tuple(values[trial.number] for trial in trials),
        trials=tuple(trial.number for trial in trials),
        texts=tuple(texts),
    )


def _jitter(number: int, scale: Scale) -> float:
    """A small offset for a list of values, always the same for one trial; 0 for a range."""
    return 0.0 if scale.values is None else random.Random(number).uniform(-SPREAD, SPREAD)


def _alternative(sweep: SweepRecord, trials: list[TrialRecord], scale: Scale, values: Mapping[int, float]) -> str:
    ranked = sorted(trials, key=lambda trial: sweep.sign * values[trial.number])
    if not ranked:
        return f"There are no comparable trials with a value of {one_line(scale.name)}."
    best, worst = ranked[0], ranked[-1]
    return (
        f"{metric_name(sweep)} against {one_line(scale.name)} for {counted(len(trials), 'trial')}: "
        f"from {number(values[best.number])} at {value_label(best.point[scale.name])} "
        f"to {number(values[worst.number])} at {value_label(worst.point[scale.name])}."
    )
