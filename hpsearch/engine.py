"""What happens to trials, without Ray: asks the searcher, asks the stopping rule, writes the ledger.

The engine hands out *legs*: one attempt (or, after a pause, one further stretch) of one trial, run in one slot. The
driver carries legs to slots and events back. Every change is in the ledger before its effect leaves this module, and
nothing here knows processes, so that a simulated executor with a clock of its own can drive it.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Literal

from hpsearch.errors import Problem, SpecError
from hpsearch.failures import FailurePolicy
from hpsearch.ledger.memory import Memory
from hpsearch.ledger.records import CAUSE_CLASSES, ReportRecord, SweepRecord, SweepState, TrialRecord, TrialState
from hpsearch.ledger.store import Ledger, now
from hpsearch.search.contract import Outcome, Searcher
from hpsearch.slots.events import Assignment, Ended, Event, Failed, Peaks, Report, Unusable
from hpsearch.space import to_config
from hpsearch.stopping import Decision, StoppingRule, make_stopping_rule
from hpsearch.sweep import Sweep
from hpsearch.trial_run import Observer, TrialRun

SAVE_EPOCHS_AHEAD = 64
"""Rungs that an assignment names at most; a slot saves by the clock besides."""


class NoLeg(Enum):
    """Why there is no leg to run."""

    WAIT = "wait"
    """A trial that runs may still free a place, fail and be tried again, or be promoted."""
    OVER = "over"
    """There will never be another one."""


class Verdict(Enum):
    """What a slot does after an event."""

    GO_ON = "go on"
    END = "end"
    """Let go of the trial; its state is on disk as far as it ever will be."""
    SAVE_AND_END = "save and end"
    """Write a checkpoint of the epoch just reported, then let go."""


class Engine:
    """The state of one running sweep; not safe for threads."""

    def __init__(
        self,
        *,
        sweep: Sweep,
        searcher: Searcher,
        rule: StoppingRule,
        ledger: Ledger,
        record: SweepRecord,
        memory: Memory | None = None,
        concurrent: int = 1,
        observers: Iterable[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweep = sweep
        self.max_trials = sweep.max_trials
        self.concurrent = concurrent
        self.trials: dict[int, TrialRun] = {}
        self.reason: str | None = None
        self.state: SweepState = "done"
        self.mistake: SpecError | None = None
        self.record, self.observers = record, tuple(observers)
        self._searcher, self._rule, self._ledger, self._clock = searcher, rule, ledger, clock
        self._memory = memory
        self._found: TrialRun | None = None
        self._sign = sweep.metric.sign
        self._started_at = clock()
        self._running: set[int] = set()
        self._retries: deque[int] = deque()
        self._waiting: deque[int] = deque()
        self._policy = FailurePolicy(sweep.limits)
        self._heard: list[tuple[int, int, float]] = []
        self._exhausted = False

    # -- after a restart ---------------------------------------------------------------------------------------------

    def replay(self, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord], *, last_epoch: int | None) -> None:
        """Take over what an earlier run of this sweep left in the ledger; to be called once, before anything else.

        The searcher and the stopping rule hear everything again, in its order. Trials that ran, or waited for another
        attempt, are tried again from their checkpoints; finished ones stay finished, unless the sweep now goes
        further than `last_epoch` and the stopping rule lets them go on.

        Args:
            trials: By number.
            reports: In the order in which they came.
            last_epoch: `limits.epochs` of the earlier run.
        """
        trials = list(trials)
        trained = [record for record in trials if record.reused_from is None]
        if any(record.state in ("stopped", "paused") and record.checkpoint_epoch is None for record in trained):
            self._rule = make_stopping_rule(self.sweep, can_pause=False)
        for record in trials:
            self.trials[record.number] = TrialRun.from_record(record)
            self._searcher.adopt(record.number, dict(record.point))
        decisions = self._hear_again(reports)
        for record in sorted(trials, key=lambda record: record.ended_at or ""):
            self._take_over(self.trials[record.number], decisions.get(record.number), last_epoch)

    def find_work(self) -> bool:
        """Whether a leg will come; trials that the ledger can answer are answered on the way. To be called once."""
        self._found = self._next_trial()
        return self._found is not None

    def _hear_again(self, reports: Iterable[ReportRecord]) -> dict[int, Decision]:
        """Replay the reports; the last decision on each trial."""
        decisions: dict[int, Decision] = {}
        for report in reports:
            trial = self.trials[report.number]
            self._note_epoch(trial, report.epoch, report.metrics)
            trial.past_s = max(trial.past_s, report.elapsed_s)
            self._heard.append((trial.number, report.epoch, trial.losses[report.epoch]))
            decisions[trial.number] = self._rule.report(*self._heard[-1])
        return decisions

    def _take_over(self, trial: TrialRun, decision: Decision | None, last_epoch: int | None) -> None:
        goes_further = self.sweep.max_epochs is None or trial.epochs < self.sweep.max_epochs
        if trial.state in ("queued", "running", "interrupted"):
            trial.state = "queued"
            self._retries.append(trial.number)
            return
        self._tell_searcher(trial)
        trial.is_final = trial.state == "done" and not (trial.epochs == last_epoch and goes_further)
        if trial.state in ("done", "reused") and trial.epochs == last_epoch and goes_further:
            if decision is Decision.CONTINUE:
                self._waiting.append(trial.number)
            elif decision is Decision.PAUSE:
                trial.state = "paused"

    # -- legs --------------------------------------------------------------------------------------------------------

    def next_leg(self) -> Assignment | NoLeg:
        """The next leg for a free slot; it counts as running from here."""
        self.tick()
        if self.reason is not None:
            return NoLeg.OVER
        if len(self._running) >= self.concurrent:
            return NoLeg.WAIT
        trial = self._next_trial()
        if trial is not None:
            trial.trained = True
            self._running.add(trial.number)
            self._tell_observers("on_start", trial)
            return self._assignment(trial)
        return NoLeg.WAIT if self._running else NoLeg.OVER

    def on_event(self, number: int, event: Event) -> Verdict:
        """Take in what a slot says of the leg of trial `number`."""
        trial = self.trials[number]
        if number not in self._running:
            return Verdict.END  # it was given up while this event was on its way
        trial.note_peaks(getattr(event, "peaks", Peaks()))
        if isinstance(event, Report):
            return self._on_report(trial, event)
        if isinstance(event, Ended):
            self._on_ended(trial, event)
        elif isinstance(event, Failed):
            self._on_failed(trial, event)
        else:
            self._on_unusable(trial, event)
        return Verdict.END

    def tick(self) -> None:
        """To be called a few times a second: commits late reports, ends a sweep whose time is up."""
        self._ledger.tick()
        limit = self.sweep.limits.time_s
        if limit is not None and self._clock() - self._started_at >= limit:
            self.stop("done", f"the time limit of {limit:g} s was reached")

    def requeue_running(self, evidence: str) -> None:
        """Every slot is gone, through no fault of the trials: they will be tried again, from their checkpoints."""
        for number in sorted(self._running):
            trial = self.trials[number]
            self._requeue(trial, evidence)

    def stop(self, state: SweepState, reason: str) -> None:
        """Start nothing more; what runs is interrupted after its next report. The first reason stays."""
        if self.reason is None:
            self.state, self.reason = state, reason

    def finish(self) -> None:
        """Close the books: whatever still runs is interrupted, whatever waits is stopped."""
        for trial in self.trials.values():
            if trial.state == "paused" and self.state == "done":
                trial.state = self._shown_state(trial, "stopped")
                self._ledger.update_trial(trial.row, state=trial.state)
            elif trial.state in ("running", "queued"):
                self._close(trial, "interrupted")
        self._ledger.end_sweep(self.record, self.state, self.reason)

    @property
    def running(self) -> int:
        """Legs in slots."""
        return len(self._running)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _next_trial(self) -> TrialRun | None:
        """The next trial that needs a slot; those that the ledger can answer are over when this returns."""
        if self._found is not None:
            found, self._found = self._found, None
            return found
        while (trial := self._again() or self._new() or self._last_chance()) is not None:
            if not self._is_answered(trial):
                return trial
        return None

    def _is_answered(self, trial: TrialRun) -> bool:
        """Give a trial the epochs that an equal one has on record; whether it needs no slot any more."""
        if self._memory is None or trial.trained:
            return False
        if trial.known is None:
            trial.known = self._memory.recall(trial.fingerprint, row=trial.row)
        if trial.known is None:
            return False
        trial.reused_from, trial.past_s = trial.known.name, 0.0
        for known in trial.known.reports[trial.epochs :]:
            report = Report(
                epoch=known.epoch, metrics=known.metrics, elapsed_s=known.elapsed_s, checkpoint_epoch=known.epoch
            )
            if self._on_report(trial, report) is not Verdict.GO_ON:
                return True
        if trial.known.complete:
            self._end(trial, "done")
            return True
        self._memory.take_checkpoint(trial.known, trial.number)
        trial.past_s, trial.elapsed_s = trial.duration_s, 0.0
        return False

    def _again(self) -> TrialRun | None:
        """A trial that was tried before and goes on: a retry, or a paused one that the stopping rule promotes."""
        if self._retries:
            trial = self.trials[self._retries.popleft()]
            trial.attempts += 1
            return self._resume(trial)
        return self._promoted(self._waiting.popleft() if self._waiting else self._rule.promote())

    def _last_chance(self) -> TrialRun | None:
        """When nothing runs and nothing is left to start, the rule may be generous, so that someone reaches the end."""
        return None if self._running else self._promoted(self._rule.promote(at_end=True))

    def _promoted(self, number: int | None) -> TrialRun | None:
        """After a restart a rule may name a trial that was promoted before it, and runs or failed since: skip it."""
        while number is not None and self._is_over(self.trials[number]):
            number = self._rule.promote()
        return None if number is None else self._resume(self.trials[number])

    def _is_over(self, trial: TrialRun) -> bool:
        """Whether a trial must not go on, whatever the rule believes: it runs, failed, or came to its own end."""
        return trial.number in self._running or trial.is_final or trial.state in ("running", "queued", "failed")

    def _resume(self, trial: TrialRun) -> TrialRun:
        trial.state, trial.cause, trial.evidence = "running", None, None
        self._ledger.update_trial(trial.row, state="running", attempts=trial.attempts, ended_at=None)
        return trial

    def _new(self) -> TrialRun | None:
        number = len(self.trials) + 1
        if self._exhausted or number > self.max_trials:
            return None
        point = self._searcher.ask(number)
        if point is None:
            self._exhausted = True
            return None
        fingerprint = None if self._memory is None else self._memory.fingerprint(point)
        row = self._ledger.add_trial(self.record, number, point=point, seed=self.sweep.seed, fingerprint=fingerprint)
        self.trials[number] = TrialRun(number=number, point=point, row=row, fingerprint=fingerprint)
        return self.trials[number]

    def _assignment(self, trial: TrialRun) -> Assignment:
        last = self.sweep.max_epochs
        limit = self.sweep.limits.trial_time_s
        epochs = {epoch for epoch in self._rule.rungs()[:SAVE_EPOCHS_AHEAD] if epoch > trial.epochs} | (
            {last} if last else set()
        )
        return Assignment(
            number=trial.number,
            attempt=trial.attempts,
            config=to_config(trial.point),
            seed=self.sweep.seed,
            max_epochs=last,
            known_epochs=trial.epochs,
            save_epochs=tuple(sorted(epochs)),
            time_left_s=None if limit is None else max(limit - trial.duration_s, 0.0),
        )

    def _on_report(self, trial: TrialRun, report: Report) -> Verdict:
        is_saved = report.checkpoint_epoch != trial.checkpoint_epoch
        trial.elapsed_s, trial.checkpoint_epoch = report.elapsed_s, report.checkpoint_epoch
        decision = Decision.CONTINUE
        if report.epoch > trial.epochs:  # an attempt that began at 0 again repeats what is known
            decision = self._learn(trial, report)
        if is_saved and trial.trained:
            self._ledger.flush()  # a checkpoint whose epoch is not on record is of no use after a crash
        if decision is Decision.STOP:
            return self._end(trial, "stopped")
        if self.sweep.max_epochs is not None and report.epoch >= self.sweep.max_epochs:
            return self._end(trial, "done")
        if decision is Decision.PAUSE:
            return self._end(trial, "paused")
        if self.reason is not None:
            return self._end(trial, "interrupted", verdict=Verdict.SAVE_AND_END)
        return Verdict.GO_ON

    def _learn(self, trial: TrialRun, report: Report) -> Decision:
        self._note_epoch(trial, report.epoch, report.metrics)
        self._ledger.add_report(trial.row, epoch=report.epoch, metrics=report.metrics, elapsed_s=trial.duration_s)
        self._tell_observers("on_report", trial)
        return self._decide(trial, report)

    def _note_epoch(self, trial: TrialRun, epoch: int, metrics: Mapping[str, float]) -> None:
        trial.note_epoch(epoch, metrics, loss=self._sign * metrics[self.sweep.metric.name])

    def _decide(self, trial: TrialRun, report: Report) -> Decision:
        """Ask the stopping rule; if it wants to pause a trial whose state is not on disk, one that stops takes over."""
        self._heard.append((trial.number, report.epoch, trial.losses[report.epoch]))
        decision = self._rule.report(*self._heard[-1])
        if decision is Decision.PAUSE and report.checkpoint_epoch != report.epoch:
            self._rule = make_stopping_rule(self.sweep, can_pause=False)
            for heard in self._heard:
                decision = self._rule.report(*heard)
        return decision

    def _on_ended(self, trial: TrialRun, event: Ended) -> None:
        trial.elapsed_s = event.elapsed_s
        trial.checkpoint_epoch = event.checkpoint_epoch or trial.checkpoint_epoch
        if trial.epochs:
            self._end(trial, "done")
        else:
            evidence = f"it ended without a report, needed {self.sweep.metric.name}"
            self._on_failed(trial, Failed(cause="bad_metric", evidence=evidence, elapsed_s=event.elapsed_s))

    def _on_failed(self, trial: TrialRun, failure: Failed) -> None:
        trial.elapsed_s = failure.elapsed_s
        if self.reason is None and self._policy.may_retry(trial, failure):
            self._policy.retried(trial, failure)
            self._requeue(trial, failure.evidence)
            return
        trial.cause, trial.evidence = failure.cause, failure.evidence
        if failure.cause == "diverged":
            self._heard.append((trial.number, trial.epochs + 1, math.inf))
            self._rule.report(*self._heard[-1])
        self._end(trial, "failed")
        hopeless = self._policy.failed(trial, failure, any_success=self._any_success())
        if hopeless is not None:
            self.stop("gave_up", hopeless)

    def _requeue(self, trial: TrialRun, evidence: str) -> None:
        self._running.discard(trial.number)
        self._retries.append(trial.number)
        trial.state = "queued"
        trial.evidence = evidence
        trial.past_s, trial.elapsed_s = trial.duration_s, 0.0
        self._ledger.update_trial(trial.row, state="queued", evidence=evidence, duration_s=trial.duration_s)
        self._tell_observers("on_end", trial)

    def _on_unusable(self, trial: TrialRun, event: Unusable) -> None:
        """The user's mistake, unless it could be used before: then somebody edits it while the sweep runs."""
        if any(each.epochs and each.trained for each in self.trials.values()):
            self._on_failed(trial, Failed(cause="user_error", evidence=event.evidence, place=event.evidence))
            return
        self.mistake = self.mistake or SpecError([Problem(where=("trainable",), message=event.evidence)])
        self.stop("gave_up", event.evidence)
        self._end(trial, "interrupted")

    def _end(self, trial: TrialRun, state: TrialState, *, verdict: Verdict = Verdict.END) -> Verdict:
        self._running.discard(trial.number)
        self._close(trial, self._shown_state(trial, state))
        self._tell_searcher(trial)
        self._tell_observers("on_end", trial)
        return verdict

    def _shown_state(self, trial: TrialRun, state: TrialState) -> TrialState:
        """`reused` for a trial that is over without having had a slot."""
        return "reused" if state in ("done", "stopped") and trial.reused_from and not trial.trained else state

    def _close(self, trial: TrialRun, state: TrialState) -> None:
        trial.state = state
        best = trial.losses[trial.best_epoch] * self._sign if trial.best_epoch else None
        self._ledger.update_trial(
            trial.row,
            state=state,
            cause=trial.cause,
            evidence=trial.evidence if state == "failed" else None,
            attempts=trial.attempts,
            epochs_trained=trial.epochs,
            best_value=best,
            best_epoch=trial.best_epoch,
            last_metrics=trial.metrics,
            ended_at=now(),
            duration_s=trial.duration_s,
            gpu_peak_gib=trial.peaks.gpu_gib,
            host_peak_gib=trial.peaks.host_gib,
            checkpoint_epoch=trial.checkpoint_epoch if trial.trained else None,
            reused_from=trial.reused_from,
        )
        trial.past_s, trial.elapsed_s = trial.duration_s, 0.0

    def _tell_searcher(self, trial: TrialRun) -> None:
        """A paused trial is told as stopped; should it go on, it is told again with its longer curve."""
        state: Literal["done", "stopped", "infeasible"] | None = None
        if trial.state in ("done", "stopped", "paused", "reused"):
            state = "done" if trial.state in ("done", "reused") else "stopped"
        elif trial.state == "failed" and trial.cause is not None and CAUSE_CLASSES[trial.cause] != "infra":
            state = "infeasible"
        if state is not None:
            trial.told = True
            self._searcher.tell(Outcome(number=trial.number, point=trial.point, state=state, losses=dict(trial.losses)))
        elif not trial.told:
            self._searcher.drop(trial.number)

    def _any_success(self) -> bool:
        return any(trial.state in ("done", "stopped", "paused", "reused") for trial in self.trials.values())

    def _tell_observers(self, method: str, trial: TrialRun) -> None:
        """Whoever can't show a sweep any more (a closed pipe, say) is left out; the sweep goes on."""
        for observer in self.observers:
            try:
                getattr(observer, method)(trial)
            except Exception:
                traceback.print_exc()  # goes to the sweep's log
                self.observers = tuple(each for each in self.observers if each is not observer)
