"""Trials that need no slot, or not yet: their epochs are in the ledger, or another process trains the same trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from hpsearch.engine.outcomes import Outcomes
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.registry import Trials
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import TrialState
from hpsearch.ledger.trial_cache import KnownTrial, TrialCache
from hpsearch.slots.protocol import Report


@final
@dataclass(frozen=True, kw_only=True)
class TrialReuse:
    """Begins the trials of one sweep, and gives them the epochs of equal trials in place of a slot."""

    cache: TrialCache | None
    """Finds equal trials in the ledger; None finds none."""
    trials: Trials
    """All trials of the sweep; those that begin are added."""
    recorder: TrialRecorder
    """Writes trials to the ledger."""
    outcomes: Outcomes
    """Handles epochs from the ledger as it does those from a slot."""

    def begin(self, trial: Trial) -> bool:
        """Begin a trial, from the epochs in the ledger where an equal one has trained them.

        Returns:
            Whether the trial needs a slot now; if not, it has ended, is paused, or is deferred.
        """
        return self._record_begin(trial) and not self._add_known_epochs(trial)

    def _record_begin(self, trial: Trial) -> bool:
        """Record that a trial begins; false if it is deferred, since another process is training an equal trial."""
        cache = self.cache
        if cache is not None and trial.state == "queued" and trial.ledger_id and cache.is_busy(trial.fingerprint):
            self.trials.defer(trial.number)
            return False
        if trial.epochs == 0 and cache is not None:
            trial.fingerprint = cache.fingerprint(trial.point)
        with self.recorder.ledger.transaction():
            self.recorder.begin(trial)
            holder = None if self._has_changed(trial) else self._claim(trial)
            if holder is not None:
                self.recorder.wait_for(trial, holder)
        self.trials.add(trial)
        if holder is not None:
            self.trials.defer(trial.number)
        return holder is None

    def _claim(self, trial: Trial) -> str | None:
        """Claim the trial's fingerprint; the sweep and trial that hold it already, if any."""
        return None if self.cache is None else self.cache.claim(trial.fingerprint, trial.number)

    def _has_changed(self, trial: Trial) -> bool:
        """Whether code, data or hpsearch itself differ from those that trained the trial's epochs on record."""
        cache = self.cache
        return cache is not None and trial.fingerprint not in (None, cache.fingerprint(trial.point))

    def _add_known_epochs(self, trial: Trial) -> bool:
        """Give a trial the epochs that an equal one has on record; true if it then needs no slot."""
        if self.cache is None:
            return False
        source = trial.reused_from
        known = self.cache.lookup(trial.fingerprint, ledger_id=trial.ledger_id, losses=trial.losses)
        if known is not None:
            trial.reused_from, trial.past_s = known.name, 0.0
            state = self._replay(trial, known)
            if state is not None:
                self._borrow_checkpoint(trial)
                self.outcomes.end(trial, state)
                return True
            trial.fold_time()
        self._borrow_checkpoint(trial)
        if trial.reused_from != source:
            self.recorder.note_source(trial)
        if self._has_changed(trial):
            self.recorder.clear_fingerprint(trial)
        return False

    def _replay(self, trial: Trial, known: KnownTrial) -> TrialState | None:
        """Give a trial the epochs of an equal one; the state in which that leaves it, None if it needs a slot."""
        for each in known.reports[trial.epochs :]:
            trial.elapsed_s = each.elapsed_s
            report = Report(epoch=each.epoch, metrics=each.metrics, elapsed_s=each.elapsed_s)
            state = self.outcomes.add_report(trial, report, can_wait=True)  # looked up again if it is promoted
            if state is not None:
                return state
        return "done" if known.complete else None

    def _borrow_checkpoint(self, trial: Trial) -> None:
        """Link the newest checkpoint that an equal trial has of these epochs into the trial's folder.

        To be called before the trial is written: the ledger never names files that are still to come.
        """
        if self.cache is None or trial.epochs == 0:
            return
        lender = self.cache.borrow_checkpoint(
            trial.fingerprint, ledger_id=trial.ledger_id, number=trial.number, losses=trial.losses
        )
        trial.reused_from = trial.reused_from or lender
        self.recorder.find_checkpoint(trial)
