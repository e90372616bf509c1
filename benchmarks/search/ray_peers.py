"""Ray Tune's own scheduler and search objects, called as its controller calls them; no cluster, stub trials.

A loss that is not finite is handed on as it is, which is what an unguarded training function does.
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
    """All that the scheduler looks at."""

    trial_id: str


class RandomSearch:
    """Independent draws, as Tune's basic variants are; without replacement where the space is one list."""

    def __init__(self, parameters: Parameters, seed: int) -> None:
        self._parameters, self._rng = parameters, random.Random(seed)
        self._decks: dict[str, list[Any]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """One point."""
        return {name: self._draw(name, **domain) for name, domain in self._parameters.items()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learnt."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None) -> None:
        """Nothing is learnt."""

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
    """A search algorithm and ASHA, `reduction_factor` 3 as everywhere here."""

    def __init__(
        self, table: Table, *, search: Searcher | RandomSearch, seed: int, nan_as: float | None = None
    ) -> None:
        np.random.seed(seed)  # its brackets are drawn from the global generator
        self._search, self._max_epochs, self._nan_as = search, table.max_epochs, nan_as
        self._scheduler: Any = AsyncHyperBandScheduler(
            time_attr="training_iteration", metric="loss", mode="min", max_t=table.max_epochs, grace_period=1,
            reduction_factor=3,
        )  # fmt: skip
        self._trials: dict[int, StubTrial] = {}

    def next_job(self) -> Job:
        """A new trial: this scheduler never pauses one."""
        trial = StubTrial(str(len(self._trials)))
        number = len(self._trials)
        point = self._search.suggest(trial.trial_id)
        assert point is not None
        self._trials[number] = trial
        self._scheduler.on_trial_add(None, trial)
        return Job(trial=number, point=point)

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """As `TuneController._process_trial_result`: the report that stops a trial reaches the search as its last."""
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
