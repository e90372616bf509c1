"""Compares trials at equal epochs, since under a stopping rule the longest trials would look best otherwise.

common_epoch      the last epoch at which most trials can be compared, stopped ones included
ranking           the trials at an epoch, best first, each by its best value up to there
ahead_of_winner   stopped trials that were better than the best trial had been after as many epochs
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.ledger.records import ACTIVE_STATES, ReportRecord, SweepRecord, TrialRecord, best_of
from hpsearch.results.analysis.curves import Curve, learning_curves

SHARE_COMPARED = 0.9
"""Share of the trials that must have reached an epoch for it to be a common one."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A trial in the ranking at an epoch."""

    rank: int
    """Counted from 1."""
    trial: int
    """The trial's number."""
    value: float
    """Its best value up to the epoch."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """A stopped trial that was better than the winner had been after as many epochs."""

    trial: int
    """The trial's number."""
    epoch: int
    """The epoch after which it was stopped."""
    value: float
    """Its best value up to there."""
    winner: int
    """Number of the sweep's best trial."""
    winner_value: float
    """The winner's best value up to the same epoch."""


def common_epoch(curves: Iterable[Curve]) -> int | None:
    """The last epoch that at least SHARE_COMPARED of the trials reached; None before the first report.

    Failed trials are left out. A running trial counts at the epochs that it has reached and is ignored at later ones,
    which it may still reach. A trial that was stopped, waits at a rung or was interrupted counts as not having reached
    later epochs; one that ended by itself counts as having reached all.
    """
    alive = [curve for curve in curves if curve.epochs and curve.state != "failed"]
    common = None
    for epoch in sorted({curve.last_epoch for curve in alive}):
        num_there = sum(curve.reaches(epoch) for curve in alive)
        num_missed = sum(not curve.reaches(epoch) for curve in alive if curve.state not in ACTIVE_STATES)
        if num_there < SHARE_COMPARED * (num_there + num_missed):
            break
        common = epoch
    return common


def ranking(curves: Iterable[Curve], epoch: int) -> list[Ranked]:
    """The trials that reached an epoch, best first, equal ones by number; failed trials are left out."""
    alive = [(curve, curve.best_until(epoch)) for curve in curves if curve.state != "failed"]
    there = [(curve.sign * value, curve.number, value) for curve, value in alive if value is not None]
    return [
        Ranked(rank=rank, trial=number, value=value) for rank, (_, number, value) in enumerate(sorted(there), start=1)
    ]


def ahead_of_winner(
    sweep: SweepRecord, trials: Sequence[TrialRecord], winner_reports: Iterable[ReportRecord]
) -> list[Ahead]:
    """Stopped trials that were better than the sweep's best trial at the same epoch, the largest difference first.

    Args:
        sweep: The sweep.
        trials: All its trials.
        winner_reports: The reports of the best trial (`best_of`); those of other trials are ignored.
    """
    winner = best_of(list(trials), sign=sweep.sign)
    if winner is None:
        return []
    curve = learning_curves(sweep, [winner], winner_reports)[0]
    stopped = [trial for trial in trials if trial.state == "stopped" and trial.number != winner.number]
    found = [ahead for trial in stopped if (ahead := _ahead(trial, curve)) is not None]
    return sorted(found, key=lambda each: (sweep.sign * (each.value - each.winner_value), each.trial))


def _ahead(trial: TrialRecord, winner: Curve) -> Ahead | None:
    then = winner.best_until(trial.epochs_trained)
    if then is None or trial.best_value is None or winner.sign * trial.best_value >= winner.sign * then:
        return None
    return Ahead(
        trial=trial.number, epoch=trial.epochs_trained, value=trial.best_value, winner=winner.number, winner_value=then
    )
