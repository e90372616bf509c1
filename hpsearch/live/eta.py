"""How much training is left by what the stopping rule lets through, and how long that takes on the slots there are.

Trials are no measure: under ASHA the first half of them is over in a tenth of the time. A trial's way is cut at its
rungs into stages. Of those that came to the end of a stage, so many entered the next; with the rule's own share as a
prior, that says how many will. A rule that may stop a trial after any epoch has one stage, whose length is the mean
survival by Kaplan and Meier: trials that run still count as long as they have run. What is left is then laid out over
the slots, each trial with the seconds that an epoch of it, or of one like it, has taken.
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
"""So many trials at a rung weigh as much as the rule's own share."""
PRIOR_PACE_S = 10.0
"""Slots count as busy all the time until much more than this has passed."""
MAX_JOBS = 100
"""Stretches of training of a stage that are laid out; of more trials, each is that of several."""
SLOWEST = 4.0
"""Times the median that an epoch is believed to take at most."""
GOLDEN = 0.618

Stages = tuple[int, ...]
"""Epochs at which the stages of a trial end, rising; the last one is the end of a full trial."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial's way through one stage."""

    place: float
    """When it comes among the others of its stage, from 0 to 1; it begins after those of the stage before there."""
    stage: int
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is left to train."""

    under_way: tuple[tuple[Trial, float], ...]
    """Trials that run or wait for another attempt, and the epochs to the end of their stage."""
    coming: tuple[Job, ...]
    """What has not begun, in the order in which it will."""

    @property
    def epochs(self) -> float:
        """All of it."""
        return sum(epochs for _, epochs in self.under_way) + sum(job.epochs for job in self.coming)


@final
class Forecast:
    """Knows the stages of a sweep's trials; is asked with the trials of now."""

    def __init__(self, sweep: Sweep) -> None:
        self._last, self._stopping = sweep.max_epochs, sweep.early_terminate
        self._rule = make_stopping_rule(sweep)
        self._rungs = [self._rule.rungs_of(number) for number in range(1, sweep.max_trials + 1)]
        self._totals = Counter(self._rungs)

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """Epochs after which trial `number` may be paused or stopped by its rank, rising."""
        return self._rungs[number - 1] if number <= len(self._rungs) else self._rule.rungs_of(number)

    def left(self, trials: Iterable[Trial]) -> Work | None:
        """The work that is left; None where nobody knows how long a trial is, since none has come to its end."""
        trials = list(trials)
        last = self._last or max((trial.epochs for trial in trials if trial.state == "done"), default=None)
        if last is None:
            return None
        groups: dict[tuple[int, ...], list[Trial]] = {rungs: [] for rungs in self._totals}
        for trial in trials:
            groups.setdefault(self.rungs_of(trial.number), []).append(trial)
        parts = [self._part(rungs, groups[rungs], last) for rungs in groups]
        coming = sorted((job for part in parts for job in part.coming), key=lambda job: (job.place, job.stage))
        return Work(under_way=tuple(each for part in parts for each in part.under_way), coming=tuple(coming))

    def _part(self, rungs: tuple[int, ...], trials: Sequence[Trial], last: int) -> Work:
        stages = (*(rung for rung in rungs if rung < last), last)
        if len(stages) > 1:
            return _by_stages(stages, trials, total=self._totals[rungs], share=1 / self._stopping.eta)
        grace = self._stopping.min_iter if self._stopping.type == "median" else None
        return _by_survival(last, trials, total=self._totals[rungs], grace=grace)


def _by_stages(stages: Stages, trials: Sequence[Trial], *, total: int, share: float) -> Work:
    under_way = [
        (trial, float(stages[bisect_right(stages, trial.epochs)] - trial.epochs))
        for trial in trials
        if trial.state in ACTIVE_STATES and trial.epochs < stages[-1]
    ]
    coming: list[Job] = []
    expected, begin, entered = float(total), 0, list(trials)
    for stage, end in enumerate(stages):
        gone = [trial for trial in entered if trial.epochs >= end or trial.state not in ACTIVE_STATES]
        passed = [
            trial for trial in gone if trial.epochs > end or (trial.epochs == end and trial.state in ACTIVE_STATES)
        ]
        fresh = max(expected - len(entered), 0.0)
        coming += _jobs(fresh, stage, _mean_length(gone, begin, end))
        ratio = (len(passed) + PRIOR_TRIALS * share) / (len(gone) + PRIOR_TRIALS)
        expected = max(ratio * (len(entered) + fresh), len(passed), min(1.0, expected))
        begin, entered = end, passed
    return Work(under_way=tuple(under_way), coming=tuple(coming))


def _jobs(count: float, stage: int, epochs: float) -> list[Job]:
    """So many trials of a stage, a part of one included, spread over the time that is left; many are taken together."""
    size = max(count / MAX_JOBS, 1.0)
    whole = int(count / size)
    lengths = [epochs * size] * whole + ([epochs * (count - whole * size)] if count - whole * size > 0.05 else [])
    return [Job(place=(i + 0.5) / len(lengths), stage=stage, epochs=each) for i, each in enumerate(lengths)]


