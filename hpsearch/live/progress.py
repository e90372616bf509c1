"""How far a sweep is, computed from its trials at each access; nothing is drawn here."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import final

from hpsearch.engine.status import IdleReason
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import ACTIVE_STATES, HALTED_STATES
from hpsearch.live.eta import Forecast, Pace
from hpsearch.plain import canonical
from hpsearch.spec.sweep import Sweep
from hpsearch.text import duration_text, printable
from hpsearch.text_table import MAX_CELL, PIPE_WIDTH, parameter_text
from hpsearch.time_of_day import seconds_since_1970

MARKS = {"done": "+", "stopped": "-", "failed": "!", "queued": "~", "interrupted": "x", "paused": "=", "reused": "*"}
"""State to the sign that displays put before a trial, so that nothing depends on colour."""
DIGITS = 3
"""Significant digits of a parameter while a sweep runs."""
NUM_RECENT = 100
"""Trials that ended last and are kept in the order in which they ended."""
ESTIMATE_EVERY_S = 5.0
"""Seconds between two estimates of the time to go; in between it counts down."""
MIN_SEARCHER_S = 0.5
"""Seconds that the search method may compute before that is shown as the reason why no trial begins."""


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """What a sweep's driver knows besides the trials."""

    concurrent: int
    """Trials that may run at once now."""
    idle_reason: IdleReason | None = None
    """Why no trial begins; None while trials begin."""
    time_left_s: float | None = None
    """Seconds until `limits.time` ends the sweep; None without that limit, and until a trial trains."""


@final
class SweepProgress:
    """Counts, best trial, time to go and texts of one sweep.

    It may be read from another thread than the one that changes the trials.
    """

    def __init__(
        self,
        sweep: Sweep,
        trials: Mapping[int, Trial],
        status: Callable[[], DriverStatus],
        *,
        has_processes: Callable[[Trial], bool] = lambda trial: True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = seconds_since_1970,
    ) -> None:
        """Begin to measure the pace.

        Args:
            sweep: The sweep that runs.
            trials: All of its trials so far by number; the caller adds to it.
            status: What else the driver knows at the moment.
            has_processes: Whether the processes of a running trial have started.
            clock: Seconds that never go back.
            wall_clock: Time of day in seconds since 1970.
        """
        self.sweep = sweep
        """The sweep that runs."""
        self.total = sweep.max_trials
        """Trials that the sweep will have at most."""
        self.status = status
        """What else the driver knows at the moment."""
        self.recent: deque[int] = deque(maxlen=NUM_RECENT)
        """Numbers of the trials that left their slots last, the latest at the end."""
        self._trials, self._has_processes, self._clock, self._wall_clock = trials, has_processes, clock, wall_clock
        self._forecast, self._pace = Forecast(sweep), Pace(self.trials, now=clock())
        self._estimate_s: float | None = None
        self._estimated_at = clock()
        self._varying = VaryingParameters(sweep.space.searched)

    # -- as an observer of the engine --------------------------------------------------------------------------------

    def on_start(self, trial: Trial) -> None:
        """An attempt begins: nothing to keep."""

    def on_report(self, trial: Trial) -> None:
        """An epoch is finished: nothing to keep."""

    def on_end(self, trial: Trial) -> None:
        """A trial has left its slot: keep its number, unless it is queued for another attempt."""
        if trial.state != "queued":
            self.recent.append(trial.number)

    # -- what can be shown -------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        return list(self._trials.values())

    @property
    def running(self) -> list[Trial]:
        """Trials that hold a slot, or are about to get one."""
        return [trial for trial in self.trials if trial.state == "running"]

    @property
    def latest(self) -> list[Trial]:
        """Trials that left their slots last, the latest first."""
        found = (self._trials[number] for number in dict.fromkeys(reversed(list(self.recent))))
        return [trial for trial in found if trial.state != "running"]

    @property
    def best(self) -> Trial | None:
        """The trial with the best value so far, failed ones left out; of two equal ones the earlier."""
        best, lowest = None, math.inf
        for trial in self.trials:
            if trial.best_loss < lowest and trial.state != "failed":
                best, lowest = trial, trial.best_loss
        return best

    @property
    def states(self) -> Counter[str]:
        """State to the number of trials in it, for trials that are over or paused."""
        return Counter(trial.state for trial in self.trials if trial.state not in ACTIVE_STATES)

    @property
    def idle_reason(self) -> IdleReason | None:
        """Why no trial begins; None while trials begin, and while a search method computes for an instant."""
        reason = self.status().idle_reason
        is_brief = reason is not None and reason.kind == "searcher" and self.idle_s(reason) < MIN_SEARCHER_S
        return None if is_brief else reason

    def idle_s(self, reason: IdleReason) -> float:
        """Seconds since a reason arose."""
        return max(self._wall_clock() - reason.since, 0.0)

    @property
    def eta_s(self) -> float | None:
        """Seconds to go; None before they can be estimated."""
        return self.time_to_go()[0]

    def time_to_go(self) -> tuple[float | None, bool]:
        """(Seconds to go, by the remaining work and the pace so far; whether `limits.time` ends the sweep first).

        The seconds are None before they can be estimated, and those of the time limit where that ends the sweep.
        """
        now, limit = self._clock(), self.status().time_left_s
        if self._estimate_s is None or now - self._estimated_at >= ESTIMATE_EVERY_S:
            self._estimate_s, self._estimated_at = self._estimate(now), now
        estimate = None if self._estimate_s is None else max(self._estimate_s - (now - self._estimated_at), 0.0)
        by_limit = limit is not None and (estimate is None or limit < estimate)
        return (limit if by_limit else estimate), by_limit

    def _estimate(self, now: float) -> float | None:
        trials = self.trials
        work = self._forecast.remaining(trials)
        if work is None:
            return None
        return self._pace.seconds(work, trials, concurrent=max(self.status().concurrent, 1), now=now)

    @property
    def varying(self) -> list[str]:
        """Searched parameters that differ between the trials so far, in the order of the spec."""
        return self._varying.among(self.trials)

    def values(self, trial: Trial) -> list[float]:
        """The objective at each epoch so far, earliest first."""
        return [self.sweep.metric.sign * loss for loss in list(trial.losses.values())]

    def best_text(self, trial: Trial) -> str:
        """The best value of the objective; `-` before the first report."""
        return f"{self.sweep.metric.sign * trial.best_loss:.5g}" if trial.best_epoch else "-"

    def last_text(self, trial: Trial) -> str:
        """The value of the objective at the last epoch; `-` before the first report."""
        loss = trial.losses.get(trial.epochs)
        return "-" if loss is None else f"{self.sweep.metric.sign * loss:.5g}"

    def state_text(self, trial: Trial) -> str:
        """The state, with the rung at which the trial is paused or stopped, or to which it was promoted."""
        if trial.cause is not None:
            return f"{trial.state}: {trial.cause}"
        if trial.state == "running" and not self._has_processes(trial):
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
class VaryingParameters:
    """Finds the parameters that differ between trials; it reads each trial once."""

    def __init__(self, names: Iterable[str]) -> None:
        """Prepare; no trial is read yet.

        Args:
            names: Searched parameters, in the order of the spec.
        """
        self._names, self._num_read = tuple(names), 0
        self._values: dict[str, set[str]] = {name: set() for name in self._names}

    def among(self, trials: list[Trial]) -> list[str]:
        """Names in the order of the spec; a parameter that some trials lack differs too.

        Args:
            trials: All trials so far; those that were passed before come first again.
        """
        for trial in trials[self._num_read :]:
            for name, seen in self._values.items():
                if len(seen) < 2:
                    seen.add(canonical(trial.point[name]) if name in trial.point else "")
        self._num_read = len(trials)
        return [name for name in self._names if len(self._values[name]) > 1]


