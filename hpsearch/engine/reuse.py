"""Trials that need no slot, or not yet: the ledger has their epochs, or another process trains the same now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from hpsearch.engine.outcomes import Outcomes
from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import TrialState
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import Known, TrialCache
from hpsearch.slots.protocol import Report


@final
@dataclass(frozen=True, kw_only=True)
class TrialReuse:
    """Begins the trials of one sweep, and answers what it can in place of a slot."""

    ledger: Ledger
    """Where trials are written."""
    memory: TrialCache | None
    """Finds equal trials; None finds none."""
    trials: dict[int, Trial]
    """Every trial so far; those that begin are added."""
    queue: TrialQueue
    """Is told whom to look at later."""
    recorder: TrialRecorder
    """Writes trials."""
    outcomes: Outcomes
    """Takes in what the ledger answers, as it does what slots say."""

    def begin(self, trial: Trial) -> bool:
        """Begin a trial; whether it needs a slot now."""
        return self._is_ours(trial) and not self._is_answered(trial)

    def _is_ours(self, trial: Trial) -> bool:
        """Begin a trial, in the ledger first; false while another process trains the same: others go before it then."""
        memory = self.memory
        if memory is not None and trial.state == "queued" and trial.ledger_id and memory.is_busy(trial.fingerprint):
            self.queue.look_later(trial.number)
            return False
        if trial.epochs == 0 and memory is not None:
            trial.fingerprint = memory.fingerprint(trial.point)
        with self.ledger.transaction():
            self.recorder.begin(trial)
            holder = None if self._has_changed(trial) else self._claim(trial)
            if holder is not None:
                self.recorder.wait_for(trial, holder)
        self.trials[trial.number] = trial
        if holder is not None:
            self.queue.look_later(trial.number)
        return holder is None

    def _claim(self, trial: Trial) -> str | None:
        return None if self.memory is None else self.memory.claim(trial.fingerprint, trial.number)

    def _has_changed(self, trial: Trial) -> bool:
        """Whether code, data or hpsearch itself are not those that its epochs on record were trained with."""
        memory = self.memory
        return memory is not None and trial.fingerprint not in (None, memory.fingerprint(trial.point))

    def _is_answered(self, trial: Trial) -> bool:
        """Give a trial the epochs that an equal one has on record; whether it needs no slot any more."""
        if self.memory is None:
            return False
        known = self.memory.lookup(trial.fingerprint, row=trial.ledger_id, losses=trial.losses)
        if known is not None:
            trial.reused_from, trial.past_s = known.name, 0.0
            state = self._hear(trial, known)
            if state is not None:
                self._borrow_checkpoint(trial)
                self.outcomes.end(trial, state)
                return True
            trial.fold_time()
        self._borrow_checkpoint(trial)
        if self._has_changed(trial):
            self.recorder.disown(trial)
        return False

    def _hear(self, trial: Trial, known: Known) -> TrialState | None:
        """Let a trial have the epochs of an equal one; the state in which that leaves it, None if it needs a slot."""
        for each in known.reports[trial.epochs :]:
            trial.elapsed_s = each.elapsed_s
            report = Report(epoch=each.epoch, metrics=each.metrics, elapsed_s=each.elapsed_s)
            state = self.outcomes.learn_from(trial, report, can_wait=True)  # it is heard again, should it be promoted
            if state is not None:
                return state
        return "done" if known.complete else None

    def _borrow_checkpoint(self, trial: Trial) -> None:
        """Its folder has the newest checkpoint that an equal trial has of its epochs; the row is to name what is there.

        To be called before the row is written: a row never names files that are still to come.
        """
        if self.memory is None or trial.epochs == 0:
            return
        lender = self.memory.borrow_checkpoint(
            trial.fingerprint, row=trial.ledger_id, number=trial.number, losses=trial.losses
        )
        trial.reused_from = trial.reused_from or lender
        self.recorder.look_at_checkpoint(trial)
