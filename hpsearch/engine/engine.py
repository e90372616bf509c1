"""What happens to the trials of a running sweep, without Ray.

The engine asks the searcher for configurations and the stopping rule for decisions, and writes every change to the
ledger before its effect leaves this module. It hands out *assignments*: one attempt at a trial (or, after a pause, the
next stretch of one), to be run in one slot. The driver brings assignments to slots and events back. The engine itself
starts no process, so that a simulated executor with a clock of its own can drive it as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from hpsearch.engine.disk import DiskGuard
from hpsearch.engine.failure_policy import FailurePolicy
from hpsearch.engine.notes import Notes, OutsideCode, SetupCost
from hpsearch.engine.observers import Observer, Observers
from hpsearch.engine.outcomes import Outcomes
from hpsearch.engine.queue import TrialQueue
from hpsearch.engine.recorder import TrialRecorder
from hpsearch.engine.registry import Trials
from hpsearch.engine.replay import Past, Replay, without_garbage_collection
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.engine.reuse import TrialReuse
from hpsearch.engine.status import IdleReasons, StopState
from hpsearch.engine.trial import Trial
from hpsearch.errors import SpecError
from hpsearch.ledger.records import ACTIVE_STATES, SweepRecord, SweepState, time_limit_reason
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.paths import trial_dir
from hpsearch.search.searcher import Searcher
from hpsearch.slots.protocol import Assignment, Event, Failed, Unusable, Verdict
from hpsearch.space.space import to_config
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import FallbackRule, StoppingRule, make_stopping_rule

SAVE_EPOCHS_AHEAD = 64
"""Rungs at most at which an assignment asks for a checkpoint; a slot also saves one when some time has passed."""


class Idle(Enum):
    """Why there is no assignment for a free slot."""

    NOT_NOW = "not now"
    """Ask again: a running trial may free a slot, fail and be retried, or cause the promotion of a paused one."""
    FINISHED = "finished"
    """There will be no further assignment."""


@final
@dataclass(frozen=True, kw_only=True)
class EngineParts:
    """The parts and settings that an engine is made of."""

    sweep: Sweep
    """The sweep that is run."""
    searcher: Searcher
    """Proposes points; it has seen no trial of the sweep yet, only the prior, if there is one."""
    rule: StoppingRule
    """Decides which trials continue; it has seen no report yet. Replaced if it raises, or if trials can't be paused."""
    ledger: Ledger
    """Where everything is written."""
    record: SweepRecord
    """The sweep in the ledger."""
    cache: TrialCache | None = None
    """Finds equal trials that other sweeps have trained; None to train everything."""
    retention: CheckpointRetention | None = None
    """Which checkpoints are still needed; None keeps them all."""
    concurrent: int = 1
    """Assignments that run at the same time, at most."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that never go back."""