def headline(progress: SweepProgress) -> str:
    """Counts, the best value and the time to go, in one line."""
    states, best, (eta_s, by_limit) = progress.states, progress.best, progress.time_to_go()
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    parts = [
        f"{states.total()}/{progress.total} trials" + (f" ({counts})" if counts else ""),
        f"{len(progress.running)} running",
    ]
    if best is not None:
        where = f"trial {best.number}" + (", still running" if best.state == "running" else "")
        parts.append(f"best {printable(progress.sweep.metric.name)} {progress.best_text(best)} ({where})")
    if eta_s is not None and progress.running:
        parts.append(f"{duration_text(eta_s)} to the time limit" if by_limit else f"about {duration_text(eta_s)} to go")
    return " | ".join(parts)


def describe(trial: Trial, sweep: Sweep, *, most: int = PIPE_WIDTH) -> str:
    """The searched parameters of a trial in one line, in few characters.

    Args:
        trial: The trial.
        sweep: Its sweep.
        most: Characters at most, unless the first parameter alone has more; the parameters beyond are counted.
    """
    names = (name for name in sweep.space.searched if name in trial.point)
    parts = [f"{printable(name)}={parameter_text(trial.point, name, digits=DIGITS, most=MAX_CELL)}" for name in names]
    ends = list(accumulate(len(part) + 1 for part in parts))
    if not ends or ends[-1] - 1 <= most:
        return " ".join(parts)
    fitting = max(sum(end + len(f"and {len(parts)} more") <= most for end in ends), 1)
    return " ".join([*parts[:fitting], f"and {len(parts) - fitting} more"])
