"""What becomes of trials, in the ledger, and which checkpoints go with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.engine.trial import Trial
from hpsearch.errors import is_config_fault
from hpsearch.ledger.checkpoints import checkpoint_path, drop_later, newest_epoch
from hpsearch.ledger.records import CODE_DIGITS, FINISHED_STATES, SUCCESS_STATES, FailureRecord, SweepRecord, TrialState
from hpsearch.ledger.store import Ledger, now
from hpsearch.paths import checkpoint_dir
from hpsearch.spec.sweep import Sweep

UNKNOWN = "unknown"
"""In place of the code of epochs that were trained with what could not be read."""


@final
@dataclass(frozen=True, kw_only=True)
class TrialRecorder:
    """Writes trials of one sweep; decides nothing about them but what is kept of them on disk."""

    sweep: Sweep
    """Whose trials."""
    ledger: Ledger
    """Where they are written."""
    record: SweepRecord
    """The same sweep in the ledger."""
    trials: Mapping[int, Trial]
    """Every trial so far; the caller adds to it."""
    queue: TrialQueue
    """Knows who goes further, and so needs its checkpoint."""
    checkpoints: CheckpointRetention | None
    """Which of them are of use; None keeps them all."""
    code_hash: str | None
    """Of the code that trials begin with; None if it can't be known."""

    def begin(self, trial: Trial) -> None:
        """The trial, new or known, is `running`; while it is, its checkpoints come and go, and its row names none."""
        trial.state, trial.cause, trial.evidence = "running", None, None
        trial.attempts = max(trial.attempts, 1)
        trial.code = trial.code if trial.epochs else self._code
        drop_later(self._checkpoint_dir(trial), trial.epochs)
        if trial.ledger_id:
            values: dict[str, Any] = {
                "state": "running",
                "attempts": trial.attempts,
                "evidence": None,
                "ended_at": None,
            }
            if trial.epochs == 0:  # nothing on record was trained with other code than that of now
                values |= {"fingerprint": trial.fingerprint, "code_hash": self.code_hash, "code": trial.code}
            self.ledger.update_trial(trial.ledger_id, checkpoint_epoch=None, **values)
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

    def note_code(self, trial: Trial) -> None:
        """A slot is about to train the trial: where its epochs on record are of other code, it is of both from here."""
        if not trial.code and trial.fingerprint is not None:
            return  # an old ledger does not say; but it knew
        known, this = (trial.code or UNKNOWN).split(", "), self._code or UNKNOWN
        if not trial.epochs or this in known:
            return
        trial.code, trial.fingerprint = ", ".join([*known, this]), None
        self.ledger.update_trial(trial.ledger_id, code=trial.code, fingerprint=None)

    def wait_for(self, trial: Trial, holder: str) -> None:
        """The trial that has just begun is `queued` instead: another process trains the same, as `holder`."""
        trial.state, trial.attempts = "queued", trial.attempts - (not trial.epochs)
        self.ledger.update_trial(
            trial.ledger_id,
            state="queued",
            attempts=trial.attempts,
            evidence=f"waits for {holder}, which trains the same now",
            checkpoint_epoch=trial.checkpoint_epoch,
        )

    def disown(self, trial: Trial) -> None:
        """Epochs to come are trained with other code or data than those on record: no other trial is its equal."""
        trial.fingerprint = None
        self.ledger.update_trial(trial.ledger_id, fingerprint=None)

    def look_at_checkpoint(self, trial: Trial) -> None:
        """Its newest checkpoint is what is on disk of its epochs; to be called where no slot has just said so."""
        trial.checkpoint_epoch = newest_epoch(self._checkpoint_dir(trial), at_most=trial.epochs)

    def correct_checkpoint(self, trial: Trial) -> None:
        """Its row is made to name the newest checkpoint on disk where that which it names is not there."""
        named = trial.checkpoint_epoch
        if named is not None and checkpoint_path(self._checkpoint_dir(trial), named) is None:
            self.look_at_checkpoint(trial)
            self.ledger.update_trial(trial.ledger_id, checkpoint_epoch=trial.checkpoint_epoch)

    def requeue(self, trial: Trial, evidence: str, *, failure: FailureRecord | None = None) -> None:
        """The trial is `queued` for another attempt."""
        trial.state, trial.evidence = "queued", evidence
        trial.fold_time()
        self.look_at_checkpoint(trial)
        self.ledger.update_trial(
            trial.ledger_id, failure=failure, state="queued", evidence=evidence, duration_s=trial.duration_s
        )

    def close(self, trial: Trial, state: TrialState, *, failure: FailureRecord | None = None) -> None:
        """The trial leaves its slot for good, or for as long as it is paused or interrupted."""
        trial.state = shown_state(trial, state)
        if trial.checkpoint_epoch is None or state in ("failed", "interrupted"):
            self.look_at_checkpoint(trial)
        best = trial.losses[trial.best_epoch] * self.sweep.metric.sign if trial.best_epoch else None
        with self._freeing(trial):
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

    def give_up(self, trial: Trial) -> None:
        """The trial that was paused is `stopped`: nobody will promote it."""
        trial.state = shown_state(trial, "stopped")
        with self._freeing(trial):
            self.ledger.update_trial(trial.ledger_id, state=trial.state, checkpoint_epoch=trial.checkpoint_epoch)

    def rank(self, trial: Trial) -> None:
        """An earlier run of the sweep has closed the trial: its checkpoint, if kept, is as good as its losses."""
        self._of_no_use(trial)

    @contextmanager
    def _freeing(self, trial: Trial) -> Iterator[None]:
        """What is written in the block says too which checkpoints are gone; they are removed after it."""
        gone = self._of_no_use(trial)
        for each in gone:
            each.checkpoint_epoch = None
        with self.ledger.transaction():
            yield
            if others := [each.ledger_id for each in gone if each is not trial]:
                self.ledger.clear_checkpoints(others)
        if self.checkpoints is not None:
            self.checkpoints.remove(each.number for each in gone)

    def _of_no_use(self, trial: Trial) -> list[Trial]:
        """Trials whose checkpoints nobody will go on from, now that this one is over."""
        if self.checkpoints is None or trial.state not in FINISHED_STATES:
            return []
        if trial.state == "failed":
            may_succeed = trial.cause is not None and not is_config_fault(trial.cause)
            return [] if may_succeed else [trial]
        found = (self.trials[number] for number in self.checkpoints.expired(trial.number, trial.losses))
        return [each for each in found if each.checkpoint_epoch is not None and not self._goes_on(each)]

    @property
    def _code(self) -> str | None:
        return self.code_hash and self.code_hash[:CODE_DIGITS]

    def _checkpoint_dir(self, trial: Trial) -> Path:
        return checkpoint_dir(self.ledger.home / self.record.folder, trial.number)

    def _goes_on(self, trial: Trial) -> bool:
        return trial.state not in FINISHED_STATES or self.queue.shall_go_further(trial.number)


def shown_state(trial: Trial, state: TrialState) -> TrialState:
    """`reused` for a trial that is over without having had a slot."""
    return "reused" if state in SUCCESS_STATES and trial.reused_from and not trial.ran_in_slot else state