def _mean_length(gone: Sequence[Trial], begin: int, end: int) -> float:
    """Epochs that a trial spends in a stage: those that failed, or came to their own end, spend fewer."""
    early = [trial.epochs - begin for trial in gone if trial.epochs < end]
    spent = sum(early) + (len(gone) - len(early)) * (end - begin)
    return (spent + (end - begin)) / (len(gone) + 1)


def _by_survival(last: int, trials: Sequence[Trial], *, total: int, grace: int | None) -> Work:
    """One stage; with a grace, one of two trials that nobody has seen is stopped right after it."""
    prior = [last] if grace is None else [grace, last]
    ends = Counter(trial.epochs for trial in trials if trial.state not in ACTIVE_STATES and trial.epochs < last)
    ends.update(epoch for epoch in prior if epoch < last)
    seen = sorted([*(trial.epochs for trial in trials), *prior])
    curve, alive = [(0, 1.0)], 1.0
    for epoch in sorted(ends):
        alive *= 1 - ends[epoch] / (len(seen) - bisect_right(seen, epoch - 1))
        curve.append((epoch, alive))
    under_way = [
        (trial, _mean_left(curve, trial.epochs, last))
        for trial in trials
        if trial.state in ACTIVE_STATES and trial.epochs < last
    ]
    fresh = _jobs(float(max(total - len(trials), 0)), 0, _mean_left(curve, 0, last))
    return Work(under_way=tuple(under_way), coming=tuple(fresh))


def _mean_left(curve: Sequence[tuple[int, float]], epoch: int, last: int) -> float:
    """Epochs that a trial will still train that has trained `epoch`: the area below the survival from there on."""
    alive_now = next(alive for begin, alive in reversed(curve) if begin <= epoch)
    area, begin, alive = 0.0, epoch, alive_now
    for step, after in curve:
        if step > epoch:
            area += alive * (step - begin)
            begin, alive = step, after
    return (area + alive * (last - begin)) / alive_now


@final
class Pace:
    """Seconds that an epoch takes, and how much of its time a slot with a trial trains."""

    def __init__(self, trials: Iterable[Trial], *, now: float) -> None:
        """Begin to measure; what was trained before does not count for the second."""
        self._known_s = _trained_s(trials)
        self._looked_at, self._held_s = now, 0.0

    def seconds(self, work: Work, trials: Iterable[Trial], *, concurrent: int, now: float) -> float | None:
        """Seconds that `work` takes on `concurrent` slots; None before the first epoch. To be asked once a second."""
        trials = list(trials)
        held = sum(trial.state == "running" for trial in trials)
        self._held_s += held * (now - self._looked_at)
        self._looked_at = now
        speeds = _speeds(trials)
        if not speeds:
            return None
        trained_s = _trained_s(trials) - self._known_s
        unreported_s = held * sum(speeds) / len(speeds)  # at most: an epoch's seconds are known at its end
        prior_s = PRIOR_PACE_S + unreported_s
        busy = min((trained_s + unreported_s / 2 + prior_s) / (self._held_s + prior_s), 1.0)
        return _laid_out(work, speeds, concurrent=concurrent) / busy


def _trained_s(trials: Iterable[Trial]) -> float:
    return sum(trial.past_s + trial.elapsed_s for trial in trials)


def _speeds(trials: Iterable[Trial]) -> list[float]:
    """Seconds an epoch of each trial that has trained one, rising; a slot's first epoch is no measure."""
    speeds = sorted((trial.past_s + trial.elapsed_s) / trial.epochs for trial in trials if trial.epochs)
    speeds = [speed for speed in speeds if speed > 0]
    return [min(speed, SLOWEST * speeds[len(speeds) // 2]) for speed in speeds]


def _laid_out(work: Work, speeds: Sequence[float], *, concurrent: int) -> float:
    """Seconds until the last slot is done, each taking the next job as soon as it is free.

    Args:
        work: What is to be done.
        speeds: Seconds an epoch of the trials so far, rising; jobs take theirs from all of them in turn.
        concurrent: Slots.
    """
    mean = sum(speeds) / len(speeds)
    own = [epochs * (trial.duration_s / trial.epochs if trial.epochs else mean) for trial, epochs in work.under_way]
    slots = [0.0] * concurrent
    last_of = [0.0]
    for seconds in own:
        free = heapq.heappop(slots)
        heapq.heappush(slots, free + seconds)
        last_of[0] = max(last_of[0], free + seconds)
    for i, job in enumerate(work.coming):
        free = heapq.heappop(slots)
        last_of += [0.0] * (job.stage + 1 - len(last_of))
        begins = max(free, last_of[job.stage - 1]) if job.stage else free
        ends = begins + job.epochs * speeds[int(i * GOLDEN % 1 * len(speeds))]
        last_of[job.stage] = max(last_of[job.stage], ends)
        heapq.heappush(slots, ends)
    return max(slots)
