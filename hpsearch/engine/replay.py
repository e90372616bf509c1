"""What an earlier run of a sweep left in the ledger, replayed to a new searcher and a new stopping rule."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from hpsearch.engine.outcomes import Outcomes
from hpsearch.engine.trial import Trial
from hpsearch.ledger.event_order import EventOrder, event_order
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
from hpsearch.stopping import Decision


@final
@dataclass(frozen=True, kw_only=True)
class Past:
    """All that an earlier run of a sweep left in the ledger."""

    trials: Sequence[TrialRecord]
    """The trials, by number."""
    reports: Sequence[ReportRecord]
    """Their reports, in the order in which they arrived."""
    failures: Sequence[FailureRecord] = ()
    """Failed attempts, in the order in which they failed."""
    last_epoch: int | None
    """`limits.epochs` of the earlier run, for trials whose end is not in the journal."""

    @classmethod
    def read(cls, ledger: Ledger, record: SweepRecord) -> Past:
        """Read what earlier runs of a sweep left in the ledger."""
        with without_garbage_collection():
            return cls(
                trials=ledger.trials(record),
                reports=ledger.reports(record),
                failures=ledger.failures(record),
                last_epoch=record.spec["limits"]["epochs"],
            )


@final
@dataclass(frozen=True, kw_only=True)
class Replay:
    """Brings the parts of a new engine to the state in which the earlier run left theirs.

    It writes nothing to the ledger but the retries that the user asks for, and checkpoints that are gone.
    """

    sweep: Sweep
    """The sweep as it runs now; its limits may have changed."""
    record: SweepRecord
    """The sweep as the earlier run left it in the ledger."""
    past: Past
    """What is replayed."""
    outcomes: Outcomes
    """Holds the new parts that are brought up to date: trials, searcher, stopping rule, failure policy."""
    retry_failed: bool
    """Whether failed trials are retried, as if for the first time."""

    def run(self) -> None:
        """Replay everything in its order; to be called once."""
        trials, recorder = self.outcomes.trials, self.outcomes.recorder
        if self._cannot_pause():
            self.outcomes.rule.stop_from_now_on()
        for record in self.past.trials:
            trials.add(Trial.from_record(record))
        self._add_epochs()
        for trial in trials.values():
            recorder.correct_checkpoint(trial)
        failed = [trial for trial in trials.values() if trial.state == "failed"]
        if self.retry_failed:
            recorder.reset_failures(trial.ledger_id for trial in failed)
        self._replay_failures()
        for trial in failed if self.retry_failed else ():
            trial.state, trial.cause, trial.evidence = "queued", None, None
        order = event_order(recorder.ledger.home / self.record.folder)
        self._tell_searcher(order)
        decisions, paused_after = self._replay_reports()
        for record in sorted(self.past.trials, key=order.end_of):
            trial = trials[record.number]
            recorder.rank_checkpoint(trial)
            if trial.outcome is None and trial.number in paused_after:
                self.outcomes.tell_outcome(trial, trial.outcome_after(paused_after[trial.number]))
            self._queue(trial, decisions.get(record.number), limit=order.limits.get(trial.number, self.past.last_epoch))

    def _cannot_pause(self) -> bool:
        """Whether the earlier run could not pause trials; in an old ledger, only its trials show that."""
        can_pause = self.record.can_pause
        return can_pause is False or (can_pause is None and _never_paused(self.past.trials))

    def _add_epochs(self) -> None:
        """Add the reported epochs to each trial."""
        for report in self.past.reports:
            trial = self.outcomes.trials[report.number]
            trial.note_epoch(report.epoch, report.metrics, loss=self._loss(report))
            trial.past_s = max(trial.past_s, report.elapsed_s)

    def _tell_searcher(self, order: EventOrder) -> None:
        """Report to the searcher which trials began and ended, in the order of these events: CMA-ES depends on it."""
        events: list[tuple[float, bool, int]] = []
        began_at = 0
        for record in self.past.trials:
            began_at = max(began_at, order.began.get(record.number, 0))
            events.append((began_at, False, record.number))
            if self.outcomes.trials[record.number].state not in INTERRUPTED_STATES:
                events.append((max(began_at, order.end_of(record)), True, record.number))
        for _, has_ended, number in sorted(events):
            trial = self.outcomes.trials[number]
            if has_ended:
                self.outcomes.tell_searcher(trial)
            else:
                self.outcomes.searcher.adopt(number, dict(trial.point))

    def _replay_reports(self) -> tuple[dict[int, Decision], dict[int, int]]:
        """The stopping rule's last decision on each trial, and the last epoch after which it was paused."""
        decisions: dict[int, Decision] = {}
        paused_after: dict[int, int] = {}
        for report in self.past.reports:
            decision = self.outcomes.rule.report(report.number, report.epoch, self._loss(report))
            decisions[report.number] = decision
            if decision is Decision.PAUSE:
                paused_after[report.number] = report.epoch
        return decisions, paused_after

    def _loss(self, report: ReportRecord) -> float:
        return self.sweep.metric.sign * report.metrics[self.sweep.metric.name]

    def _replay_failures(self) -> None:
        """Count the retries and identical failures of earlier runs."""
        for failure in self.past.failures:
            trial = self.outcomes.trials[failure.number]
            if failure.counts and not (self.retry_failed and trial.state == "failed"):
                event = Failed(cause=failure.cause, evidence=failure.evidence, place=failure.place)
                if failure.was_retried:
                    self.outcomes.policy.note_retry(trial, event)
                else:
                    self.outcomes.policy.note_failure(trial, event, any_success=True, any_report=True)

    def _queue(self, trial: Trial, decision: Decision | None, *, limit: int | None) -> None:
        """Retry a trial that ran or waited; extend one that is done if the limit of epochs was raised since.

        Args:
            trial: The trial.
            decision: The stopping rule's last decision on it.
            limit: `limits.epochs` when it ended. A run that was to extend all trials may have been killed before this.
        """
        trials = self.outcomes.trials
        if trial.state in INTERRUPTED_STATES:
            trial.state = "queued"
            trials.to_retry.append(trial.number)
            return
        is_raised = self.sweep.max_epochs is None or trial.epochs < self.sweep.max_epochs
        has_more = trial.epochs == limit and is_raised
        trial.is_final = trial.state == "done" and not has_more
        if trial.state in COMPLETE_STATES and has_more:
            if decision is Decision.CONTINUE:
                trials.to_extend[trial.number] = None
            elif decision is Decision.PAUSE:
                trial.state = "paused"


def _never_paused(trials: Sequence[TrialRecord]) -> bool:
    """Whether a sweep stopped a trial where it would have paused one with a checkpoint; for ledgers that don't say."""
    trained = [trial for trial in trials if trial.reused_from is None]
    return any(trial.state in HALTED_STATES and trial.checkpoint_epoch is None for trial in trained)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Turn the garbage collector off for the block, and on again if it was on.

    10,000 trials make half a million objects, none of them garbage, which it would visit again and again: a quarter of
    the time that it takes to resume such a sweep.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
