"""A sweep that another process runs, as its own driver sees it: trials out of the ledger, again and again.

Only what is shown is read: every trial's row, and the reports of those that run, or are about to be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import ACTIVE_STATES, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.live.progress import DriverStatus, SweepProgress
from hpsearch.live.status_file import Notice, read_notice
from hpsearch.paths import home_option, processes_path
from hpsearch.slots.process_file import TrialProcesses, attempt_processes
from hpsearch.spec.sweep import Sweep

CURVES = 40
"""Trials that ended last whose curves are read at the first look."""


@final
class LedgerFollower:
    """Keeps `trials` and `progress` up to date; `look` before they are read."""

    def __init__(self, ledger: Ledger, record: SweepRecord) -> None:
        self.record, self.sweep = record, Sweep.from_stored(record.spec)
        self.trials: dict[int, Trial] = {}
        self.runs = False
        self.notice: Notice | None = None
        self.rosters: dict[int, TrialProcesses] = {}
        self._ledger, self._folder = ledger, ledger.home / record.folder
        self._records: dict[int, TrialRecord] = {}
        self.look()
        self.progress = SweepProgress(
            self.sweep, self.trials, self._outlook, trains=lambda trial: trial.number in self.rosters
        )
        over = [each for each in self._records.values() if self.trials[each.number].state not in ACTIVE_STATES]
        for each in sorted(over, key=_ended):
            self.progress.on_end(self.trials[each.number])

    def look(self, on_end: Callable[[Trial], None] | None = None) -> None:
        """Read what is new.

        Args:
            on_end: Called for each trial that has left its slot since the last look.
        """
        self.runs = is_held(self._folder)  # before the trials, so that the last ones are not missed
        self.record = self._ledger.sweep(self.record.name)
        self.notice = read_notice(self._folder) if self.runs else None
        records = self._ledger.trials(self.record)
        changed = [each for each in records if self._is_news(each)]
        before, self._records = self._records, {each.number: each for each in records}
        for each in changed:
            self.trials[each.number] = self._trial(each)
        self._read_curves(changed, is_first=not before)
        self.rosters = {each.number: roster for each in records if (roster := self._roster(each)) is not None}
        for each in changed if before else ():
            if each.state not in ACTIVE_STATES:
                self.progress.on_end(self.trials[each.number])
                if on_end is not None:
                    on_end(self.trials[each.number])

    @property
    def was_killed(self) -> bool:
        """Whether its process is gone and had no time to say so."""
        return self.record.state == "running" and not self.runs

    @property
    def words(self) -> str:
        """How the sweep is doing, as far as its trials don't tell."""
        state = self.record.state
        if self.runs:
            where = "" if self.notice is None else f" in process {self.notice.driver.pid} on {self.notice.driver.host}"
            return f"runs{where}"
        if self.was_killed:
            at = home_option(self._ledger.home)
            return f"was killed: go on with it by python -m hpsearch resume {self.record.name}{at}"
        reason = f" ({self.record.reason})" if self.record.reason else ""
        return {"done": "is over", "gave_up": "gave up", "interrupted": "was interrupted"}[state] + reason

    def _is_news(self, record: TrialRecord) -> bool:
        known = self._records.get(record.number)
        return known is None or record.state == "running" or known != record

    def _trial(self, record: TrialRecord) -> Trial:
        """A trial whose curve is known already keeps it."""
        trial, known = Trial.from_record(record), self.trials.get(record.number)
        if known is not None:
            trial.losses, trial.best_epoch, trial.epochs = known.losses, known.best_epoch, known.epochs
            trial.past_s = max(trial.past_s, known.past_s)
        elif record.best_epoch is not None and record.best_value is not None:  # the one point that its row tells
            trial.losses[record.best_epoch] = self.record.sign * record.best_value
            trial.best_epoch = record.best_epoch
        trial.epochs = max(trial.epochs, record.epochs_trained)
        if self.was_killed and trial.state in ACTIVE_STATES:
            trial.state = "interrupted"
        return trial

    def _read_curves(self, changed: Iterable[TrialRecord], *, is_first: bool) -> None:
        latest = sorted((each for each in changed if each.ended_at), key=_ended)
        ended = {each.number for each in (latest[-CURVES:] if is_first else latest)}
        for record in changed:
            if record.state in ACTIVE_STATES or record.number in ended:
                self._read_curve(record)
        best = min(
            (each for each in self.trials.values() if each.best_epoch and each.state != "failed"),
            key=lambda each: each.losses[each.best_epoch or 0],
            default=None,
        )
        if best is not None and len(best.losses) < best.epochs:
            self._read_curve(self._records[best.number])

    def _read_curve(self, record: TrialRecord) -> None:
        trial = self.trials[record.number]
        trial.losses, trial.best_epoch = {}, None
        for report in self._ledger.reports_of(record):
            trial.note_epoch(report.epoch, report.metrics, loss=self.record.sign * report.metrics[self.record.metric])
            trial.past_s = max(trial.past_s, report.elapsed_s)

    def _roster(self, record: TrialRecord) -> TrialProcesses | None:
        if not self.runs or record.state != "running":
            return None
        return attempt_processes(processes_path(self._folder, record.number), attempt=record.attempts)

    def _outlook(self) -> DriverStatus:
        if self.notice is not None:
            return self.notice.outlook()
        return DriverStatus(concurrent=max(sum(trial.state == "running" for trial in self.trials.values()), 1))


def _ended(record: TrialRecord) -> str:
    """When a trial left its slot; what a killed process left behind comes last."""
    return record.ended_at or "9999"
