"""A clock that only simulated epochs move: k workers train what a contestant hands out, and it hears every epoch.

Contestants are the real objects of a library; what they need of Ray, processes or a cluster is not here.
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
    """Train a trial from where it is."""

    trial: int
    """Any number that the contestant knows it by."""
    point: Mapping[str, Any]
    """What is trained."""
    epochs: int = 0
    """Epochs that it has done already."""


class Contestant(ABC):
    """A searcher and a stopping rule of one library, in that library's own words."""

    @abstractmethod
    def next_job(self) -> Job | None:
        """What a free worker does; None while it has to wait for another worker's epoch."""

    @abstractmethod
    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """A trial has finished an epoch, from 1; NaN if it diverged. Whether it goes on at once."""


@dataclass(kw_only=True)
class Trace:
    """What a simulation found."""

    times: list[float] = field(default_factory=list)
    """Worker time used, in epochs of a typical configuration, at each improvement; rising."""
    regrets: list[float] = field(default_factory=list)
    """Normalised regret from there on; falling."""
    num_trials: int = 0
    num_epochs: int = 0
    own_s: float = 0.0
    """Real seconds spent in the contestant."""

    def regret_at(self, worker_time: float) -> float:
        """Of the best that was known then; NaN before the first finite loss."""
        known = [regret for when, regret in zip(self.times, self.regrets, strict=True) if when <= worker_time]
        return known[-1] if known else math.nan


class Simulation:
    """One contestant on one table."""

    def __init__(self, contestant: Contestant, table: Table, *, workers: int, trainings: float) -> None:
        """Nothing is trained yet.

        Args:
            contestant: It knows the table's parameters and number of epochs.
            table: What it searches.
            workers: Trials trained at once.
            trainings: Worker time in all, counted in full trainings of a typical configuration.
        """
        self._contestant, self._table, self._workers = contestant, table, workers
        self._end = trainings * table.max_epochs / workers
        self._queue: list[tuple[float, int, Job, Curve, int]] = []
        self._curves: dict[int, Curve] = {}
        self._ticket = 0
        self._best = math.inf
        self.trace = Trace()

    def run(self) -> Trace:
        """Until the worker time is used up, or the contestant has nothing left."""
        self._fill(0.0)
        while self._queue:
            now, _, job, curve, epoch = heapq.heappop(self._queue)
            loss = curve.losses[epoch - 1]
            self._note(now, loss)
            began = time.perf_counter()
            goes_on = self._contestant.on_report(job.trial, epoch, loss)
            self.trace.own_s += time.perf_counter() - began
            if goes_on and epoch < self._table.max_epochs:
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
        """Train one epoch; whether it ends before the simulation does."""
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
