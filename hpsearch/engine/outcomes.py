"""What follows from each event of a trial: its state, the verdict for its slot, and what the searcher learns.

Every change is in the ledger before its effect leaves this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from hpsearch.engine.failure_policy import MAX_BEGINS, FailurePolicy
from hpsearch.engine.notes import OutsideCode, SetupCost
from hpsearch.engine.observers import Observers
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.registry import Trials
from hpsearch.engine.status import StopState
from hpsearch.engine.trial import Trial
from hpsearch.errors import Problem
from hpsearch.ledger.records import FailureRecord, TrialState
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.slots.protocol import Ended, Event, Failed, Peaks, Report, Unusable, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Decision, FallbackRule

VERDICTS = {"done": Verdict.RUN_TO_END, "interrupted": Verdict.SAVE_AND_END}
"""Verdict for the slot of a trial that a report brings into this state; in every other state it ends at once."""


@final
@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Handles the events of one sweep's trials, whether a slot sends them or the ledger has them on record."""

    sweep: Sweep
    """The sweep as it runs now."""
    trials: Trials
    """All trials of the sweep."""
    searcher: Searcher
    """Learns from trials that are over or paused."""
    rule: FallbackRule
    """Decides after each new epoch whether the trial continues."""
    recorder: TrialRecorder
    """Writes trials to the ledger."""
    policy: FailurePolicy
    """Decides what follows from a failure."""
    stop_state: StopState
    """Whether the sweep ends; a failure may end it."""
    observers: Observers
    """Displays, which are notified of each change."""
    outside_code: OutsideCode
    """Notes which files trials import from outside the sweep's snapshot of the code."""
    setup_cost: SetupCost
    """Notes when trials spend much of their time on their set-up."""

    def handle(self, trial: Trial, event: Event) -> Verdict:
        """Handle an event of a running trial; the verdict says what its slot does next."""
        if isinstance(event, Failed) and not event.has_begun:
            return self._on_no_begin(trial, event)
        self.policy.note_begin()
        trial.note_peaks(getattr(event, "peaks", Peaks()))
        if isinstance(event, Report | Ended) and event.outside_code:
            self._note_outside_code(trial, event.outside_code)
        if isinstance(event, Report):
            return self._on_report(trial, event)
        if isinstance(event, Ended):
            self._on_ended(trial, event)
        elif isinstance(event, Failed):
            self._on_failed(trial, event)
        else:
            self._on_unusable(trial, event)
        return Verdict.END

    def add_report(self, trial: Trial, report: Report, *, can_wait: bool) -> TrialState | None:
        """Record an epoch and decide whether the trial continues.

        Args:
            trial: The trial that has finished the epoch.
            report: From a slot, or from the ledger where an equal trial has trained the epoch.
            can_wait: Whether the trial can continue from this epoch later: its checkpoint is on disk, or none is
                needed.

        Returns:
            The state in which the trial ends or pauses; None if it continues.
        """
        decision = Decision.CONTINUE
        if report.epoch > trial.epochs:  # an attempt that began at 0 again repeats epochs that are on record
            decision = self._decide(trial, report, can_wait=can_wait)
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
        """End a trial that leaves its slot, or that needs none.

        Args:
            trial: The trial that ends.
            state: Its new state; not `queued` or `running`.
            verdict: What its slot does next.
            failure: The failure that ended it, if one did.

        Returns:
            The same verdict.
        """
        self.trials.running.discard(trial.number)
        self.recorder.close(trial, state, failure=failure)
        self.tell_searcher(trial)
        self.observers.notify("on_end", trial)
        return verdict

    def requeue(self, trial: Trial, evidence: str, *, failure: FailureRecord | None = None) -> None:
        """Queue a trial that leaves its slot for another attempt, which begins from its checkpoint.

        Args:
            trial: A trial that is running.
            evidence: Why its attempt ended, one sentence.
            failure: The failure that ended it; None if the trial is not to blame.
        """
        self.trials.running.discard(trial.number)
        self.trials.to_retry.append(trial.number)
        self.recorder.requeue(trial, evidence, failure=failure)
        self.observers.notify("on_end", trial)

    def tell_searcher(self, trial: Trial) -> None:
        """Report a trial that is over or paused to the searcher; one that continues later is reported again then.

        A trial that has no outcome, and had none before, is dropped: the searcher no longer counts it as pending.
        """
        outcome = trial.outcome
        if outcome is not None:
            self.tell_outcome(trial, outcome)
        elif not trial.reported_to_searcher:
            self.searcher.drop(trial.number)

    def tell_outcome(self, trial: Trial, outcome: Outcome) -> None:
        """Report this outcome of a trial to the searcher."""
        trial.reported_to_searcher = True
        self.searcher.tell(outcome)

    def _note_outside_code(self, trial: Trial, files: Mapping[str, str]) -> None:
        """Note files that the trial depends on, and clear its fingerprint, of which they are no part."""
        if trial.fingerprint is not None:
            self.recorder.clear_fingerprint(trial)
        self.outside_code.add(trial.number, files)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        is_saved = report.checkpoint_epoch != trial.checkpoint_epoch
        trial.elapsed_s, trial.checkpoint_epoch = report.elapsed_s, report.checkpoint_epoch
        state = self.add_report(trial, report, can_wait=report.checkpoint_epoch == report.epoch)
        if state is not None:
            self.setup_cost.add(report.setup_s, report.elapsed_s)
            return self.end(trial, state, verdict=VERDICTS.get(state, Verdict.END))
        if is_saved:
            self.recorder.flush()  # a checkpoint whose epoch is not on record is useless after a crash
        return Verdict.CONTINUE

    def _decide(self, trial: Trial, report: Report, *, can_wait: bool) -> Decision:
        """Record a new epoch, and ask the stopping rule; a trial that cannot be paused is stopped instead."""
        loss = self.sweep.metric.sign * report.metrics[self.sweep.metric.name]
        trial.note_epoch(report.epoch, report.metrics, loss=loss)
        self.recorder.add_report(trial, report)
        self.observers.notify("on_report", trial)
        decision = self.rule.report(trial.number, report.epoch, loss)
        if decision is Decision.PAUSE and not can_wait:
            self.recorder.disable_pausing()
            decision = self.rule.stop_from_now_on()
        return decision

    def _on_ended(self, trial: Trial, event: Ended) -> None:
        """The trainable has returned before the last epoch: the trial is done if it has reported at all."""
        trial.elapsed_s = event.elapsed_s
        self.setup_cost.add(event.setup_s, event.elapsed_s)
        trial.checkpoint_epoch = event.checkpoint_epoch
        if trial.epochs:
            self.end(trial, "done")
        else:
            evidence = f"it ended without a report: call {self.sweep.metric.report_call} once an epoch"
            self._on_failed(trial, Failed(cause="bad_metric", evidence=evidence, elapsed_s=event.elapsed_s))

    def _on_failed(self, trial: Trial, failure: Failed) -> None:
        """The attempt has failed: the trial is retried, or fails, and then the sweep may give up."""
        trial.elapsed_s = failure.elapsed_s
        if self.stop_state.reason is None and self.policy.may_retry(trial, failure):
            self.policy.note_retry(trial, failure)
            self.requeue(trial, failure.evidence, failure=_record(trial, failure, was_retried=True))
            return
        trial.cause, trial.evidence = failure.cause, failure.evidence
        if failure.cause == "diverged":
            self.rule.report(trial.number, trial.epochs + 1, math.inf)
        self.end(trial, "failed", failure=_record(trial, failure, was_retried=False))
        reason = self.policy.note_failure(
            trial,
            failure,
            any_success=self.trials.any_succeeded or self.trials.any_beyond(trial.epochs),
            any_report=self.trials.any_trained,
        )
        if reason is not None:
            self.stop_state.stop("gave_up", reason)

    def _on_no_begin(self, trial: Trial, failure: Failed) -> Verdict:
        """The user's code was not reached: the trial is repeated, and interrupted if the sweep ends or it never begins.

        The failure is no configuration's, so it is neither counted nor reported to the searcher.
        """
        trial.begin_failures += 1
        reason = self.policy.note_no_begin(
            failure,
            num_running=len(self.trials.running),
            any_trains=any(self.trials[number].elapsed_s > 0 for number in self.trials.running),
        )
        if reason is not None:
            self.stop_state.stop("gave_up", reason)
        if self.stop_state.reason is None and trial.begin_failures < MAX_BEGINS:
            self.requeue(trial, failure.evidence)
            return Verdict.END
        trial.evidence = failure.evidence
        return self.end(trial, "interrupted")

    def _on_unusable(self, trial: Trial, event: Unusable) -> None:
        """The trainable can't be imported: the sweep ends, unless it could be before, so that it was edited since."""
        if self.trials.any_trained:
            self._on_failed(trial, Failed(cause="user_error", evidence=event.evidence, place=event.evidence))
            return
        self.stop_state.give_up(Problem(where=("trainable",), message=event.evidence))
        self.end(trial, "interrupted")


def _record(trial: Trial, failure: Failed, *, was_retried: bool) -> FailureRecord:
    return FailureRecord(
        number=trial.number,
        attempt=trial.attempts,
        cause=failure.cause,
        evidence=failure.evidence,
        place=failure.place,
        was_retried=was_retried,
    )
