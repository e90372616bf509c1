"""Which trial gets the next free slot, and why there is none when there is none.

In this order: a retry, a finished trial that the sweep now trains for longer, a promotion from a rung, a new trial, a
trial that was deferred because another process was training it.
"""

from __future__ import annotations

from typing import final

from hpsearch.engine.registry import Trials
from hpsearch.engine.status import IdleKind
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import ACTIVE_STATES
from hpsearch.search.searcher import Searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import StoppingRule


@final
class TrialQueue:
    """Chooses the next trial; starts none, writes nothing, and asks the searcher only for new points."""

    def __init__(self, *, sweep: Sweep, searcher: Searcher, rule: StoppingRule, trials: Trials) -> None:
        """Begin with the trials so far.

        Args:
            sweep: Its limits say how many trials there are, its space how many there can be.
            searcher: Proposes points.
            rule: Promotes paused trials.
            trials: All trials of the sweep; a trial that this returns is not added.
        """
        self._sweep, self._searcher, self._rule, self._trials = sweep, searcher, rule, trials
        self._max_trials = sweep.max_trials
        self._is_exhausted = False

    def next(self) -> Trial | None:
        """The next trial that may begin or continue; None if none is ready.

        A new trial has ledger_id 0 until it is in the ledger. When nothing runs and no trial is left, the stopping rule
        is asked to promote one more paused trial, so that at least one trial reaches the last epoch.
        """
        if self._trials.to_retry:
            trial = self._trials[self._trials.to_retry.popleft()]
            trial.attempts += 1
            return trial
        number = next(iter(self._trials.to_extend), None)
        if number is None:
            number = self._rule.promote()
        else:
            del self._trials.to_extend[number]
        found = self._promoted(number) or self._new() or self._trials.pop_due()
        if found is None and self._trials.is_idle:
            return self._promoted(self._rule.promote(at_end=True))
        return found

    def exhaustion(self) -> str | None:
        """One sentence if a finite space has no untried point although more trials were asked for; None otherwise."""
        asked_for, num_trials = self._sweep.limits.trials, len(self._trials)
        space = self._sweep.space.on_grid if self._sweep.method == "grid" else self._sweep.space
        is_all = self._is_exhausted or (space.size is not None and num_trials >= space.size)
        return f"every point of the space was tried: {num_trials}" if is_all and asked_for != num_trials else None

    def why_idle(self) -> tuple[IdleKind, str]:
        """What free slots wait for while no trial is ready: the kind of reason, and a sentence without a full stop."""
        if self._trials.deferred:
            number = next(iter(self._trials.deferred))
            return "elsewhere", f"trial {number} waits for another sweep, which is training the same trial now"
        begun = self.exhaustion() or f"all {len(self._trials)} trials have begun"
        num_running, num_paused = len(self._trials.running), self._trials.num_paused
        if num_paused:
            return "rung", f"{begun}; {num_paused} paused at rungs until the {num_running} running have reported"
        return "begun", f"{begun}, {num_running} are still running"

    def _promoted(self, number: int | None) -> Trial | None:
        """The promoted trial, or the next one that the rule promotes where this one must not continue.

        After a restart a rule may promote a trial that was promoted before it, and runs, has failed or has ended since.
        """
        while number is not None and self._must_not_continue(self._trials[number]):
            number = self._rule.promote()
        return None if number is None else self._trials[number]

    def _must_not_continue(self, trial: Trial) -> bool:
        is_running = trial.number in self._trials.running
        return is_running or trial.is_final or trial.state in (*ACTIVE_STATES, "failed")

    def _new(self) -> Trial | None:
        number = len(self._trials) + 1
        if self._is_exhausted or number > self._max_trials:
            return None
        point: Point | None = self._searcher.ask(number)
        self._is_exhausted = point is None
        return None if point is None else Trial(number=number, point=point, ledger_id=0)
