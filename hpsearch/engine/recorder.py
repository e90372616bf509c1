"""Writes trials to the ledger, and removes the checkpoints that are no longer needed after a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from hpsearch.engine.registry import Trials
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.engine.trial import Trial
from hpsearch.errors import is_config_fault
from hpsearch.ledger.checkpoints import checkpoint_path, drop_later, newest_epoch
from hpsearch.ledger.records import (
    CODE_DIGITS,
    FINISHED_STATES,
    SUCCESS_STATES,
    FailureRecord,
    SweepRecord,
    TrialState,
    TrialValues,
)
from hpsearch.ledger.store import Ledger, now
from hpsearch.links import check_trial_folder
from hpsearch.paths import checkpoint_dir
from hpsearch.slots.protocol import Report
from hpsearch.spec.sweep import Sweep

UNKNOWN = "unknown"
"""In place of a hash, for epochs that were trained with code that could not be read."""


@final
@dataclass(frozen=True, kw_only=True)
class TrialRecorder:
    """Writes the trials of one sweep; decides nothing about them but which of their checkpoints are kept."""

    sweep: Sweep
    """The sweep as it runs now."""
    ledger: Ledger
    """Where trials are written."""
    record: SweepRecord
    """The sweep in the ledger."""
    trials: Trials
    """All trials of the sweep."""
    retention: CheckpointRetention | None
    """Which checkpoints are still needed; None keeps them all."""
    code_hash: str | None
    """Hash of the code that trials begin with; None if it is unknown."""

    def begin(self, trial: Trial) -> None:
        """Record the trial, new or known, as `running`.

        Its checkpoints change while it runs, so the ledger names none.

        Raises:
            LinkRefused: Its folder is a link, which is no fault of its configuration.
        """
        check_trial_folder(self.ledger.home / self.record.folder, trial.number)
        trial.state, trial.cause, trial.evidence = "running", None, None
        trial.attempts = max(trial.attempts, 1)
        trial.code = trial.code if trial.epochs else self._code
        drop_later(self._checkpoint_dir(trial), trial.epochs)
        if trial.ledger_id:
            values: TrialValues = {
                "checkpoint_epoch": None,
                "state": "running",
                "attempts": trial.attempts,
                "evidence": None,
                "ended_at": None,
            }
            if trial.epochs == 0:  # no epoch on record was trained with other code than today's
                values |= {"fingerprint": trial.fingerprint, "code_hash": self.code_hash, "code": trial.code}
            self.ledger.update_trial(trial.ledger_id, **values)
            return
        trial.ledger_id = self.ledger.add_trial(
            self.record,
            trial.number,
            point=trial.point,
            seed=self.sweep.seed,
            fingerprint=trial.fingerprint,
            code_hash=self.code_hash,
            code=trial.code,
        )

    def add_report(self, trial: Trial, report: Report) -> None:
        """Record a finished epoch of a trial."""
        self.ledger.add_report(trial.ledger_id, epoch=report.epoch, metrics=report.metrics, elapsed_s=trial.duration_s)

    def flush(self) -> None:
        """Commit all reports at once, instead of a fraction of a second later."""
        self.ledger.flush()

    def disable_pausing(self) -> None:
        """Record that trials of the sweep can't be paused, since they have no checkpoint where they would be."""
        self.ledger.disable_pausing(self.record)

    def note_code(self, trial: Trial) -> None:
        """Record that a slot is about to train the trial with today's code.

        Where its epochs on record were trained with other code, it has been trained with both from here on, and equals
        no other trial.
        """
        if not trial.code and trial.fingerprint is not None:
            return  # an old ledger has no code of trials; its fingerprint was made with the code
        known, this = (trial.code or UNKNOWN).split(", "), self._code or UNKNOWN
        if not trial.epochs or this in known:
            return
        trial.code, trial.fingerprint = ", ".join([*known, this]), None
        self.ledger.update_trial(trial.ledger_id, code=trial.code, fingerprint=None)

    def note_source(self, trial: Trial) -> None:
        """Record which trial the first epochs of a trial are from, before it is trained further.

        Where the driver dies before the trial has ended, its source may be gone by the time when it resumes.
        """
        self.ledger.update_trial(trial.ledger_id, reused_from=trial.reused_from)

    def wait_for(self, trial: Trial, holder: str) -> None:
        """Record a trial that has just begun as `queued`, since another process is training an equal trial.

        Args:
            trial: The trial that waits.
            holder: The equal trial, as `sweep/number`.
        """
        trial.state, trial.attempts = "queued", trial.attempts - (not trial.epochs)
        self.ledger.update_trial(
            trial.ledger_id,
            state="queued",
            attempts=trial.attempts,
            evidence=f"waits for {holder}, which is training the same trial now",
            checkpoint_epoch=trial.checkpoint_epoch,
        )

    def clear_fingerprint(self, trial: Trial) -> None:
        """Record that no other trial equals this one: its next epochs use other code or data than those on record."""
        trial.fingerprint = None
        self.ledger.update_trial(trial.ledger_id, fingerprint=None)

    def find_checkpoint(self, trial: Trial) -> None:
        """Set the trial's newest checkpoint to the one on disk; for when no slot has just reported it."""
        trial.checkpoint_epoch = newest_epoch(self._checkpoint_dir(trial), at_most=trial.epochs)

    def correct_checkpoint(self, trial: Trial) -> None:
        """Where the checkpoint that the ledger names is gone, name the newest one on disk instead."""
        named = trial.checkpoint_epoch
        if named is not None and checkpoint_path(self._checkpoint_dir(trial), named) is None:
            self.find_checkpoint(trial)
            self.ledger.update_trial(trial.ledger_id, checkpoint_epoch=trial.checkpoint_epoch)

    def requeue(self, trial: Trial, evidence: str, *, failure: FailureRecord | None = None) -> None:
        """Record the trial as `queued` for another attempt.

        Args:
            trial: The trial; its `state` is set here.
            evidence: Why the last attempt ended, one sentence.
            failure: The failure that ended the last attempt, if one did.
        """
        trial.state, trial.evidence = "queued", evidence
        trial.fold_time()
        self.find_checkpoint(trial)
        self.ledger.update_trial(
            trial.ledger_id, failure=failure, state="queued", evidence=evidence, duration_s=trial.duration_s
        )

    def close(self, trial: Trial, state: TrialState, *, failure: FailureRecord | None = None) -> None:
        """Record that the trial has left its slot, for good or as long as it is paused or interrupted.

        Args:
            trial: The trial; its `state` is set here.
            state: The state in which it leaves the slot.
            failure: The failure that ended it, if one did.
        """
        trial.state = recorded_state(trial, state)
        if trial.checkpoint_epoch is None or state in ("failed", "interrupted"):
            self.find_checkpoint(trial)
        best = trial.losses[trial.best_epoch] * self.sweep.metric.sign if trial.best_epoch else None
        with self._removing_expired(trial):
            self.ledger.update_trial(
                trial.ledger_id,
                failure=failure,
                state=trial.state,
                cause=trial.cause,
                evidence=trial.evidence if trial.state == "failed" else None,
                attempts=trial.attempts if trial.ran_in_slot else 0,
                epochs_trained=trial.epochs,
                best_value=best,
                best_epoch=trial.best_epoch,
                last_metrics=trial.metrics,
                ended_at=now(),
                duration_s=trial.duration_s,
                gpu_peak_gib=trial.peaks.gpu_gib,
                host_peak_gib=trial.peaks.host_gib,
                checkpoint_epoch=trial.checkpoint_epoch,
                reused_from=trial.reused_from,
            )
        trial.fold_time()

    def stop_paused(self, trial: Trial) -> None:
        """Record a paused trial as `stopped`: the sweep has ended without promoting it."""
        trial.state = recorded_state(trial, "stopped")
        with self._removing_expired(trial):
            self.ledger.update_trial(trial.ledger_id, state=trial.state, checkpoint_epoch=trial.checkpoint_epoch)

    def rank_checkpoint(self, trial: Trial) -> None:
        """Rank a trial of an earlier run of the sweep, as `close` did in that run; no checkpoint is removed."""
        self._expired(trial)

    def reset_failures(self, trial_ids: Iterable[int]) -> None:
        """Record that failed trials, by their ledger_id, are retried at the user's request."""
        self.ledger.reset_failures(trial_ids)

    @contextmanager
    def _removing_expired(self, trial: Trial) -> Iterator[None]:
        """Clear expired checkpoints from the ledger in the same transaction as the block, then remove their files."""
        expired = self._expired(trial)
        for each in expired:
            each.checkpoint_epoch = None
        with self.ledger.transaction():
            yield
            if others := [each.ledger_id for each in expired if each is not trial]:
                self.ledger.clear_checkpoints(others)
        if self.retention is not None:
            self.retention.remove(each.number for each in expired)

    def _expired(self, trial: Trial) -> list[Trial]:
        """Trials whose checkpoints no trial will continue from, now that this one is over."""
        if self.retention is None or trial.state not in FINISHED_STATES:
            return []
        if trial.state == "failed":
            may_be_retried = trial.cause is not None and not is_config_fault(trial.cause)
            return [] if may_be_retried else [trial]
        found = (self.trials[number] for number in self.retention.expired(trial.number, trial.losses))
        return [each for each in found if each.checkpoint_epoch is not None and not self._will_continue(each)]

    @property
    def _code(self) -> str | None:
        return self.code_hash and self.code_hash[:CODE_DIGITS]

    def _checkpoint_dir(self, trial: Trial) -> Path:
        return checkpoint_dir(self.ledger.home / self.record.folder, trial.number)

    def _will_continue(self, trial: Trial) -> bool:
        return trial.state not in FINISHED_STATES or trial.number in self.trials.to_extend


def recorded_state(trial: Trial, state: TrialState) -> TrialState:
    """`reused` for a trial that is done or stopped without having run in a slot, else `state`."""
    return "reused" if state in SUCCESS_STATES and trial.reused_from and not trial.ran_in_slot else state
