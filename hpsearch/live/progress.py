"""How far a sweep is, worked out anew from its trials whenever somebody looks; draws nothing."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hpsearch.engine.status import IdleReason
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import ACTIVE_STATES, HALTED_STATES
from hpsearch.live.cells import short
from hpsearch.live.eta import Forecast, Pace
from hpsearch.space.space import canonical
from hpsearch.spec.sweep import Sweep
from hpsearch.text import duration_text, printable

MARKS = {"done": "+", "stopped": "-", "failed": "!", "queued": "~", "interrupted": "x", "paused": "=", "reused": "*"}
"""One sign for each state, so that nothing depends on colour."""
RECENT = 100
"""Trials that ended lately and are remembered in their order."""
GUESS_EVERY_S = 5.0
"""The time to go is worked out anew so often; in between it counts down."""
THINKS_S = 0.5
"""A search method that takes no longer is not worth a word."""


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """What a sweep's driver knows and its trials don't tell."""

    concurrent: int
    """Trials that may run at once now."""
    wait: IdleReason | None = None
    """Why none begins, if that is so."""
    time_left_s: float | None = None
    """Until `limits.time` ends the sweep; None without such a limit."""


@final
class SweepProgress:
    """One sweep; safe to be asked from another thread than the one that changes its trials."""

    def __init__(
        self,
        sweep: Sweep,
        trials: Mapping[int, Trial],
        outlook: Callable[[], DriverStatus],
        *,
        trains: Callable[[Trial], bool] = lambda trial: True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin to watch.

        Args:
            sweep: What runs.
            trials: All of its trials so far by number; somebody else adds to it.
            outlook: What else is known now.
            trains: Whether a running trial has processes already.
            clock: Seconds that never go back.
            wall_clock: Seconds since 1970.
        """
        self.sweep, self.total = sweep, sweep.max_trials
        self.outlook, self._trains = outlook, trains
        self.recent: deque[int] = deque(maxlen=RECENT)
        self._trials, self._clock, self._wall_clock = trials, clock, wall_clock
        self._forecast, self._pace = Forecast(sweep), Pace(self.trials, now=clock())
        self._guessed: float | None = None
        self._guessed_at = clock()
        self._varying = Varying(sweep.space.searched)

    # -- as an observer of the engine --------------------------------------------------------------------------------

    def on_start(self, trial: Trial) -> None:
        """An attempt begins."""

    def on_report(self, trial: Trial) -> None:
        """An epoch is done."""

    def on_end(self, trial: Trial) -> None:
        """A trial leaves its slot."""
        if trial.state != "queued":
            self.recent.append(trial.number)

    # -- what there is to say ----------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """All trials so far by number."""
        return list(self._trials.values())

    @property
    def running(self) -> list[Trial]:
        """Those that have a slot, or are about to get one."""
        return [trial for trial in self.trials if trial.state == "running"]

    @property
    def latest(self) -> list[Trial]:
        """Those that left their slots lately, the last one first."""
        found = (self._trials[number] for number in dict.fromkeys(reversed(list(self.recent))))
        return [trial for trial in found if trial.state != "running"]

    @property
    def best(self) -> Trial | None:
        """The trial with the best value so far that has not failed, the earlier one of two equals."""
        best, lowest = None, math.inf
        for trial in self.trials:
            if trial.best_epoch is not None and trial.losses[trial.best_epoch] < lowest and trial.state != "failed":
                best, lowest = trial, trial.losses[trial.best_epoch]
        return best

    @property
    def states(self) -> Counter[str]:
        """Trials that are over, or paused, by state."""
        return Counter(trial.state for trial in self.trials if trial.state not in ACTIVE_STATES)

    @property
    def wait(self) -> IdleReason | None:
        """Why no trial begins, if that is worth a word."""
        wait = self.outlook().wait
        is_brief = wait is not None and wait.kind == "searcher" and self.waits_s(wait) < THINKS_S
        return None if is_brief else wait

    def waits_s(self, wait: IdleReason) -> float:
        """Seconds since a reason began."""
        return max(self._wall_clock() - wait.since, 0.0)

    @property
    def eta_s(self) -> float | None:
        """Seconds to go; None before anything is known of it."""
        return self.time_to_go()[0]

    def time_to_go(self) -> tuple[float | None, bool]:
        """(seconds by the work that is left and the pace so far, whether `limits.time` ends the sweep before)."""
        now, limit = self._clock(), self.outlook().time_left_s
        if self._guessed is None or now - self._guessed_at >= GUESS_EVERY_S:
            self._guessed, self._guessed_at = self._guess(now), now
        guess = None if self._guessed is None else max(self._guessed - (now - self._guessed_at), 0.0)
        by_limit = limit is not None and (guess is None or limit < guess)
        return (limit if by_limit else guess), by_limit

    def _guess(self, now: float) -> float | None:
        trials = self.trials
        work = self._forecast.left(trials)
        if work is None:
            return None
        return self._pace.seconds(work, trials, concurrent=max(self.outlook().concurrent, 1), now=now)

    @property
    def varying(self) -> list[str]:
        """Searched parameters that differ between the trials so far, in the order of the spec."""
        return self._varying.among(self.trials)

    def values(self, trial: Trial) -> list[float]:
        """The objective by epoch."""
        return [self.sweep.metric.sign * loss for loss in list(trial.losses.values())]

    def best_text(self, trial: Trial) -> str:
        """Best value of the objective."""
        return f"{self.sweep.metric.sign * best_loss(trial):.5g}" if trial.best_epoch else "-"

    def last_text(self, trial: Trial) -> str:
        """Value of the objective at the last epoch."""
        loss = trial.losses.get(trial.epochs)
        return "-" if loss is None else f"{self.sweep.metric.sign * loss:.5g}"

    def state_text(self, trial: Trial) -> str:
        """The state, with the rung that the trial waits at, was stopped at, or goes to."""
        if trial.cause is not None:
            return f"{trial.state}: {trial.cause}"
        if trial.state == "running" and not self._trains(trial):
            return "starting"
        rungs = self._forecast.rungs_of(trial.number)
        if trial.state in HALTED_STATES and trial.epochs in rungs:
            return f"{trial.state} at {trial.epochs}"
        last = self.sweep.max_epochs
        ahead = next((rung for rung in rungs if rung > trial.epochs), last)
        if trial.state == "running" and rungs and trial.epochs >= rungs[0] and ahead is not None:
            return f"promoted to {ahead}"
        return trial.state


