"""Estimates the time until a sweep ends, from the training that its stopping rule still lets through and its slots.

The number of finished trials is no measure: under ASHA half of all trials are over after a tenth of the time. The
training of a trial is divided at its rungs into stages. The share of trials that passed a rung, with the rule's own
share as a prior, estimates how many of the others will. Under a rule that may stop a trial after any epoch there is one
stage, whose mean length is estimated by Kaplan and Meier (1958): trials that are still running count for the epochs
that they have. The work is then laid out over the slots, each trial with the seconds that its epochs, or those of
others, take.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import ACTIVE_STATES
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

PRIOR_TRIALS = 6.0
"""Trials at a rung that weigh as much as the rule's own share."""
PRIOR_PACE_S = 10.0
"""Seconds for which slots are assumed to be busy all the time; much more must pass before they count as idle."""
MAX_JOBS = 100
"""Jobs of a stage that are laid out; where a stage has more trials, a job represents several."""
MAX_SLOWNESS = 4.0
"""Multiple of the median that an epoch of any trial is assumed to take at most."""
GOLDEN = 0.618
"""Golden ratio: multiples of it, modulo 1, are spread evenly, so that jobs get speeds from the whole range in turn."""

Stages = tuple[int, ...]
"""Epochs at which the stages of a trial end, rising; the last one is the last epoch of a full trial."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial's training through one stage, or that of several trials."""

    position: float
    """Its position among the jobs of its stage, from 0 to 1; jobs of an earlier stage at the same position precede
    it."""
    stage: int
    """Counted from 0."""
    epochs: float
    """Epochs of training."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The training that is left."""

    active: tuple[tuple[Trial, float], ...]
    """Trials that run or wait for another attempt, each with the epochs to the end of its stage."""
    pending: tuple[Job, ...]
    """Jobs that have not begun, in the order in which they will."""

    @property
    def epochs(self) -> float:
        """Epochs that are left, of all trials together."""
        return sum(epochs for _, epochs in self.active) + sum(job.epochs for job in self.pending)


