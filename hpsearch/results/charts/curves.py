"""The learning curves of all trials, with the rungs at which the stopping rule compares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.curves import Curve
from hpsearch.results.charts.axes import metric_axis, metric_name, number_axis
from hpsearch.results.charts.description import Axis, Chart, Label, Mark, Point, Role, Series, joined
from hpsearch.results.charts.palette import DRAW_ORDER, ROLE_LABELS, STATE_ROLES
from hpsearch.results.labels import number
from hpsearch.text import counted

MAX_POINTS = 12_000
"""Most points of all curves together. With more, each curve keeps its ends and evenly spaced epochs between them."""
MANY = 30
"""If more trials than this were fully trained, the best tenth of them is highlighted."""
MIN_POINTS = 4
"""Fewest points that a curve keeps."""


def curves_chart(sweep: SweepRecord, curves: Iterable[Curve], *, rungs: Sequence[int], best: int | None) -> Chart:
    """The objective by epoch, with one curve for each trial that has reported a value.

    Args:
        sweep: The sweep, whose objective is shown.
        curves: Learning curves of all trials.
        rungs: Epochs after which trials are compared; empty without early stopping.
        best: Number of the best trial, which is highlighted; None for none.
    """
    curves = [curve for curve in curves if curve.epochs]
    y, beyond = metric_axis(metric_name(sweep, most=24), (value for curve in curves for value in curve.values))
    last = max((curve.last_epoch for curve in curves), default=1)
    groups: dict[Role, list[Curve]] = {role: [] for role in DRAW_ORDER}
    good = _good(curves)
    for curve in curves:
        role: Role = "good" if curve.number in good else STATE_ROLES[curve.state]
        groups["best" if curve.number == best else role].append(curve)
    num_points = max(MAX_POINTS // max(len(curves), 1), MIN_POINTS)
    thinned = sum(len(curve.epochs) for curve in curves) > MAX_POINTS
    if not thinned:
        num_points = last
    return Chart(
        title=f"Learning curves of {counted(len(curves), 'trial')}",
        x=_epoch_axis(last, rungs),
        y=y,
        series=tuple(series for role, group in groups.items() for series in _series(role, group, num_points)),
        marks=tuple(Mark(x=rung, text=f"rung {rung}") for rung in rungs),
        labels=tuple(
            Label(x=c.epochs[-1], y=c.values[-1], text=f"trial {c.number}", is_above=True) for c in groups["best"]
        ),
        alternative=_alternative(sweep, curves, best),
        note=" ".join(
            filter(None, (f"At most {num_points} epochs of each curve are drawn." if thinned else "", beyond))
        ),
        height_px=420,
    )


def _good(curves: Sequence[Curve]) -> set[int]:
    """Numbers of the best tenth of the fully trained trials; empty unless there are many of these."""
    done = [
        (curve.sign * (curve.best_until(curve.last_epoch) or 0.0), curve.number)
        for curve in curves
        if curve.state == "done"
    ]
    return {number for _, number in sorted(done)[: len(done) // 10]} if len(done) > MANY else set()


def _epoch_axis(last: int, rungs: Sequence[int]) -> Axis:
    """The axis of epochs. It is logarithmic if there are three rungs or more, because rungs are evenly spaced on it."""
    if sum(rung < last for rung in rungs) < 3:
        return number_axis("epoch", (1, last))
    ticks = tuple((float(epoch), str(epoch)) for epoch in dict.fromkeys((1, *rungs, last)))
    return replace(number_axis("epoch", (1, last), is_log=True), ticks=ticks)


def _series(role: Role, curves: list[Curve], num_points: int) -> list[Series]:
    """The curves of one role, and a marker at the end of each."""
    if not curves:
        return []
    x, y, numbers = joined(_points(curve, num_points) for curve in curves)
    name = f"best: trial {curves[0].number}" if role == "best" else f"{ROLE_LABELS[role]} ({len(curves)})"
    end_x, end_y = tuple(float(curve.epochs[-1]) for curve in curves), tuple(curve.values[-1] for curve in curves)
    of_ends = tuple(curve.number for curve in curves)
    return [
        Series(name=name, role=role, kind="lines", x=x, y=y, trials=numbers),
        Series(name="", role=role, kind="points", x=end_x, y=end_y, trials=of_ends),
    ]


def _points(curve: Curve, most: int) -> list[Point]:
    """At most `most` points of a curve: both ends, and evenly spaced epochs between them."""
    count = len(curve.epochs)
    chosen = range(count) if count <= most else [i * (count - 1) // (most - 1) for i in range(most)]
    return [(float(curve.epochs[i]), curve.values[i], curve.number) for i in chosen]


def _alternative(sweep: SweepRecord, curves: Sequence[Curve], best: int | None) -> str:
    if not curves:
        return "No trial has reported yet."
    counts = Counter(ROLE_LABELS[STATE_ROLES[curve.state]] for curve in curves)
    states = ", ".join(f"{count} {label}" for label, count in counts.items())
    sentence = f"{metric_name(sweep)} by epoch of {counted(len(curves), 'trial')}: {states}."
    for curve in curves:
        if curve.number == best:
            value = curve.best_until(curve.last_epoch)
            sentence += f" The best is trial {best} with {number(value)} in {curve.last_epoch} epochs."
    return sentence
