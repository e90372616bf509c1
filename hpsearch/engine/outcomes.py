"""What becomes of a trial with each event: it is learned from, goes on, waits, is over, or is tried again.

Each change is in the ledger before its effect leaves this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from hpsearch.engine.failure_policy import FailurePolicy
from hpsearch.engine.observers import Observers
from hpsearch.engine.outside_code import OutsideCode
from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.setup_cost import SetupCost
from hpsearch.engine.status import StopState
from hpsearch.engine.trial import Trial
from hpsearch.errors import Problem
from hpsearch.ledger.records import TRAINABLE_STATES, FailureRecord, SweepRecord, TrialState
from hpsearch.ledger.store import Ledger
from hpsearch.slots.protocol import Ended, Event, Failed, Peaks, Report, Unusable, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Decision, FallbackRule

VERDICTS = {"done": Verdict.RUN_TO_END, "interrupted": Verdict.SAVE_AND_END}
"""What a slot does with a trial that leaves it in this state after a report; all others end at once."""


@final
@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Takes in what slots, and the ledger in their place, say of the trials of one sweep."""

    sweep: Sweep
    """Whose trials."""
    ledger: Ledger
    """Where reports are written."""
    record: SweepRecord
    """The same sweep in the ledger."""
    trials: Mapping[int, Trial]
    """Every trial so far; the caller adds to it."""
    running: set[int]
    """Numbers of trials that have a slot; one that leaves it is taken out."""
    rule: FallbackRule
    """Hears each new epoch, and says who goes on."""
    queue: TrialQueue
    """Is told who is tried again, and who is over."""
    recorder: TrialRecorder
    """Writes trials."""
    policy: FailurePolicy
    """Says what follows from a failure."""
    stop_state: StopState
    """Whether the sweep ends; a failure may end it."""
    observers: Observers
    """Are told each change."""
    outside_code: OutsideCode
    """Notes which files trials import past the sweep's snapshot."""
    setup_cost: SetupCost
    """Notes it where trials spend much of their time on their set-up."""

    def handle(self, trial: Trial, event: Event) -> Verdict:
        """Take in what a slot says of the trial that it has."""
        trial.note_peaks(getattr(event, "peaks", Peaks()))
        if isinstance(event, Report | Ended) and event.outside_code:
            self._note_outside(trial, event.outside_code)
        if isinstance(event, Report):
            return self._on_report(trial, event)
        if isinstance(event, Ended):
            self._on_ended(trial, event)
        elif isinstance(event, Failed):
            self._on_failed(trial, event)
        else:
            self._on_unusable(trial, event)
        return Verdict.END

    def learn_from(self, trial: Trial, report: Report, *, can_wait: bool) -> TrialState | None:
        """Learn from an epoch; the state in which its trial leaves its slot, or needs none; None if it continues.

        Args:
            trial: Whose epoch.
            report: From a slot, or from the ledger in its place.
            can_wait: What it needs to go on from this epoch later is on disk, or it needs nothing.
        """
        decision = Decision.CONTINUE
        if report.epoch > trial.epochs:  # an attempt that began at 0 again repeats what is known
            decision = self._learn(trial, report, can_wait=can_wait)
        if decision is Decision.STOP:
            return "stopped"
        if self.sweep.max_epochs is not None and report.epoch >= self.sweep.max_epochs:
            return "done"
        if decision is Decision.PAUSE:
            return "paused"
        return None if self.stop_state.reason is None else "interrupted"

    def end(
        self,
        trial: Trial,
        state: TrialState,
        *,
        verdict: Verdict = Verdict.END,
        failure: FailureRecord | None = None,
    ) -> Verdict:
        """The trial leaves its slot, or needs none, in this state; the verdict comes back."""
        self.running.discard(trial.number)
        self.recorder.close(trial, state, failure=failure)
        self.queue.learn(trial)
        self.observers.notify("on_end", trial)
        return verdict

    def requeue(self, trial: Trial, evidence: str, *, failure: FailureRecord | None = None) -> None:
        """The trial leaves its slot and will be tried again, from its checkpoint."""
        self.running.discard(trial.number)
        self.queue.try_again(trial.number)
        self.recorder.requeue(trial, evidence, failure=failure)
        self.observers.notify("on_end", trial)

    def _note_outside(self, trial: Trial, files: Mapping[str, str]) -> None:
        """The trial's code is not that of its fingerprint alone."""
        if trial.fingerprint is not None:
            self.recorder.disown(trial)
        self.outside_code.take(trial.number, files)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        is_saved = report.checkpoint_epoch != trial.checkpoint_epoch
        trial.elapsed_s, trial.checkpoint_epoch = report.elapsed_s, report.checkpoint_epoch
        state = self.learn_from(trial, report, can_wait=report.checkpoint_epoch == report.epoch)
        if state is not None:
            self.setup_cost.take(report.setup_s, report.elapsed_s)
            return self.end(trial, state, verdict=VERDICTS.get(state, Verdict.END))
        if is_saved:
            self.ledger.flush()  # a checkpoint whose epoch is not on record is of no use after a crash
        return Verdict.CONTINUE

    def _learn(self, trial: Trial, report: Report, *, can_wait: bool) -> Decision:
        loss = self.sweep.metric.sign * report.metrics[self.sweep.metric.name]
        trial.note_epoch(report.epoch, report.metrics, loss=loss)
        self.ledger.add_report(trial.ledger_id, epoch=report.epoch, metrics=report.metrics, elapsed_s=trial.duration_s)
        self.observers.notify("on_report", trial)
        decision = self.rule.report(trial.number, report.epoch, loss)
        if decision is Decision.PAUSE and not can_wait:
            self.ledger.cannot_pause(self.record)
            decision = self.rule.stop_from_now_on()
        return decision

    def _on_ended(self, trial: Trial, event: Ended) -> None:
        trial.elapsed_s = event.elapsed_s
        self.setup_cost.take(event.setup_s, event.elapsed_s)
        trial.checkpoint_epoch = event.checkpoint_epoch
        if trial.epochs:
            self.end(trial, "done")
        else:
            evidence = f"it ended without a report, needed {self.sweep.metric.name}"
            self._on_failed(trial, Failed(cause="bad_metric", evidence=evidence, elapsed_s=event.elapsed_s))

    def _on_failed(self, trial: Trial, failure: Failed) -> None:
        trial.elapsed_s = failure.elapsed_s
        if self.stop_state.reason is None and self.policy.may_retry(trial, failure):
            self.policy.retried(trial, failure)
            self.requeue(trial, failure.evidence, failure=_record(trial, failure, was_retried=True))
            return
        trial.cause, trial.evidence = failure.cause, failure.evidence
        if failure.cause == "diverged":
            self.rule.report(trial.number, trial.epochs + 1, math.inf)
        self.end(trial, "failed", failure=_record(trial, failure, was_retried=False))
        hopeless = self.policy.failed(trial, failure, any_success=self._any_success())
        if hopeless is not None:
            self.stop_state.stop("gave_up", hopeless)

    def _on_unusable(self, trial: Trial, event: Unusable) -> None:
        """The user's mistake, unless it could be used before: then somebody edits it while the sweep runs."""
        if any(each.epochs and each.ran_in_slot for each in self.trials.values()):
            self._on_failed(trial, Failed(cause="user_error", evidence=event.evidence, place=event.evidence))
            return
        self.stop_state.give_up(Problem(where=("trainable",), message=event.evidence))
        self.end(trial, "interrupted")

    def _any_success(self) -> bool:
        return any(trial.state in TRAINABLE_STATES for trial in self.trials.values())


def _record(trial: Trial, failure: Failed, *, was_retried: bool) -> FailureRecord:
    return FailureRecord(
        number=trial.number,
        attempt=trial.attempts,
        cause=failure.cause,
        evidence=failure.evidence,
        place=failure.place,
        was_retried=was_retried,
    )
