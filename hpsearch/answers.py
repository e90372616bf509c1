"""Trials that need no slot, or not yet: the ledger has their epochs, or another process trains the same now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from hpsearch.ledger.memory import Memory
from hpsearch.ledger.store import Ledger
from hpsearch.lineup import LineUp
from hpsearch.slots.events import Report, Verdict
from hpsearch.trial_events import TrialEvents
from hpsearch.trial_run import TrialRun
from hpsearch.trial_writer import TrialWriter


@final
@dataclass(frozen=True, kw_only=True)
class Answers:
    """Begins the trials of one sweep, and answers what it can in place of a slot."""

    ledger: Ledger
    """Where trials are written."""
    memory: Memory | None
    """Finds equal trials; None finds none."""
    trials: dict[int, TrialRun]
    """Every trial so far; those that begin are added."""
    line_up: LineUp
    """Is told whom to look at later."""
    writer: TrialWriter
    """Writes trials."""
    events: TrialEvents
    """Takes in what the ledger answers, as it does what slots say."""

    def begin(self, trial: TrialRun) -> bool:
        """Begin a trial; whether it needs a slot now."""
        return self._is_ours(trial) and not self._is_answered(trial)

    def _is_ours(self, trial: TrialRun) -> bool:
        """Begin a trial, in the ledger first; false while another process trains the same: others go before it then."""
        memory = self.memory
        if memory is not None and trial.state == "queued" and trial.row and memory.is_busy(trial.fingerprint):
            self.line_up.look_later(trial.number)
            return False
        if trial.row == 0 and memory is not None:
            trial.fingerprint = memory.fingerprint(trial.point)
        with self.ledger.together():
            self.writer.begin(trial)
            holder = None if memory is None else memory.claim(trial.fingerprint, trial.number)
            if holder is not None:
                self.writer.wait_for(trial, holder)
        self.trials[trial.number] = trial
        if holder is not None:
            self.line_up.look_later(trial.number)
        return holder is None

    def _is_answered(self, trial: TrialRun) -> bool:
        """Give a trial the epochs that an equal one has on record; whether it needs no slot any more."""
        if self.memory is None:
            return False
        known = self.memory.recall(trial.fingerprint, row=trial.row, beyond=trial.epochs)
        if known is not None:
            trial.reused_from, trial.past_s = known.name, 0.0
            for each in known.reports[trial.epochs :]:
                report = Report(
                    epoch=each.epoch, metrics=each.metrics, elapsed_s=each.elapsed_s, checkpoint_epoch=each.epoch
                )
                trial.elapsed_s = report.elapsed_s
                if self.events.take_in(trial, report) is not Verdict.GO_ON:
                    return True
            if known.complete:
                self.events.end(trial, "done")
                return True
            trial.fold_time()
        if trial.epochs > (trial.checkpoint_epoch or 0):
            lender = self.memory.borrow_checkpoint(
                trial.fingerprint, row=trial.row, number=trial.number, at_most=trial.epochs
            )
            trial.reused_from = lender or trial.reused_from
        return False
