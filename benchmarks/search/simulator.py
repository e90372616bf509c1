"""The simulator: workers train the trials of a contestant on a simulated clock, and report each epoch to it.

Contestants wrap the real objects of a library, without Ray, processes or a cluster.
"""

from __future__ import annotations

import heapq
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.search.tables import Curve, Table


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial for a worker to train, from its start or from where it was paused."""

    trial: int
    """Number by which the contestant identifies the trial."""
    point: Mapping[str, Any]
    """Values of the parameters."""
    epochs: int = 0
    """Epochs that the trial has already done."""


class Contestant(ABC):
    """A searcher and a stopping rule of one library."""

    @abstractmethod
    def next_job(self) -> Job | None:
        """The next job for a free worker; None if it must wait for a report of another worker."""

    @abstractmethod
    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Handle the end of an epoch.

        Args:
            trial: Number of the trial.
            epoch: The epoch, from 1.
            loss: Its loss; NaN if the trial has diverged.

        Returns:
            Whether the trial continues at once.
        """


@dataclass(kw_only=True)
class Trace:
    """The result of a simulation."""

    times: list[float] = field(default_factory=list)
    """Worker time at each improvement, in epochs of a typical configuration; increasing."""
    regrets: list[float] = field(default_factory=list)
    """Normalised regret from that time on; decreasing."""
    num_trials: int = 0
    """Number of trials that have begun."""
    num_epochs: int = 0
    """Number of epochs that were trained."""
    own_s: float = 0.0
    """Wall seconds spent in the contestant."""

    def regret_at(self, worker_time: float) -> float:
        """Normalised regret of the best trial at a time; NaN before the first finite loss."""
        known = [regret for when, regret in zip(self.times, self.regrets, strict=True) if when <= worker_time]
        return known[-1] if known else math.nan


class Simulation:
    """One contestant on one table.

    Args:
        contestant: The contestant, made for the table.
        table: The table that it searches.
        workers: Number of trials that train at the same time.
        trainings: Total worker time in full trainings of a typical configuration.
    """

    def __init__(self, contestant: Contestant, table: Table, *, workers: int, trainings: float) -> None:
        self._contestant, self._table, self._workers = contestant, table, workers
        self._end = trainings * table.max_epochs / workers
        self._queue: list[tuple[float, int, Job, Curve, int]] = []
        self._curves: dict[int, Curve] = {}
        self._ticket = 0
        self._best = math.inf
        self.trace = Trace()

    def run(self) -> Trace:
        """Simulate until the worker time is used up or the contestant has no more jobs."""
        self._fill(0.0)
        while self._queue:
            now, _, job, curve, epoch = heapq.heappop(self._queue)
            loss = curve.losses[epoch - 1]
            self._note(now, loss)
            began = time.perf_counter()
            continues = self._contestant.on_report(job.trial, epoch, loss)
            self.trace.own_s += time.perf_counter() - began
            if continues and epoch < self._table.max_epochs:
                self._push(now, job, curve, epoch + 1)
            else:
                self._fill(now)
        return self.trace

    def _fill(self, now: float) -> None:
        while len(self._queue) < self._workers:
            began = time.perf_counter()
            job = self._contestant.next_job()
            self.trace.own_s += time.perf_counter() - began
            if job is None:
                return
            if job.trial not in self._curves:
                self._curves[job.trial] = self._table.curve(job.point)
                self.trace.num_trials += 1
            if not self._push(now, job, self._curves[job.trial], job.epochs + 1):
                return

    def _push(self, now: float, job: Job, curve: Curve, epoch: int) -> bool:
        """Train one epoch; returns whether it ends before the simulation does."""
        end = now + curve.epoch_cost
        self._ticket += 1
        if end <= self._end + 1e-9:
            heapq.heappush(self._queue, (end, self._ticket, job, curve, epoch))
        return end <= self._end + 1e-9

    def _note(self, now: float, loss: float) -> None:
        self.trace.num_epochs += 1
        if loss < self._best:
            self._best = loss
            self.trace.times.append(now * self._workers)
            self.trace.regrets.append(self._table.regret(loss))
