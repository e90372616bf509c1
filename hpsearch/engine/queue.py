"""Who is next for a slot: a retry, a promotion, a new trial, one that had to wait for another process; or why none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import final

from hpsearch.engine.status import Kind
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import ACTIVE_STATES
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import StoppingRule

LOOK_AGAIN_S = 1.0
"""A trial that another process trains is looked at again after so long."""


@final
class TrialQueue:
    """Names the next trial; starts nothing and writes nothing."""

    def __init__(
        self,
        *,
        sweep: Sweep,
        searcher: Searcher,
        rule: StoppingRule,
        trials: Mapping[int, Trial],
        running: Collection[int],
        clock: Callable[[], float],
    ) -> None:
        """Nobody has tried anything yet.

        Args:
            sweep: How many trials it shall have, of which space.
            searcher: Proposes points.
            rule: Promotes paused trials.
            trials: Every trial so far; the caller adds to it.
            running: Numbers of trials that have a slot, or are about to get one.
            clock: Seconds that never go back.
        """
        self._searcher, self._rule, self._trials, self._running = searcher, rule, trials, running
        self._sweep, self._max_trials, self._clock = sweep, sweep.max_trials, clock
        self._retries: deque[int] = deque()
        self._further: dict[int, None] = {}
        self._elsewhere: dict[int, float] = {}
        self._exhausted = False

    def adopt(self, number: int, point: Point) -> None:
        """Trial `number` of an earlier run of this sweep tries `point`, which is not to be proposed again."""
        self._searcher.adopt(number, point)

    def learn(self, trial: Trial) -> None:
        """Let the searcher learn from a trial that is over, or waits; should that go on, it is told again."""
        outcome = trial.outcome
        if outcome is not None:
            self._tell(trial, outcome)
        elif not trial.reported_to_searcher:
            self._searcher.drop(trial.number)

    def learn_of_pause(self, trial: Trial, *, after: int) -> None:
        """Let the searcher learn what it learned when the trial, which has gone on since, was paused after an epoch."""
        losses = {epoch: loss for epoch, loss in trial.losses.items() if epoch <= after}
        self._tell(trial, Outcome(number=trial.number, point=trial.point, state="stopped", losses=losses))

    def try_again(self, number: int) -> None:
        """Trial `number` gets another attempt."""
        self._retries.append(number)

    def go_further(self, number: int) -> None:
        """Trial `number` was done, and now the sweep goes further."""
        self._further[number] = None

    def shall_go_further(self, number: int) -> bool:
        """Whether trial `number` waits for that."""
        return number in self._further

    def look_later(self, number: int) -> None:
        """Another process trains what trial `number` would: others go first."""
        self._elsewhere[number] = self._clock() + LOOK_AGAIN_S

    @property
    def elsewhere(self) -> tuple[int, ...]:
        """Trials that wait for another process."""
        return tuple(self._elsewhere)

    def exhaustion(self) -> str | None:
        """That a finite space has no point left though more trials were asked for, in words; None otherwise."""
        asked_for, num_trials = self._sweep.limits.trials, len(self._trials)
        space = self._sweep.space.on_grid if self._sweep.method == "grid" else self._sweep.space
        is_all = self._exhausted or (space.size is not None and num_trials >= space.size)
        return f"every point of the space was tried: {num_trials}" if is_all and asked_for != num_trials else None

    def awaited(self) -> tuple[Kind, str]:
        """What free slots wait for when no trial is ready."""
        if elsewhere := self.elsewhere:
            return "elsewhere", f"trial {elsewhere[0]} waits for another sweep, which trains the same now"
        begun = self.exhaustion() or f"all {len(self._trials)} trials have begun"
        running, paused = len(self._running), sum(trial.state == "paused" for trial in self._trials.values())
        if paused:
            return "rung", f"{begun}; {paused} are paused at rungs until the {running} that run have reported"
        return "begun", f"{begun}, {running} still run"

    def next(self, *, is_idle: bool) -> Trial | None:
        """The next trial, new ones with a row of 0; None if none is ready.

        Args:
            is_idle: Nothing runs. If nothing is left either, the rule may be generous, so that someone reaches the end.
        """
        if self._retries:
            trial = self._trials[self._retries.popleft()]
            trial.attempts += 1
            return trial
        number = next(iter(self._further), None)
        if number is None:
            number = self._rule.promote()
        else:
            del self._further[number]
        trial_or_none = self._promoted(number) or self._new() or self._due()
        if trial_or_none is None and is_idle and not self._elsewhere:
            return self._promoted(self._rule.promote(at_end=True))
        return trial_or_none

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        trial.reported_to_searcher = True
        self._searcher.tell(outcome)

    def _promoted(self, number: int | None) -> Trial | None:
        """After a restart a rule may name a trial that was promoted before it, and runs or failed since: skip it."""
        while number is not None and self._is_over(self._trials[number]):
            number = self._rule.promote()
        return None if number is None else self._trials[number]

    def _is_over(self, trial: Trial) -> bool:
        """Whether a trial must not go on, whatever the rule believes: it runs, failed, or came to its own end."""
        return trial.number in self._running or trial.is_final or trial.state in (*ACTIVE_STATES, "failed")

    def _new(self) -> Trial | None:
        number = len(self._trials) + 1
        if self._exhausted or number > self._max_trials:
            return None
        point: Point | None = self._searcher.ask(number)
        self._exhausted = point is None
        return None if point is None else Trial(number=number, point=point, ledger_id=0)

    def _due(self) -> Trial | None:
        now = self._clock()
        number = next((number for number, due in self._elsewhere.items() if due <= now), None)
        if number is None:
            return None
        del self._elsewhere[number]
        return self._trials[number]
