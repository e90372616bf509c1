"""Ray Tune's schedulers and search algorithms, called as its controller calls them, without a cluster.

A loss that is not finite is passed on, as a training function without a check would do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.optuna_peers import distributions
from benchmarks.search.simulator import Contestant, Job
from benchmarks.search.tables import Parameters, Table


@dataclass(frozen=True)
class StubTrial:
    """The attributes of a trial that the scheduler reads."""

    trial_id: str
    """Identifier of the trial."""


class RandomSearch:
    """Independent draws, as Tune's basic variants are; without replacement where the space is one list."""

    def __init__(self, parameters: Parameters, seed: int) -> None:
        self._parameters, self._rng = parameters, random.Random(seed)
        self._decks: dict[str, list[Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """A random point."""
        return {name: self._draw(name, **domain) for name, domain in self._parameters.items()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: random search learns nothing."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None) -> None:
        """Do nothing: random search learns nothing."""

    def _draw(
        self, name: str, values: list[Any] | None = None, min: float = 0, max: float = 0, log: bool = False
    ) -> Any:
        if values is None:
            value = np.exp(self._rng.uniform(np.log(min), np.log(max))) if log else self._rng.uniform(min, max)
            return round(float(value)) if isinstance(min, int) else float(value)
        if len(self._parameters) > 1:
            return self._rng.choice(values)
        if not self._decks.get(name):
            self._decks[name] = self._rng.sample(values, len(values))
        return self._decks[name].pop()


@final
class RayPeer(Contestant):
    """A search algorithm and ASHA, with `reduction_factor` 3 as in the whole benchmark.

    Args:
        table: The table that is searched.
        search: The search algorithm.
        seed: Seed of the scheduler's brackets.
        nan_as: Value that replaces a loss that is not finite; None passes it on.
    """

    def __init__(
        self, table: Table, *, search: Searcher | RandomSearch, seed: int, nan_as: float | None = None
    ) -> None:
        np.random.seed(seed)  # the scheduler draws brackets from the global generator
        self._search, self._max_epochs, self._nan_as = search, table.max_epochs, nan_as
        self._scheduler: Any = AsyncHyperBandScheduler(
            time_attr="training_iteration", metric="loss", mode="min", max_t=table.max_epochs, grace_period=1,
            reduction_factor=3,
        )  # fmt: skip
        self._trials: dict[int, StubTrial] = {}

    def next_job(self) -> Job:
        """A new trial; this scheduler never pauses one."""
        trial = StubTrial(str(len(self._trials)))
        number = len(self._trials)
        point = self._search.suggest(trial.trial_id)
        assert point is not None
        self._trials[number] = trial
        self._scheduler.on_trial_add(None, trial)
        return Job(trial=number, point=point)

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Handle a result as `TuneController._process_trial_result` does.

        The result with which a trial stops completes it in the search algorithm too.
        """
        stub = self._trials[trial]
        loss = self._nan_as if self._nan_as is not None and not np.isfinite(loss) else loss
        result = {"training_iteration": epoch, "loss": loss, "trial_id": stub.trial_id}
        if self._scheduler.on_trial_result(None, stub, result) != TrialScheduler.STOP:
            self._search.on_trial_result(stub.trial_id, result)
            return True
        self._scheduler.on_trial_complete(None, stub, result)
        self._search.on_trial_complete(stub.trial_id, result)
        return False


def optuna_search(table: Table, seed: int) -> OptunaSearch:
    """Tune's OptunaSearch with its default sampler, TPE."""
    return OptunaSearch(space=distributions(table.parameters), metric="loss", mode="min", seed=seed)
