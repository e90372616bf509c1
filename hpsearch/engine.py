"""What happens to trials, without Ray: asks the searcher, asks the stopping rule, writes the ledger.

The engine hands out *legs*: one attempt (or, after a pause, one further stretch) of one trial, run in one slot. The
driver carries legs to slots and events back. Every change is in the ledger before its effect leaves this module, and
nothing here knows processes, so that a simulated executor with a clock of its own can drive it.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from hpsearch.errors import Problem, SpecError, in_short
from hpsearch.failures import FailurePolicy
from hpsearch.ledger.memory import Memory
from hpsearch.ledger.records import FailureRecord, ReportRecord, SweepRecord, SweepState, TrialRecord, TrialState
from hpsearch.ledger.store import Ledger
from hpsearch.lineup import LineUp
from hpsearch.replay import Replay
from hpsearch.retention import Checkpoints
from hpsearch.room import Room
from hpsearch.search.contract import Searcher
from hpsearch.slots.events import Assignment, Ended, Event, Failed, Peaks, Report, Unusable
from hpsearch.space import to_config
from hpsearch.stopping import Decision, Replaceable, StoppingRule, make_stopping_rule
from hpsearch.sweep import Sweep
from hpsearch.trial_run import Observer, TrialRun
from hpsearch.trial_writer import TrialWriter
from hpsearch.waiting import Kind, Waiting

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
        checkpoints: Checkpoints | None = None,
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
        self.waiting = Waiting()
        self.record, self.observers = record, tuple(observers)
        self._searcher, self._ledger, self._clock = searcher, ledger, clock
        self._memory = memory
        self._found: TrialRun | None = None
        self._started_at = clock()
        self._running: set[int] = set()
        self._room: Room | None = None
        self._trials_dir = Path()
        self._policy = FailurePolicy(sweep.limits)
        self._left_out: list[str] = []
        self._rule = Replaceable(rule, otherwise=lambda: make_stopping_rule(sweep, can_pause=False))
        self._line_up = LineUp(
            searcher=searcher,
            rule=self._rule,
            trials=self.trials,
            running=self._running,
            max_trials=self.max_trials,
            clock=clock,
        )
        self._writer = TrialWriter(
            sweep=sweep,
            ledger=ledger,
            record=record,
            trials=self.trials,
            line_up=self._line_up,
            checkpoints=checkpoints,
            code_hash=None if memory is None else memory.code_hash,
        )

    # -- after a restart ---------------------------------------------------------------------------------------------

    def replay(
        self,
        trials: Iterable[TrialRecord],
        reports: Iterable[ReportRecord],
        failures: Iterable[FailureRecord] = (),
        *,
        last_epoch: int | None,
        retry_failed: bool = False,
    ) -> None:
        """Take over what an earlier run of this sweep left in the ledger; to be called once, before anything else.

        The searcher and the stopping rule hear everything again, in its order. Trials that ran, or waited for another
        attempt, are tried again from their checkpoints; finished ones stay finished, unless the sweep now goes
        further than `last_epoch` and the stopping rule lets them go on.

        Args:
            trials: By number.
            reports: In the order in which they came.
            failures: In the order in which they came.
            last_epoch: `limits.epochs` of the earlier run.
            retry_failed: Failed trials are tried again too, as if for the first time.
        """
        Replay(
            sweep=self.sweep,
            record=self.record,
            ledger=self._ledger,
            trials=self.trials,
            rule=self._rule,
            line_up=self._line_up,
            policy=self._policy,
            writer=self._writer,
            last_epoch=last_epoch,
            retry_failed=retry_failed,
        ).run(trials, reports, failures)

    def find_work(self) -> bool:
        """Whether a leg will come; trials that the ledger can answer are answered on the way. To be called once."""
        self._found = self._next_trial()
        return self._found is not None or bool(self._line_up.elsewhere)

    # -- legs --------------------------------------------------------------------------------------------------------

    def next_leg(self) -> Assignment | NoLeg:
        """The next leg for a free slot; it counts as running from here."""
        self.tick()
        if self.reason is not None:
            return NoLeg.OVER
        if len(self._running) >= self.concurrent or (self._room is not None and not self._room.allows_start()):
            self.waiting.over("engine")
            return NoLeg.WAIT
        self.waiting.tell("engine", "searcher", "the search method thinks of a configuration")
        trial = self._next_trial()
        self._tell_waiting(trial)
        if trial is not None:
            trial.trained = True
            self._running.add(trial.number)
            self._tell_observers("on_start", trial)
            return self._assignment(trial)
        return NoLeg.WAIT if self._running or self._line_up.elsewhere else NoLeg.OVER

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
            self._requeue(self.trials[number], evidence)

    def keep_room(self, room: Room, trials_dir: Path) -> None:
        """Begin no trial and commit nothing while the disk is full."""
        self._room, self._trials_dir = room, trials_dir
        self._ledger.wait_before_commits(room.wait_to_commit)

    def stop(self, state: SweepState, reason: str) -> None:
        """Start nothing more; what runs is interrupted after its next report. The first reason stays."""
        if self.reason is None:
            self.state, self.reason = state, reason
            self.waiting.tell("engine", "stopping", f"the sweep ends: {reason}")

    def finish(self) -> None:
        """Close the books: whatever still runs is interrupted, whatever waits is stopped."""
        for trial in self.trials.values():
            if trial.state == "paused" and self.state == "done":
                self._writer.give_up(trial)
            elif trial.state in ("running", "queued"):
                self._writer.close(trial, "interrupted")
        broken = (self._searcher.failure, self._rule.failure, *self._left_out)
        remarks = "; ".join(filter(None, (self.reason or self.exhaustion(), *broken)))
        self._ledger.end_sweep(self.record, self.state, remarks or None)

    def exhaustion(self) -> str | None:
        """That a finite space has no point left though more trials were asked for, in words; None otherwise."""
        asked_for, num_trials = self.sweep.limits.trials, len(self.trials)
        space = self.sweep.space.on_grid if self.sweep.method == "grid" else self.sweep.space
        is_all = self._line_up.is_exhausted or (space.size is not None and num_trials >= space.size)
        return f"every point of the space was tried: {num_trials}" if is_all and asked_for != num_trials else None

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
        while (trial := self._line_up.next(is_idle=not self._running)) is not None:
            if self._is_ours(trial) and not self._is_answered(trial):
                return trial
        return None

    def _tell_waiting(self, trial: TrialRun | None) -> None:
        if trial is None and (self._running or self._line_up.elsewhere):
            self.waiting.tell("engine", *self._awaited())
        else:
            self.waiting.over("engine")

    def _awaited(self) -> tuple[Kind, str]:
        """What free slots wait for when no trial is ready."""
        if elsewhere := self._line_up.elsewhere:
            return "elsewhere", f"trial {elsewhere[0]} waits for another sweep, which trains the same now"
        begun = self.exhaustion() or f"all {len(self.trials)} trials have begun"
        paused = sum(trial.state == "paused" for trial in self.trials.values())
        if paused:
            return "rung", f"{begun}; {paused} are paused at rungs until the {self.running} that run have reported"
        return "begun", f"{begun}, {self.running} still run"

    def _is_ours(self, trial: TrialRun) -> bool:
        """Begin a trial, in the ledger first; false while another process trains the same: others go before it then."""
        memory = self._memory
        if memory is not None and trial.state == "queued" and trial.row and memory.is_busy(trial.fingerprint):
            self._line_up.look_later(trial.number)
            return False
        if trial.row == 0 and memory is not None:
            trial.fingerprint = memory.fingerprint(trial.point)
        with self._ledger.together():
            self._writer.begin(trial)
            holder = None if memory is None else memory.claim(trial.fingerprint, trial.number)
            if holder is not None:
                self._writer.wait_for(trial, holder)
        self.trials[trial.number] = trial
        if holder is not None:
            self._line_up.look_later(trial.number)
        return holder is None

    def _is_answered(self, trial: TrialRun) -> bool:
        """Give a trial the epochs that an equal one has on record; whether it needs no slot any more."""
        if self._memory is None:
            return False
        known = self._memory.recall(trial.fingerprint, row=trial.row, beyond=trial.epochs)
        if known is not None:
            trial.reused_from, trial.past_s = known.name, 0.0
            for each in known.reports[trial.epochs :]:
                report = Report(
                    epoch=each.epoch, metrics=each.metrics, elapsed_s=each.elapsed_s, checkpoint_epoch=each.epoch
                )
                trial.elapsed_s = report.elapsed_s
                if self._take_in(trial, report) is not Verdict.GO_ON:
                    return True
            if known.complete:
                self._end(trial, "done")
                return True
            trial.fold_time()
        if trial.epochs > (trial.checkpoint_epoch or 0):
            lender = self._memory.borrow_checkpoint(
                trial.fingerprint, row=trial.row, number=trial.number, at_most=trial.epochs
            )
            trial.reused_from = lender or trial.reused_from
        return False

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
        return self._take_in(trial, report, is_saved=is_saved)

    def _take_in(self, trial: TrialRun, report: Report, *, is_saved: bool = False) -> Verdict:
        decision = Decision.CONTINUE
        if report.epoch > trial.epochs:  # an attempt that began at 0 again repeats what is known
            decision = self._learn(trial, report)
        if is_saved:
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
        loss = self.sweep.metric.sign * report.metrics[self.sweep.metric.name]
        trial.note_epoch(report.epoch, report.metrics, loss=loss)
        self._ledger.add_report(trial.row, epoch=report.epoch, metrics=report.metrics, elapsed_s=trial.duration_s)
        self._tell_observers("on_report", trial)
        decision = self._rule.report(trial.number, report.epoch, loss)
        if decision is Decision.PAUSE and report.checkpoint_epoch != report.epoch:  # its state is not on disk
            self._ledger.cannot_pause(self.record)
            decision = self._rule.stop_from_now_on()
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
        if failure.cause == "disk_full" and self._room is not None:
            self._room.ran_out(self._trials_dir / f"{trial.number:04d}")
        if self.reason is None and self._policy.may_retry(trial, failure):
            self._policy.retried(trial, failure)
            self._requeue(trial, failure.evidence, failure=_record(trial, failure, was_retried=True))
            return
        trial.cause, trial.evidence = failure.cause, failure.evidence
        if failure.cause == "diverged":
            self._rule.report(trial.number, trial.epochs + 1, math.inf)
        self._end(trial, "failed", failure=_record(trial, failure, was_retried=False))
        hopeless = self._policy.failed(trial, failure, any_success=self._any_success())
        if hopeless is not None:
            self.stop("gave_up", hopeless)

    def _requeue(self, trial: TrialRun, evidence: str, *, failure: FailureRecord | None = None) -> None:
        self._running.discard(trial.number)
        self._line_up.try_again(trial.number)
        self._writer.requeue(trial, evidence, failure=failure)
        self._tell_observers("on_end", trial)

    def _on_unusable(self, trial: TrialRun, event: Unusable) -> None:
        """The user's mistake, unless it could be used before: then somebody edits it while the sweep runs."""
        if any(each.epochs and each.trained for each in self.trials.values()):
            self._on_failed(trial, Failed(cause="user_error", evidence=event.evidence, place=event.evidence))
            return
        self.mistake = self.mistake or SpecError([Problem(where=("trainable",), message=event.evidence)])
        self.stop("gave_up", event.evidence)
        self._end(trial, "interrupted")

    def _end(
        self,
        trial: TrialRun,
        state: TrialState,
        *,
        verdict: Verdict = Verdict.END,
        failure: FailureRecord | None = None,
    ) -> Verdict:
        self._running.discard(trial.number)
        self._writer.close(trial, state, failure=failure)
        self._line_up.learn(trial)
        self._tell_observers("on_end", trial)
        return verdict

    def _any_success(self) -> bool:
        return any(trial.state in ("done", "stopped", "paused", "reused") for trial in self.trials.values())

    def _tell_observers(self, method: str, trial: TrialRun) -> None:
        """Whoever can't show a sweep any more (a closed pipe, say) is left out; the sweep goes on."""
        for observer in self.observers:
            try:
                getattr(observer, method)(trial)
            except Exception as error:
                with suppress(OSError):
                    traceback.print_exc()  # goes to the sweep's log
                self._left_out.append(f"{type(observer).__name__} raised {in_short(error)}; it shows nothing since")
                self.observers = tuple(each for each in self.observers if each is not observer)


def _record(trial: TrialRun, failure: Failed, *, was_retried: bool) -> FailureRecord:
    return FailureRecord(
        number=trial.number,
        attempt=trial.attempts,
        cause=failure.cause,
        evidence=failure.evidence,
        place=failure.place,
        was_retried=was_retried,
    )
