"""Parallel coordinates: each trial, also a stopped or failed one, as a line through its values and results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.ledger.records import SweepRecord, TrialRecord, best_of
from hpsearch.results.analysis.best import ranked_successes
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.charts.axes import list_ticks
from hpsearch.results.charts.description import Axis, Chart, Label, Mark, Point, Role, Series, joined
from hpsearch.results.charts.palette import DRAW_ORDER, ROLE_LABELS, role_of
from hpsearch.results.labels import number, one_line, value_label
from hpsearch.text import counted

MAX_AXES = 8
"""Most parameters that get an axis."""
MAX_LINES = 400
"""Most trials that get a line. With more trials, half of the lines are the best ones, the others evenly chosen."""
GOOD_SHARE = 0.1
"""Share of the best trials that are highlighted."""
NAMES = 108
"""Most characters of the names of all axes together, on a full-width chart; each name has at least eight."""
ABSENT = -0.12
"""Height at which a line crosses an axis if its trial has no value there."""


@dataclass(frozen=True)
class _Column:
    """One vertical axis."""

    name: str
    """Name of the parameter, or of the result."""
    shares: dict[int, float]
    """Trial number to its height in [0, 1]; trials without a value are missing."""
    texts: dict[int, str]
    """Trial number to its value as text."""
    ticks: list[tuple[float, str]]
    """Height in [0, 1] and text of each tick."""


def parallel_chart(sweep: SweepRecord, trials: Iterable[TrialRecord], scales: Sequence[Scale]) -> Chart:
    """A line for each trial through its parameters, its epochs and its best value.

    Args:
        sweep: The sweep, whose objective is the last axis.
        trials: Trials of the sweep.
        scales: Scales of the parameters; the first `MAX_AXES` get an axis, from left to right.
    """
    trials = list(trials)
    shown = _shown(trials, sweep.sign)
    columns = [_parameter(scale, shown) for scale in scales[:MAX_AXES]]
    columns += [_epochs(shown), _objective(sweep, shown)]
    best = best_of(trials, sign=sweep.sign)
    good = _good(trials, sweep.sign)
    most = max(NAMES // len(columns), 8)
    groups: dict[Role, list[TrialRecord]] = {role: [] for role in DRAW_ORDER}
    for trial in shown:
        is_best = best is not None and trial.number == best.number
        groups["best" if is_best else "good" if trial.number in good else role_of(trial)].append(trial)
    left_out = f"Not drawn: {len(trials) - len(shown)} of {len(trials)} trials." if len(shown) < len(trials) else ""
    unseen = f"Not drawn: {counted(len(scales) - MAX_AXES, 'parameter')}." if len(scales) > MAX_AXES else ""
    return Chart(
        title=f"{counted(len(shown), 'trial')}, from parameters to results",
        x=Axis(
            name="",
            ticks=tuple((float(i), one_line(column.name, most=most)) for i, column in enumerate(columns)),
            limits=(-0.15, len(columns) - 0.45),
        ),
        y=Axis(name="", limits=(ABSENT - 0.06, 1.06), is_hidden=True),
        series=tuple(_series(role, group, columns) for role, group in groups.items() if group),
        marks=tuple(Mark(x=float(i), text="") for i in range(len(columns))),
        labels=tuple(
            Label(x=float(i), y=at, text=text)
            for i, column in enumerate(columns)
            for at, text in _labels(column, shown)
        ),
        alternative=_alternative(sweep, shown, columns, good),
        note=" ".join(filter(None, (left_out, unseen))),
        can_brush=True,
        height_px=460,
    )


def _shown(trials: list[TrialRecord], sign: int) -> list[TrialRecord]:
    """The trials that get a line, by number."""
    if len(trials) <= MAX_LINES:
        return trials
    ranked = ranked_successes(trials, sign=sign)[: MAX_LINES // 2]
    best = {trial.number for trial in ranked}
    others = [trial for trial in trials if trial.number not in best]
    spread = [others[i * len(others) // (MAX_LINES // 2)] for i in range(MAX_LINES // 2)]
    return sorted([*ranked, *spread], key=lambda trial: trial.number)


def _good(trials: list[TrialRecord], sign: int) -> set[int]:
    ranked = ranked_successes(trials, sign=sign)
    return {trial.number for trial in ranked[: math.ceil(GOOD_SHARE * len(ranked))]}


def _parameter(scale: Scale, trials: Sequence[TrialRecord]) -> _Column:
    having = [trial for trial in trials if scale.name in trial.point]
    shares = {trial.number: scale.share(trial.point[scale.name]) for trial in having}
    if scale.values is not None:
        last = max(len(scale.values) - 1, 1)
        ticks = [(at / last if len(scale.values) > 1 else 0.5, text) for at, text in list_ticks(scale.values)]
    else:
        middle = math.sqrt(scale.low * scale.high) if scale.is_log else (scale.low + scale.high) / 2
        ticks = [(0.0, number(scale.low)), (0.5, number(middle)), (1.0, number(scale.high))]
    texts = {trial.number: value_label(trial.point[scale.name]) for trial in having}
    return _Column(scale.name, {key: share for key, share in shares.items() if share is not None}, texts, ticks)


def _epochs(trials: Sequence[TrialRecord]) -> _Column:
    """The axis of epochs, on a square root scale, since early stopping leaves most trials short."""
    last = max((trial.epochs_trained for trial in trials), default=0) or 1
    shares = {trial.number: math.sqrt(trial.epochs_trained / last) for trial in trials}
    ticks = [(math.sqrt(epoch / last), str(epoch)) for epoch in sorted({0, round(last / 9), round(last / 3), last})]
    return _Column("epochs", shares, {trial.number: str(trial.epochs_trained) for trial in trials}, ticks)


def _objective(sweep: SweepRecord, trials: Sequence[TrialRecord]) -> _Column:
    """The axis of the objective, by rank with the best on top, since values over decades would overlap."""
    able = [trial for trial in trials if trial.best_value is not None and math.isfinite(trial.best_value)]
    ranked = sorted(able, key=lambda trial: -sweep.sign * (trial.best_value or 0.0))
    last = max(len(ranked) - 1, 1)
    shares = {trial.number: at / last if len(ranked) > 1 else 1.0 for at, trial in enumerate(ranked)}
    ticked = sorted({0, last // 2, len(ranked) - 1}) if ranked else []
    ticks = [(shares[ranked[at].number], number(ranked[at].best_value)) for at in ticked]
    texts = {trial.number: number(trial.best_value) for trial in able}
    return _Column(f"best {one_line(sweep.metric, most=15)}", shares, texts, ticks)


def _labels(column: _Column, trials: Sequence[TrialRecord]) -> list[tuple[float, str]]:
    absent = [(ABSENT, "none")] if any(trial.number not in column.shares for trial in trials) else []
    return [*column.ticks, *absent]


def _series(role: Role, trials: Sequence[TrialRecord], columns: Sequence[_Column]) -> Series:
    curves: list[list[Point]] = [
        [(float(i), column.shares.get(trial.number, ABSENT), trial.number) for i, column in enumerate(columns)]
        for trial in trials
    ]
    x, y, numbers = joined(curves)
    texts = [
        text
        for trial in trials
        for text in (*(f"trial {trial.number}: {c.name} {c.texts.get(trial.number, 'none')}" for c in columns), "")
    ]
    name = f"best: trial {trials[0].number}" if role == "best" else f"{ROLE_LABELS[role]} ({len(trials)})"
    return Series(name=name, role=role, kind="lines", x=x, y=y, trials=numbers, texts=tuple(texts))


def _alternative(sweep: SweepRecord, trials: Sequence[TrialRecord], columns: Sequence[_Column], good: set[int]) -> str:
    if not trials:
        return "There are no trials yet."
    axes = ", ".join(one_line(column.name) for column in columns)
    sentence = f"{counted(len(trials), 'trial')}, each a line through the axes {axes}."
    best = ranked_successes((trial for trial in trials if trial.number in good), sign=sweep.sign)
    if best:
        top = best[0].number
        values = ", ".join(f"{one_line(c.name)} {c.texts.get(top, 'none')}" for c in columns)
        sentence += f" The best is trial {top}: {values}."
    return sentence
