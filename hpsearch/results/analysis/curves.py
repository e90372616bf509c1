"""Learning curves of a sweep's objective, and the best value so far against what it cost; data for charts.

    learning_curves   one `Curve` for each trial: epochs, values, seconds, and the trial's state
    rungs_reached     the rungs of the stopping rule, up to the longest trial
    best_value_steps  one `Step` for each report that improved on all before it, and one for the sweep as it is now

Comparisons at equal epochs are in `common_epoch.py`, what stopping saved is in `rungs.py`. Neither pandas nor NumPy is
needed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, nan

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord, TrialState


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The objective of one trial, epoch by epoch; empty for a trial that never reported."""

    number: int
    """The trial's number."""
    state: TrialState
    """The trial's state."""
    epochs: tuple[int, ...]
    """Epochs with a report, rising, from 1."""
    values: tuple[float, ...]
    """The objective at each of `epochs`, finite."""
    elapsed_s: tuple[float, ...]
    """Seconds of training of this trial up to each of `epochs`."""
    sign: int
    """1 if lower is better, -1 if higher is."""

    @property
    def last_epoch(self) -> int:
        """The last epoch with a report; 0 without one."""
        return self.epochs[-1] if self.epochs else 0

    def reaches(self, epoch: int) -> bool:
        """Whether it can be compared at an epoch: it reached the epoch, or ended by itself before."""
        return bool(self.epochs) and (self.last_epoch >= epoch or self.state == "done")

    def best_until(self, epoch: int) -> float | None:
        """The best value up to an epoch; None if it can't be compared there."""
        if not self.reaches(epoch):
            return None
        known = self.values[: bisect_right(self.epochs, epoch)]
        return (min if self.sign > 0 else max)(known, default=None)


@dataclass(frozen=True, kw_only=True)
class Step:
    """The best value of a sweep at one moment, and what it had cost until then."""

    trials: int
    """Trials that had reported, or had failed without a report."""
    epochs: int
    """Epochs trained, over all trials; reused ones cost nothing."""
    seconds: float
    """Seconds of training, summed over all trials, also over those that ran at the same time."""
    value: float
    """The best value so far."""
    trial: int
    """Number of the trial with that value."""


def learning_curves(sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord]) -> list[Curve]:
    """The curve of each trial, in their order; a failed one has the reports before its failure."""
    points: dict[int, list[tuple[int, float, float]]] = {}
    for report in reports:
        value = report.metrics.get(sweep.metric)
        if value is not None and isfinite(value):
            points.setdefault(report.number, []).append((report.epoch, value, report.elapsed_s))
    return [_curve(sweep, trial, sorted(points.get(trial.number, ()))) for trial in trials]


def rungs_reached(rungs: Iterable[int], curves: Iterable[Curve]) -> tuple[int, ...]:
    """The rungs up to the last epoch of the longest trial, in their order.

    Args:
        rungs: `Sweep.rungs`: epochs at which the stopping rule compares trials.
        curves: The curves of all trials.
    """
    furthest = max((curve.last_epoch for curve in curves), default=0)
    return tuple(epoch for epoch in rungs if epoch <= furthest)


def best_value_steps(
    sweep: SweepRecord,
    trials: Iterable[TrialRecord],
    reports: Iterable[ReportRecord],
    *,
    counts_reused: bool = False,
) -> list[Step]:
    """How the best value improved with what was spent; empty before the first report.

    Every trial that did not fail counts from its first report on, also while it runs or waits.

    Args:
        sweep: The sweep.
        trials: All its trials.
        reports: All its reports, in the order in which they arrived, as the ledger gives them.
        counts_reused: Whether reused trials cost what their training once did, rather than nothing.

    Returns:
        One step for each improvement, and a last one for the sweep as it is now.
    """
    by_number = {trial.number: trial for trial in trials}
    steps: list[Step] = []
    seen, spent_s, epochs = set[int](), dict[int, float](), 0
    best: tuple[float, int] | None = None
    for report in reports:
        trial = by_number[report.number]
        seen.add(report.number)
        if counts_reused or trial.state != "reused":
            epochs += 1
            spent_s[report.number] = report.elapsed_s
        value = report.metrics.get(sweep.metric, nan)
        counts = isfinite(value) and trial.state != "failed"
        if counts and (best is None or sweep.sign * value < sweep.sign * best[0]):
            best = (value, report.number)
            steps.append(_step(len(seen), epochs, spent_s, best))
    silent = sum(1 for trial in by_number.values() if trial.state == "failed" and trial.number not in seen)
    return [*steps, _step(len(seen) + silent, epochs, spent_s, best)] if best is not None else []


def _curve(sweep: SweepRecord, trial: TrialRecord, points: list[tuple[int, float, float]]) -> Curve:
    epochs, values, elapsed_s = zip(*points, strict=True) if points else ((), (), ())
    return Curve(
        number=trial.number, state=trial.state, epochs=epochs, values=values, elapsed_s=elapsed_s, sign=sweep.sign
    )


def _step(trials: int, epochs: int, spent_s: dict[int, float], best: tuple[float, int]) -> Step:
    return Step(trials=trials, epochs=epochs, seconds=sum(spent_s.values()), value=best[0], trial=best[1])
