"""The objective against one parameter: how good each value was, over all trials that can be compared."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from hpsearch.ledger.records import SweepRecord, TrialRecord
from hpsearch.results.analysis.edges import Edge
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.charts.axes import metric_axis, metric_name, parameter_axis
from hpsearch.results.charts.description import Chart, Role, Series
from hpsearch.results.charts.palette import DRAW_ORDER, ROLE_LABELS, role_of
from hpsearch.results.labels import number, one_line, value_text

SPREAD = 0.18
"""Points of one value of a list are spread by up to so much to both sides, or they would hide each other."""


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
    """The objective of each trial against one parameter.

    Args:
        sweep: Names the objective.
        trials: Of this sweep.
        scale: Of the parameter.
        values: Trial number to its value of the objective; trials without one are left out.
        epoch: Up to which `values` are; None for each trial's best.
        best: Number of the trial to point out.
        edge: What to say of the parameter's range.
    """
    shown = [trial for trial in trials if trial.number in values and _place(trial, scale) is not None]
    metric = one_line(sweep.metric, most=24)
    name = f"best {metric}" if epoch is None else f"{metric} by epoch {epoch}"
    y, beyond = metric_axis(name, (values[trial.number] for trial in shown))
    groups: dict[Role, list[TrialRecord]] = {role: [] for role in DRAW_ORDER}
    for trial in shown:
        groups["best" if trial.number == best else role_of(trial)].append(trial)
    missing = len([1 for trial in values if trial not in {each.number for each in shown}])
    absent = f"{missing} trials have no {one_line(scale.name)}." if missing else ""
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


def _place(trial: TrialRecord, scale: Scale) -> float | None:
    return scale.position(trial.point[scale.name]) if scale.name in trial.point else None


def _series(role: Role, trials: list[TrialRecord], scale: Scale, values: Mapping[int, float]) -> Series:
    places = [(_place(trial, scale) or 0.0) + _shift(trial.number, scale) for trial in trials]
    texts = [
        f"trial {trial.number}: {value_text(trial.point[scale.name])} gave {number(values[trial.number])}"
        for trial in trials
    ]
    return Series(
        name=ROLE_LABELS[role],
        role=role,
        kind="points",
        x=tuple(places),
        y=tuple(values[trial.number] for trial in trials),
        trials=tuple(trial.number for trial in trials),
        texts=tuple(texts),
    )


def _shift(number: int, scale: Scale) -> float:
    """Always the same for one trial."""
    return 0.0 if scale.values is None else random.Random(number).uniform(-SPREAD, SPREAD)


def _alternative(sweep: SweepRecord, trials: list[TrialRecord], scale: Scale, values: Mapping[int, float]) -> str:
    ranked = sorted(trials, key=lambda trial: sweep.sign * values[trial.number])
    if not ranked:
        return f"No trial with a value of {one_line(scale.name)} can be compared."
    best, worst = ranked[0], ranked[-1]
    return (
        f"{metric_name(sweep)} against {one_line(scale.name)} for {len(trials)} trials: "
        f"from {number(values[best.number])} at {value_text(best.point[scale.name])} "
        f"to {number(values[worst.number])} at {value_text(worst.point[scale.name])}."
    )
