"""Trials as they stand now: the ledger writes a trial's row when it pauses or ends, its reports all the time."""

from __future__ import annotations

from dataclasses import replace

from hpsearch.ledger.records import ACTIVE_STATES, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger


def current_trials(ledger: Ledger, sweep: SweepRecord) -> list[TrialRecord]:
    """All trials by number; those that run have the epochs and values of their reports so far."""
    trials = ledger.trials(sweep)
    return [_as_reported(ledger, sweep, trial) if trial.state in ACTIVE_STATES else trial for trial in trials]


def _as_reported(ledger: Ledger, sweep: SweepRecord, trial: TrialRecord) -> TrialRecord:
    reports = ledger.reports_of(trial)
    if not reports:
        return trial
    best = min(reports, key=lambda report: sweep.sign * report.metrics[sweep.metric])
    return replace(
        trial,
        epochs_trained=len(reports),
        best_value=best.metrics[sweep.metric],
        best_epoch=best.epoch,
        last_metrics=reports[-1].metrics,
        duration_s=reports[-1].elapsed_s,
    )