@final
class Engine:
    """The state of one running sweep; not safe for several threads.

    Made by `new` or `resumed`. Then `next_assignment` and `on_event` in any order, `tick` a few times a second, and
    `finish` at the end; all else may be called or set at any time.
    """

    def __init__(self, parts: EngineParts) -> None:
        """Connect the parts; callers use `new` or `resumed` instead."""
        sweep = parts.sweep
        self.sweep = sweep
        """The sweep that is run."""
        self.record = parts.record
        """The sweep in the ledger."""
        self.concurrent = parts.concurrent
        """Assignments that run at the same time, at most; may be set at any time."""
        self.trials = Trials(parts.clock)
        """All trials so far."""
        self.idle_reasons = IdleReasons()
        """Why no trial begins at the moment."""
        self.stop_state = StopState(self.idle_reasons)
        """Whether the sweep is to end, and why."""
        self._searcher, self._ledger, self._clock = parts.searcher, parts.ledger, parts.clock
        self._began_at: float | None = None
        self._found: Trial | None = None
        self._disk_guard: DiskGuard | None = None
        self._observers = Observers()
        self._notes = Notes(parts.ledger, parts.record)
        self._rule = FallbackRule(
            parts.rule, fallback=lambda: make_stopping_rule(sweep, is_random=parts.searcher.is_random)
        )
        self._queue = TrialQueue(sweep=sweep, searcher=parts.searcher, rule=self._rule, trials=self.trials)
        self._recorder = TrialRecorder(
            sweep=sweep,
            ledger=parts.ledger,
            record=parts.record,
            trials=self.trials,
            retention=parts.retention,
            code_hash=None if parts.cache is None else parts.cache.code_hash,
        )
        self._outcomes = Outcomes(
            sweep=sweep,
            trials=self.trials,
            searcher=parts.searcher,
            rule=self._rule,
            recorder=self._recorder,
            policy=FailurePolicy(sweep.limits),
            stop_state=self.stop_state,
            observers=self._observers,
            outside_code=OutsideCode(self._notes),
            setup_cost=SetupCost(self._notes),
        )
        self._reuse = TrialReuse(
            cache=parts.cache, trials=self.trials, recorder=self._recorder, outcomes=self._outcomes
        )

    @classmethod
    def new(cls, parts: EngineParts) -> Engine:
        """The engine of a sweep that has no trials yet."""
        return cls(parts)

    @classmethod
    def resumed(cls, parts: EngineParts, past: Past, *, retry_failed: bool = False) -> Engine:
        """The engine of a sweep that an earlier run has left unfinished, or that now asks for more.

        All that is in `past` is replayed to the searcher and the stopping rule, in its order. Trials that ran, or
        waited for another attempt, are retried from their checkpoints. Finished trials stay finished, unless
        `limits.epochs` was raised and the stopping rule lets them continue.

        Args:
            parts: As for a new sweep: searcher and rule have not seen any trial of it.
            past: What the earlier run left in the ledger.
            retry_failed: Whether failed trials are retried, as if for the first time.
        """
        engine = cls(parts)
        with without_garbage_collection():
            Replay(
                sweep=parts.sweep,
                record=parts.record,
                past=past,
                outcomes=engine._outcomes,
                retry_failed=retry_failed,
            ).run()
        return engine

    def watch_disk(self, folder: Path, *, say: Callable[[str], None]) -> None:
        """From now on, begin no trial and commit nothing while the disk is full.

        Args:
            folder: The sweep's files.
            say: Gets one sentence when the wait for free space begins, and one when it ends.
        """
        guard = DiskGuard(folder, say=say, give_up=lambda: self.reason is not None, idle_reasons=self.idle_reasons)
        self._disk_guard = guard
        self._ledger.wait_before_commits(guard.wait_to_commit)

    # -- assignments and events --------------------------------------------------------------------------------------

    def has_work(self) -> bool:
        """Whether a trial needs a slot, now or later; trials whose epochs are in the ledger are finished on the way."""
        if self._found is None:
            self._found = self._next_trial()
        return self._found is not None or bool(self.trials.deferred)

    def next_assignment(self) -> Assignment | Idle:
        """The next assignment for a free slot; its trial counts as running from here on."""
        self.tick()
        if self.reason is not None:
            return Idle.FINISHED
        if self.num_running >= self.concurrent or not self._has_space():
            self.idle_reasons.clear("engine")
            return Idle.NOT_NOW
        self.idle_reasons.set("engine", "searcher", "the search method is computing a configuration")
        trial = self._next_trial()
        if trial is not None:
            self.idle_reasons.clear("engine")
            self._recorder.note_code(trial)
            trial.ran_in_slot = True
            self.trials.running.add(trial.number)
            self._observers.notify("on_start", trial)
            return self._assignment(trial)
        if self.trials.is_idle:
            self.idle_reasons.clear("engine")
            return Idle.FINISHED
        self.idle_reasons.set("engine", *self._queue.why_idle())
        return Idle.NOT_NOW

    def on_event(self, number: int, event: Event) -> Verdict:
        """Handle what a slot reports of trial `number`; the verdict says what the slot does next."""
        if number not in self.trials.running:
            return Verdict.END  # the trial was taken from the slot while this event was on its way
        if not isinstance(event, Unusable) and not (isinstance(event, Failed) and not event.has_begun):
            self.begin_time(event.elapsed_s)
        if isinstance(event, Failed) and event.cause == "disk_full" and self._disk_guard is not None:
            self._disk_guard.raise_minimum(trial_dir(self._disk_guard.folder, number))
        return self._outcomes.handle(self.trials[number], event)

    def begin_time(self, ago_s: float = 0.0) -> None:
        """Count `limits.time` from now on, since the first trial trains; all calls but the first change nothing.

        Args:
            ago_s: Seconds for which it has trained already.
        """
        if self._began_at is None:
            self._began_at = self._clock() - ago_s

    def tick(self) -> None:
        """Commit reports that are due, and end a sweep whose time is up; to be called a few times a second."""
        self._ledger.tick()
        limit, left_s = self.sweep.limits.time_s, self.time_left_s
        if limit is not None and left_s is not None and left_s <= 0:
            self.stop("done", time_limit_reason(limit))

    def requeue_running(self, evidence: str) -> None:
        """Retry all running trials from their checkpoints, since every slot is lost through no fault of theirs.

        Args:
            evidence: What happened, one sentence.
        """
        for number in sorted(self.trials.running):
            self._outcomes.requeue(self.trials[number], evidence)

    # -- the end -----------------------------------------------------------------------------------------------------

    def stop(self, state: SweepState, reason: str) -> None:
        """Begin no more trials, and interrupt each running one after its next report; the first reason is kept.

        Args:
            state: The state that the sweep will have in the ledger.
            reason: Why it ends, one sentence without a full stop.
        """
        self.stop_state.stop(state, reason)

    def finish(self) -> None:
        """Record the end of the sweep: running trials are interrupted; paused ones are stopped if the sweep is done."""
        for trial in self.trials.values():
            if trial.state == "paused" and self.stop_state.state == "done":
                self._recorder.stop_paused(trial)
            elif trial.state in ACTIVE_STATES:
                self._recorder.close(trial, "interrupted")
        failures = (self._searcher.failure, self._rule.failure, *self._observers.failures)
        remarks = "; ".join(filter(None, (self.reason or self.exhaustion(), *failures, *self._notes.texts)))
        self._ledger.end_sweep(self.record, self.stop_state.state, remarks or None)

    def exhaustion(self) -> str | None:
        """One sentence if a finite space has no untried point although more trials were asked for; None otherwise."""
        return self._queue.exhaustion()

    @property
    def reason(self) -> str | None:
        """Why the sweep ends; None as long as it runs."""
        return self.stop_state.reason

    @property
    def mistake(self) -> SpecError | None:
        """What the user has to correct, if the sweep ends for that."""
        return self.stop_state.mistake

    # -- what is shown -----------------------------------------------------------------------------------------------

    @property
    def time_left_s(self) -> float | None:
        """Seconds until `limits.time` ends the sweep; None without that limit, and until a trial trains."""
        limit = self.sweep.limits.time_s
        if limit is None or self._began_at is None:
            return None
        return max(limit - (self._clock() - self._began_at), 0.0)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Displays of the sweep; may be set at any time."""
        return self._observers.present

    @observers.setter
    def observers(self, observers: Iterable[Observer]) -> None:
        self._observers.present = tuple(observers)

    @property
    def num_running(self) -> int:
        """Trials that hold a slot."""
        return len(self.trials.running)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _next_trial(self) -> Trial | None:
        """The next trial that needs a slot; those that need none are over when this returns."""
        if self._found is not None:
            found, self._found = self._found, None
            return found
        while (trial := self._queue.next()) is not None:
            if self._reuse.begin(trial):
                return trial
        return None

    def _has_space(self) -> bool:
        return self._disk_guard is None or self._disk_guard.allows_start()

    def _assignment(self, trial: Trial) -> Assignment:
        last = self.sweep.max_epochs
        limit = self.sweep.limits.trial_time_s
        rungs = {epoch for epoch in self._rule.rungs()[:SAVE_EPOCHS_AHEAD] if epoch > trial.epochs}
        return Assignment(
            number=trial.number,
            attempt=trial.attempts,
            config=to_config(trial.point),
            seed=self.sweep.seed,
            max_epochs=last,
            known_epochs=trial.epochs,
            save_epochs=tuple(sorted(rungs | ({last} if last else set()))),
            time_left_s=None if limit is None else max(limit - trial.duration_s, 0.0),
        )