@final
class Forecast:
    """Estimates the training that is left of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        """Find the rungs of all trials.

        Args:
            sweep: Its limits and its stopping rule count.
        """
        self._last, self._stopping = sweep.max_epochs, sweep.early_terminate
        self._rule = make_stopping_rule(sweep)
        self._rungs = [self._rule.rungs_of(number) for number in range(1, sweep.max_trials + 1)]
        self._totals = Counter(self._rungs)

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """Epochs after which trial `number` may be paused or stopped by its rank, rising."""
        return self._rungs[number - 1] if number <= len(self._rungs) else self._rule.rungs_of(number)

    def remaining(self, trials: Iterable[Trial]) -> Work | None:
        """The work that is left.

        Args:
            trials: All trials so far.

        Returns:
            None while the length of a trial is unknown: the sweep does not limit it, and no trial has ended by itself.
        """
        trials = list(trials)
        last = self._last or max((trial.epochs for trial in trials if trial.state == "done"), default=None)
        if last is None:
            return None
        groups: dict[tuple[int, ...], list[Trial]] = {rungs: [] for rungs in self._totals}
        for trial in trials:
            groups.setdefault(self.rungs_of(trial.number), []).append(trial)
        parts = [self._group_work(rungs, groups[rungs], last) for rungs in groups]
        pending = sorted((job for part in parts for job in part.pending), key=lambda job: (job.position, job.stage))
        return Work(active=tuple(each for part in parts for each in part.active), pending=tuple(pending))

    def _group_work(self, rungs: tuple[int, ...], trials: Sequence[Trial], last: int) -> Work:
        """The work that is left of the trials that have the same rungs."""
        stages = (*(rung for rung in rungs if rung < last), last)
        if len(stages) > 1:
            return _work_by_stages(stages, trials, total=self._totals[rungs], share=1 / self._stopping.eta)
        grace = self._stopping.min_iter if self._stopping.type == "median" else None
        return _work_by_survival(last, trials, total=self._totals[rungs], grace=grace)


def _work_by_stages(stages: Stages, trials: Sequence[Trial], *, total: int, share: float) -> Work:
    """The work that is left where trials are stopped at rungs.

    Args:
        stages: Of these trials.
        trials: Those that have begun.
        total: All trials of this kind, those included that have not begun.
        share: Part of the trials that the rule lets pass a rung.
    """
    active = [
        (trial, float(stages[bisect_right(stages, trial.epochs)] - trial.epochs))
        for trial in trials
        if trial.state in ACTIVE_STATES and trial.epochs < stages[-1]
    ]
    pending: list[Job] = []
    expected, begin, entered = float(total), 0, list(trials)
    for stage, end in enumerate(stages):
        left = [trial for trial in entered if trial.epochs >= end or trial.state not in ACTIVE_STATES]
        passed = [
            trial for trial in left if trial.epochs > end or (trial.epochs == end and trial.state in ACTIVE_STATES)
        ]
        to_come = max(expected - len(entered), 0.0)
        pending += _jobs(to_come, stage, _mean_length(left, begin, end))
        ratio = (len(passed) + PRIOR_TRIALS * share) / (len(left) + PRIOR_TRIALS)
        expected = max(ratio * (len(entered) + to_come), len(passed), min(1.0, expected))
        begin, entered = end, passed
    return Work(active=tuple(active), pending=tuple(pending))


def _jobs(count: float, stage: int, epochs: float) -> list[Job]:
    """The jobs of `count` trials in a stage, evenly spread over the time that is left.

    Args:
        count: May have a fraction: that part of a trial becomes a job of the same part of `epochs`.
        stage: Counted from 0.
        epochs: Of each trial.
    """
    size = max(count / MAX_JOBS, 1.0)
    whole = int(count / size)
    lengths = [epochs * size] * whole + ([epochs * (count - whole * size)] if count - whole * size > 0.05 else [])
    return [Job(position=(i + 0.5) / len(lengths), stage=stage, epochs=each) for i, each in enumerate(lengths)]


def _mean_length(left: Sequence[Trial], begin: int, end: int) -> float:
    """Mean epochs that a trial spends in a stage, which is less where trials fail or end by themselves.

    Args:
        left: Trials that have left the stage.
        begin: Epoch at which it begins.
        end: Epoch at which it ends.
    """
    early = [trial.epochs - begin for trial in left if trial.epochs < end]
    spent = sum(early) + (len(left) - len(early)) * (end - begin)
    return (spent + (end - begin)) / (len(left) + 1)


def _work_by_survival(last: int, trials: Sequence[Trial], *, total: int, grace: int | None) -> Work:
    """The work that is left where a trial may be stopped after any epoch.

    Args:
        last: Last epoch of a full trial.
        trials: Those that have begun.
        total: All trials, those included that have not begun.
        grace: Epochs after which the rule may stop a trial; the prior is then two imagined trials, one of which is
            stopped right after it. None where trials are not stopped.
    """
    prior = [last] if grace is None else [grace, last]
    ends = Counter(trial.epochs for trial in trials if trial.state not in ACTIVE_STATES and trial.epochs < last)
    ends.update(epoch for epoch in prior if epoch < last)
    seen = sorted([*(trial.epochs for trial in trials), *prior])
    curve, alive = [(0, 1.0)], 1.0
    for epoch in sorted(ends):
        alive *= 1 - ends[epoch] / (len(seen) - bisect_right(seen, epoch - 1))
        curve.append((epoch, alive))
    active = [
        (trial, _mean_remaining(curve, trial.epochs, last))
        for trial in trials
        if trial.state in ACTIVE_STATES and trial.epochs < last
    ]
    pending = _jobs(float(max(total - len(trials), 0)), 0, _mean_remaining(curve, 0, last))
    return Work(active=tuple(active), pending=tuple(pending))


def _mean_remaining(curve: Sequence[tuple[int, float]], epoch: int, last: int) -> float:
    """Mean epochs that a trial still trains after `epoch`: the area below the survival curve from there on.

    Args:
        curve: Epochs, rising, each with the share of trials that train beyond it.
        epoch: Epochs that the trial has trained.
        last: Last epoch of a full trial.
    """
    alive_now = next(alive for begin, alive in reversed(curve) if begin <= epoch)
    area, begin, alive = 0.0, epoch, alive_now
    for step, after in curve:
        if step > epoch:
            area += alive * (step - begin)
            begin, alive = step, after
    return (area + alive * (last - begin)) / alive_now


@final
class Pace:
    """Measures how long an epoch takes, and how much of its time a slot that has a trial spends on training."""

    def __init__(self, trials: Iterable[Trial], *, now: float) -> None:
        """Begin to measure; training before this moment does not count for the time that slots spend on it.

        Args:
            trials: All trials so far.
            now: Seconds, by the same clock as later.
        """
        self._known_s = _trained_s(trials)
        self._measured_at, self._held_s = now, 0.0

    def seconds(self, work: Work, trials: Iterable[Trial], *, concurrent: int, now: float) -> float | None:
        """Seconds that the work takes; to be called at least every few seconds.

        Args:
            work: The work that is left.
            trials: All trials so far.
            concurrent: Slots, at least 1.
            now: Seconds, by the same clock as before.

        Returns:
            None before the first epoch of any trial.
        """
        trials = list(trials)
        num_running = sum(trial.state == "running" for trial in trials)
        self._held_s += num_running * (now - self._measured_at)
        self._measured_at = now
        speeds = _speeds(trials)
        if not speeds:
            return None
        trained_s = _trained_s(trials) - self._known_s
        unreported_s = num_running * sum(speeds) / len(speeds)  # at most: an epoch's seconds are reported at its end
        prior_s = PRIOR_PACE_S + unreported_s
        busy_share = min((trained_s + unreported_s / 2 + prior_s) / (self._held_s + prior_s), 1.0)
        return _makespan_s(work, speeds, concurrent=concurrent) / busy_share


def _trained_s(trials: Iterable[Trial]) -> float:
    return sum(trial.duration_s for trial in trials)


def _speeds(trials: Iterable[Trial]) -> list[float]:
    """Mean seconds of an epoch for each trial that has trained one, rising; outliers are limited to MAX_SLOWNESS."""
    speeds = sorted(trial.duration_s / trial.epochs for trial in trials if trial.epochs)
    speeds = [speed for speed in speeds if speed > 0]
    return [min(speed, MAX_SLOWNESS * speeds[len(speeds) // 2]) for speed in speeds]


def _makespan_s(work: Work, speeds: Sequence[float], *, concurrent: int) -> float:
    """Seconds until the last slot is done, if each takes the next job as soon as it is free.

    Args:
        work: What is to be done; a job of a stage begins after one of the stage before it has ended.
        speeds: Seconds of an epoch for each trial so far, rising; jobs get theirs from the whole range in turn.
        concurrent: Slots.
    """
    mean = sum(speeds) / len(speeds)
    own = [epochs * (trial.duration_s / trial.epochs if trial.epochs else mean) for trial, epochs in work.active]
    slots = [0.0] * concurrent
    last_end = [0.0]
    for seconds in own:
        free = heapq.heappop(slots)
        heapq.heappush(slots, free + seconds)
        last_end[0] = max(last_end[0], free + seconds)
    for i, job in enumerate(work.pending):
        free = heapq.heappop(slots)
        last_end += [0.0] * (job.stage + 1 - len(last_end))
        begin = max(free, last_end[job.stage - 1]) if job.stage else free
        end = begin + job.epochs * speeds[int(i * GOLDEN % 1 * len(speeds))]
        last_end[job.stage] = max(last_end[job.stage], end)
        heapq.heappush(slots, end)
    return max(slots)
