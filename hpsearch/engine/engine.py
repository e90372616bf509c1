"""What happens to trials, without Ray: asks the searcher, asks the stopping rule, writes the ledger.

The engine hands out *assignments*: one attempt (or, after a pause, one further stretch) of one trial, run in one slot.
The driver carries assignments to slots and events back. Every change is in the ledger before its effect leaves this
module, and nothing here knows processes, so that a simulated executor with a clock of its own can drive it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import final

from hpsearch.engine.disk import DiskGuard
from hpsearch.engine.failure_policy import FailurePolicy
from hpsearch.engine.observers import Observer, Observers
from hpsearch.engine.outcomes import Outcomes
from hpsearch.engine.outside_code import OutsideCode
from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.replay import Replay
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.engine.reuse import TrialReuse
from hpsearch.engine.setup_cost import SetupCost
from hpsearch.engine.status import IdleReasons, StopState
from hpsearch.engine.trial import Trial
from hpsearch.errors import SpecError
from hpsearch.ledger.records import ACTIVE_STATES, FailureRecord, ReportRecord, SweepRecord, SweepState, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.paths import trial_dir
from hpsearch.search.searcher import Searcher
from hpsearch.slots.protocol import Assignment, Event, Failed, Verdict
from hpsearch.space.space import to_config
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import FallbackRule, StoppingRule, make_stopping_rule

SAVE_EPOCHS_AHEAD = 64
"""Rungs that an assignment names at most; a slot saves by the clock besides."""


class Idle(Enum):
    """Why there is no assignment to run."""

    NOT_NOW = "not now"
    """A trial that runs may still free a place, fail and be tried again, or be promoted."""
    FINISHED = "finished"
    """There will never be another one."""


@final
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
        memory: TrialCache | None = None,
        checkpoints: CheckpointRetention | None = None,
        concurrent: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has begun.

        Args:
            sweep: What is searched.
            searcher: Proposes points.
            rule: Says who goes on at a rung; replaced where it raises, or where trials can't be paused.
            ledger: Where everything is written.
            record: The same sweep in the ledger.
            memory: What other sweeps have trained; None to train everything.
            checkpoints: Which of them are of use; None keeps them all.
            concurrent: Assignments at most at a time; may be set at any time.
            clock: Seconds that never go back.
        """
        self.sweep = sweep
        self.concurrent = concurrent
        self.trials: dict[int, Trial] = {}
        self.idle_reasons = IdleReasons()
        self.record = record
        self._searcher, self._ledger, self._clock = searcher, ledger, clock
        self.stop_state, self._observers = StopState(self.idle_reasons), Observers()
        self._found: Trial | None = None
        self._started_at = clock()
        self._running: set[int] = set()
        self._room: DiskGuard | None = None
        self._folder = Path()
        self._policy = FailurePolicy(sweep.limits)
        self._rule = FallbackRule(rule, fallback=lambda: make_stopping_rule(sweep, is_random=searcher.is_random))
        self._queue = TrialQueue(
            sweep=sweep,
            searcher=searcher,
            rule=self._rule,
            trials=self.trials,
            running=self._running,
            clock=clock,
        )
        self._recorder = TrialRecorder(
            sweep=sweep,
            ledger=ledger,
            record=record,
            trials=self.trials,
            queue=self._queue,
            checkpoints=checkpoints,
            code_hash=None if memory is None else memory.code_hash,
        )
        self._outside_code = OutsideCode(ledger, record)
        self._setup_cost = SetupCost(ledger, record)
        self._outcomes = Outcomes(
            sweep=sweep,
            ledger=ledger,
            record=record,
            trials=self.trials,
            running=self._running,
            rule=self._rule,
            queue=self._queue,
            recorder=self._recorder,
            policy=self._policy,
            stop_state=self.stop_state,
            observers=self._observers,
            outside_code=self._outside_code,
            setup_cost=self._setup_cost,
        )
        self._reuse = TrialReuse(
            ledger=ledger,
            memory=memory,
            trials=self.trials,
            queue=self._queue,
            recorder=self._recorder,
            outcomes=self._outcomes,
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
            queue=self._queue,
            policy=self._policy,
            recorder=self._recorder,
            last_epoch=last_epoch,
            retry_failed=retry_failed,
        ).run(trials, reports, failures)

    def find_work(self) -> bool:
        """Whether there is an assignment; trials that the ledger can answer are answered on the way. Call it once."""
        self._found = self._next_trial()
        return self._found is not None or bool(self._queue.elsewhere)

    # -- assignments -------------------------------------------------------------------------------------------------

    def next_assignment(self) -> Assignment | Idle:
        """The next assignment for a free slot; it counts as running from here."""
        self.tick()
        if self.reason is not None:
            return Idle.FINISHED
        if len(self._running) >= self.concurrent or (self._room is not None and not self._room.allows_start()):
            self.idle_reasons.clear("engine")
            return Idle.NOT_NOW
        self.idle_reasons.set("engine", "searcher", "the search method thinks of a configuration")
        trial = self._next_trial()
        self._tell_waiting(trial)
        if trial is not None:
            self._recorder.note_code(trial)
            trial.ran_in_slot = True
            self._running.add(trial.number)
            self._observers.notify("on_start", trial)
            return self._assignment(trial)
        return Idle.NOT_NOW if self._running or self._queue.elsewhere else Idle.FINISHED

    def on_event(self, number: int, event: Event) -> Verdict:
        """Take in what a slot says of the assignment of trial `number`."""
        trial = self.trials[number]
        if number not in self._running:
            return Verdict.END  # it was given up while this event was on its way
        if isinstance(event, Failed) and event.cause == "disk_full" and self._room is not None:
            self._room.ran_out(trial_dir(self._folder, number))
        return self._outcomes.handle(trial, event)

    def tick(self) -> None:
        """To be called a few times a second: commits late reports, ends a sweep whose time is up."""
        self._ledger.tick()
        limit = self.sweep.limits.time_s
        if limit is not None and self._clock() - self._started_at >= limit:
            self.stop("done", f"the time limit of {limit:g} s was reached")

    def requeue_running(self, evidence: str) -> None:
        """Every slot is gone, through no fault of the trials: they will be tried again, from their checkpoints."""
        for number in sorted(self._running):
            self._outcomes.requeue(self.trials[number], evidence)

    def keep_room(self, room: DiskGuard, sweep_dir: Path) -> None:
        """Begin no trial and commit nothing while the disk is full."""
        self._room, self._folder = room, sweep_dir
        self._ledger.wait_before_commits(room.wait_to_commit)

    def stop(self, state: SweepState, reason: str) -> None:
        """Start nothing more; what runs is interrupted after its next report. The first reason stays."""
        self.stop_state.stop(state, reason)

    def finish(self) -> None:
        """Close the books: whatever still runs is interrupted, whatever waits is stopped."""
        for trial in self.trials.values():
            if trial.state == "paused" and self.stop_state.state == "done":
                self._recorder.give_up(trial)
            elif trial.state in ACTIVE_STATES:
                self._recorder.close(trial, "interrupted")
        broken = (self._searcher.failure, self._rule.failure, *self._observers.left_out)
        notes = (*broken, *self._outside_code.notes, *self._setup_cost.notes)
        remarks = "; ".join(filter(None, (self.reason or self.exhaustion(), *notes)))
        self._ledger.end_sweep(self.record, self.stop_state.state, remarks or None)

    def exhaustion(self) -> str | None:
        """That a finite space has no point left though more trials were asked for, in words; None otherwise."""
        return self._queue.exhaustion()

    @property
    def reason(self) -> str | None:
        """Why the sweep ends; None as long as it goes on."""
        return self.stop_state.reason

    @property
    def mistake(self) -> SpecError | None:
        """What the user has to mend, if the sweep ends for that."""
        return self.stop_state.mistake

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is shown the sweep; may be set at any time."""
        return self._observers.present

    @observers.setter
    def observers(self, observers: Iterable[Observer]) -> None:
        self._observers.present = tuple(observers)

    @property
    def running(self) -> int:
        """Assignments in slots."""
        return len(self._running)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _next_trial(self) -> Trial | None:
        """The next trial that needs a slot; those that the ledger can answer are over when this returns."""
        if self._found is not None:
            found, self._found = self._found, None
            return found
        while (trial := self._queue.next(is_idle=not self._running)) is not None:
            if self._reuse.begin(trial):
                return trial
        return None

    def _tell_waiting(self, trial: Trial | None) -> None:
        if trial is None and (self._running or self._queue.elsewhere):
            self.idle_reasons.set("engine", *self._queue.awaited())
        else:
            self.idle_reasons.clear("engine")

    def _assignment(self, trial: Trial) -> Assignment:
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
