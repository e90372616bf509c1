"""What an earlier run of a sweep left in the ledger, told again to a fresh searcher and a fresh stopping rule."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from hpsearch.engine.failure_policy import FailurePolicy
from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import (
    COMPLETE_STATES,
    HALTED_STATES,
    INTERRUPTED_STATES,
    FailureRecord,
    ReportRecord,
    SweepRecord,
    TrialRecord,
)
from hpsearch.ledger.store import Ledger
from hpsearch.slots.protocol import Failed
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Decision, FallbackRule


@final
@dataclass(frozen=True, kw_only=True)
class Replay:
    """Brings the parts of an engine to where they were.

    It writes nothing but the retries that the user asks for, and which checkpoints are gone.
    """

    sweep: Sweep
    """As it is now; its limits may have changed."""
    record: SweepRecord
    """As the earlier run left it."""
    ledger: Ledger
    """Where both are."""
    trials: dict[int, Trial]
    """The engine's, empty."""
    rule: FallbackRule
    """Has heard nothing yet."""
    queue: TrialQueue
    """Of a searcher that has heard nothing but priors."""
    policy: FailurePolicy
    """Has seen no failure yet."""
    recorder: TrialRecorder
    """Knows which checkpoints are there, and which are of use."""
    last_epoch: int | None
    """`limits.epochs` of the earlier run."""
    retry_failed: bool
    """Failed trials are tried again too, as if for the first time."""

    def run(
        self, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord], failures: Iterable[FailureRecord]
    ) -> None:
        """Hear everything in its order; trials by number, reports and failures as they came."""
        trials = list(trials)
        if self.record.can_pause is False or (self.record.can_pause is None and _never_paused(trials)):
            self.rule.stop_from_now_on()
        for record in trials:
            self.trials[record.number] = Trial.from_record(record)
        reports = list(reports)
        self._note(reports)
        for trial in self.trials.values():
            self.recorder.correct_checkpoint(trial)
        if self.retry_failed:
            self.ledger.reset_failures(record.id for record in trials if record.state == "failed")
        self._remember(failures)
        for trial in self.trials.values():
            if self.retry_failed and trial.state == "failed":
                trial.state, trial.cause, trial.evidence = "queued", None, None
        self._teach(trials)
        decisions, paused_after = self._hear(reports)
        for record in sorted(trials, key=lambda record: record.ended_at or ""):
            trial = self.trials[record.number]
            self.recorder.rank(trial)
            if trial.outcome is None and trial.number in paused_after:
                self.queue.learn_of_pause(trial, after=paused_after[trial.number])
            self._take_over(trial, decisions.get(record.number))

    def _note(self, reports: Iterable[ReportRecord]) -> None:
        """Each trial has its epochs again."""
        for report in reports:
            trial = self.trials[report.number]
            trial.note_epoch(report.epoch, report.metrics, loss=self._loss(report))
            trial.past_s = max(trial.past_s, report.elapsed_s)

    def _teach(self, records: Iterable[TrialRecord]) -> None:
        """Let the searcher hear who began and who ended, in the order in which they did: CMA-ES counts by it."""
        events: list[tuple[str, bool, int]] = []
        began_at = ""
        for record in records:
            began_at = max(began_at, record.started_at)  # a clock that was set back changes no order
            events.append((began_at, False, record.number))
            if self.trials[record.number].state not in INTERRUPTED_STATES:
                events.append((max(began_at, record.ended_at or ""), True, record.number))
        for _, has_ended, number in sorted(events):
            if has_ended:
                self.queue.learn(self.trials[number])
            else:
                self.queue.adopt(number, dict(self.trials[number].point))

    def _hear(self, reports: Iterable[ReportRecord]) -> tuple[dict[int, Decision], dict[int, int]]:
        """The rule's last decision on each trial, and the last epoch after which it was paused."""
        decisions: dict[int, Decision] = {}
        paused_after: dict[int, int] = {}
        for report in reports:
            decision = self.rule.report(report.number, report.epoch, self._loss(report))
            decisions[report.number] = decision
            if decision is Decision.PAUSE:
                paused_after[report.number] = report.epoch
        return decisions, paused_after

    def _loss(self, report: ReportRecord) -> float:
        return self.sweep.metric.sign * report.metrics[self.sweep.metric.name]

    def _remember(self, failures: Iterable[FailureRecord]) -> None:
        """Retries are used up, and identical failures add up, over restarts."""
        for failure in failures:
            trial = self.trials[failure.number]
            if failure.counts and not (self.retry_failed and trial.state == "failed"):
                event = Failed(cause=failure.cause, evidence=failure.evidence, place=failure.place)
                if failure.was_retried:
                    self.policy.retried(trial, event)
                else:
                    self.policy.failed(trial, event, any_success=True)

    def _take_over(self, trial: Trial, decision: Decision | None) -> None:
        """Trials that ran or waited are tried again; finished ones may go further than they were asked to."""
        if trial.state in INTERRUPTED_STATES:
            trial.state = "queued"
            self.queue.try_again(trial.number)
            return
        goes_further = self.sweep.max_epochs is None or trial.epochs < self.sweep.max_epochs
        has_more = trial.epochs == self.last_epoch and goes_further
        trial.is_final = trial.state == "done" and not has_more
        if trial.state in COMPLETE_STATES and has_more:
            if decision is Decision.CONTINUE:
                self.queue.go_further(trial.number)
            elif decision is Decision.PAUSE:
                trial.state = "paused"


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection in the block: 10,000 trials make half a million objects, all of use, looked at again and
    again while there are more and more of them; that was a quarter of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _never_paused(trials: Iterable[TrialRecord]) -> bool:
    """For a sweep whose ledger does not say so: it stopped a trial where it would have paused one with a checkpoint."""
    trained = [trial for trial in trials if trial.reused_from is None]
    return any(trial.state in HALTED_STATES and trial.checkpoint_epoch is None for trial in trained)
