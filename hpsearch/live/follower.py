"""Follows a sweep that another process runs: reads its trials from the ledger into the objects that displays need.

Only what is shown is read: the row of every trial, and the reports of those that run, or whose curve is about to be
drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import ACTIVE_STATES, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.live.progress import DriverStatus, SweepProgress
from hpsearch.live.status_file import StatusRecord, read_status
from hpsearch.paths import home_option, processes_path
from hpsearch.slots.process_file import TrialProcesses, attempt_processes
from hpsearch.spec.sweep import Sweep

NUM_CURVES = 40
"""Trials that ended last whose curves are read the first time."""


@final
class LedgerFollower:
    """Reads a sweep again and again; `refresh` brings all attributes up to date."""

    def __init__(self, ledger: Ledger, record: SweepRecord) -> None:
        """Read the sweep for the first time.

        Args:
            ledger: Where it is; it is only read.
            record: The sweep in the ledger.
        """
        self.record, self.sweep = record, Sweep.from_stored(record.spec)
        self.trials: dict[int, Trial] = {}
        """All trials so far, by number."""
        self.is_running = False
        """Whether a process holds the sweep's lock."""
        self.recorded: StatusRecord | None = None
        """What that process has written to the status file; None if there is none."""
        self.processes: dict[int, TrialProcesses] = {}
        """Running trial to the processes of its ranks."""
        self._ledger, self._folder = ledger, ledger.home / record.folder
        self._records: dict[int, TrialRecord] = {}
        self.refresh()
        self.progress = SweepProgress(
            self.sweep, self.trials, self._status, has_processes=lambda trial: trial.number in self.processes
        )
        """What displays show of the trials."""
        ended = [each for each in self._records.values() if self.trials[each.number].state not in ACTIVE_STATES]
        for each in sorted(ended, key=_ended_at):
            self.progress.on_end(self.trials[each.number])

    def refresh(self, on_end: Callable[[Trial], None] | None = None) -> None:
        """Read what is new.

        Args:
            on_end: Called for each trial that has left its slot since the last time.
        """
        self.is_running = is_held(self._folder)  # before the trials, so that the last ones are not missed
        self.record = self._ledger.sweep(self.record.name)
        self.recorded = read_status(self._folder) if self.is_running else None
        records = self._ledger.trials(self.record)
        changed = [each for each in records if self._has_changed(each)]
        before, self._records = self._records, {each.number: each for each in records}
        for each in changed:
            self.trials[each.number] = self._trial(each)
        self._read_curves(changed, is_first=not before)
        self.processes = {each.number: found for each in records if (found := self._processes_of(each)) is not None}
        for each in changed if before else ():
            if each.state not in ACTIVE_STATES:
                self.progress.on_end(self.trials[each.number])
                if on_end is not None:
                    on_end(self.trials[each.number])

    @property
    def was_killed(self) -> bool:
        """Whether the sweep's process has ended without recording that."""
        return self.record.state == "running" and not self.is_running

    @property
    def state_text(self) -> str:
        """The state of the sweep, to be read after its name."""
        state = self.record.state
        if self.is_running:
            driver = None if self.recorded is None else self.recorded.driver
            return "is running" if driver is None else f"is running in process {driver.pid} on {driver.host}"
        if self.was_killed:
            home = home_option(self._ledger.home)
            return f"was killed: resume it with python -m hpsearch resume {self.record.name}{home}"
        reason = f" ({self.record.reason})" if self.record.reason else ""
        return {"done": "is done", "gave_up": "gave up", "interrupted": "was interrupted"}[state] + reason

    def _has_changed(self, record: TrialRecord) -> bool:
        known = self._records.get(record.number)
        return known is None or record.state == "running" or known != record

    def _trial(self, record: TrialRecord) -> Trial:
        """The trial of a record; a curve that was read before is kept."""
        trial, known = Trial.from_record(record), self.trials.get(record.number)
        if known is not None:
            trial.losses, trial.best_epoch, trial.epochs = known.losses, known.best_epoch, known.epochs
            trial.past_s = max(trial.past_s, known.past_s)
        elif record.best_epoch is not None and record.best_value is not None:  # the one point that the record has
            trial.losses[record.best_epoch] = self.record.sign * record.best_value
            trial.best_epoch = record.best_epoch
        trial.epochs = max(trial.epochs, record.epochs_trained)
        if self.was_killed and trial.state in ACTIVE_STATES:
            trial.state = "interrupted"
        return trial

    def _read_curves(self, changed: Iterable[TrialRecord], *, is_first: bool) -> None:
        """Read the reports of trials that run or have just ended, and of the best trial."""
        latest = sorted((each for each in changed if each.ended_at), key=_ended_at)
        ended = {each.number for each in (latest[-NUM_CURVES:] if is_first else latest)}
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

    def _processes_of(self, record: TrialRecord) -> TrialProcesses | None:
        if not self.is_running or record.state != "running":
            return None
        return attempt_processes(processes_path(self._folder, record.number), attempt=record.attempts)

    def _status(self) -> DriverStatus:
        if self.recorded is not None:
            return self.recorded.status()
        return DriverStatus(concurrent=max(sum(trial.state == "running" for trial in self.trials.values()), 1))


def _ended_at(record: TrialRecord) -> str:
    """When a trial left its slot; trials that a killed process has left behind come last."""
    return record.ended_at or "9999"