@final
class Varying:
    """Which parameters differ between trials; looks at each trial once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names, self._looked_at = tuple(names), 0
        self._values: dict[str, set[str]] = {name: set() for name in self._names}

    def among(self, trials: list[Trial]) -> list[str]:
        """Names in the order of the spec; a parameter that some trials don't have differs too."""
        for trial in trials[self._looked_at :]:
            for name, seen in self._values.items():
                if len(seen) < 2:
                    seen.add(canonical(trial.point[name]) if name in trial.point else "")
        self._looked_at = len(trials)
        return [name for name in self._names if len(self._values[name]) > 1]


def best_loss(trial: Trial) -> float:
    """Best loss so far: lower is better, whatever the goal."""
    return trial.losses[trial.best_epoch] if trial.best_epoch else float("inf")


def headline(progress: SweepProgress) -> str:
    """Counts, the best value and the time to go, in one line."""
    states, best, (eta_s, by_limit) = progress.states, progress.best, progress.time_to_go()
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    parts = [
        f"{states.total()}/{progress.total} trials" + (f" ({counts})" if counts else ""),
        f"{len(progress.running)} running",
    ]
    if best is not None:
        parts.append(f"best {printable(progress.sweep.metric.name)} {progress.best_text(best)} (trial {best.number})")
    if eta_s is not None and progress.running:
        parts.append(f"{duration_text(eta_s)} to the time limit" if by_limit else f"about {duration_text(eta_s)} to go")
    return " | ".join(parts)


def describe(trial: Trial, sweep: Sweep) -> str:
    """The searched parameters of a trial, shortest form."""
    values: dict[str, Any] = {name: trial.point[name] for name in sweep.space.searched if name in trial.point}
    return " ".join(f"{printable(name)}={short(value)}" for name, value in values.items())
