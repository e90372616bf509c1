"""Optuna and HyperOpt alone, used as in their tutorials: ask, report, prune and tell."""

from __future__ import annotations

import math
from typing import Any, final

import hyperopt
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from benchmarks.search.simulator import Contestant, Job
from benchmarks.search.tables import Parameters, Table


def distributions(parameters: Parameters) -> dict[str, BaseDistribution]:
    """The parameters of a table as Optuna's distributions."""
    return {name: _distribution(**domain) for name, domain in parameters.items()}


def _distribution(
    values: list[Any] | None = None, min: float = 0, max: float = 0, log: bool = False
) -> BaseDistribution:
    if values is not None:
        return CategoricalDistribution(values)
    if isinstance(min, int):
        return IntDistribution(min, int(max), log=log)
    return FloatDistribution(min, max, log=log)


@final
class OptunaPeer(Contestant):
    """A sampler and a pruner of Optuna. A diverged trial is pruned; a full one is told with its best loss.

    Args:
        table: The table that is searched.
        sampler: Optuna's sampler.
        pruner: Optuna's pruner.
        seed: Seed in the name of the study, which Hyperband uses.
    """

    def __init__(self, table: Table, *, sampler: BaseSampler, pruner: BasePruner, seed: int = 0) -> None:
        self._space, self._max_epochs = distributions(table.parameters), table.max_epochs
        # Hyperband chooses a trial's bracket by the study's name, which is random where none is given
        self._study = optuna.create_study(study_name=f"seed-{seed}", sampler=sampler, pruner=pruner)
        self._trials: dict[int, tuple[Trial, float]] = {}

    def next_job(self) -> Job:
        """A new trial; Optuna's pruners never pause one."""
        trial = self._study.ask(self._space)
        self._trials[trial.number] = (trial, math.inf)
        return Job(trial=trial.number, point=trial.params)

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Report a loss, and prune the trial or tell its result."""
        asked, best = self._trials[trial]
        best = min(best, loss) if math.isfinite(loss) else best
        self._trials[trial] = (asked, best)
        asked.report(loss, epoch)
        if not math.isfinite(loss) or (epoch < self._max_epochs and asked.should_prune()):
            self._study.tell(asked, state=TrialState.PRUNED)
        elif epoch < self._max_epochs:
            return True
        else:
            self._study.tell(asked, best)
        del self._trials[trial]
        return False


@final
class HyperoptPeer(Contestant):
    """HyperOpt's TPE on full trainings; it has no early stopping.

    Args:
        table: The table that is searched.
        seed: Seed of the suggestions.
    """

    def __init__(self, table: Table, *, seed: int) -> None:
        nodes = {name: _node(name, **domain) for name, domain in table.parameters.items()}
        self._domain, self._max_epochs = hyperopt.Domain(None, nodes), table.max_epochs
        self._nodes, self._trials, self._rng = nodes, hyperopt.Trials(), np.random.default_rng(seed)
        self._best: dict[int, float] = {}

    def next_job(self) -> Job:
        """A suggestion as a new trial."""
        (number,) = self._trials.new_trial_ids(1)
        self._trials.refresh()
        (doc,) = hyperopt.tpe.suggest(
            [number], self._domain, self._trials, self._rng.integers(2**31 - 1), verbose=False
        )
        doc["state"] = hyperopt.JOB_STATE_RUNNING
        self._trials.insert_trial_doc(doc)
        self._trials.refresh()
        self._best[number] = math.inf
        values = {name: found[0] for name, found in doc["misc"]["vals"].items()}
        return Job(trial=number, point=hyperopt.space_eval(self._nodes, values))

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Set the result of a trial that ends: its best loss, or failed if it diverged."""
        if math.isfinite(loss):
            self._best[trial] = min(self._best[trial], loss)
            if epoch < self._max_epochs:
                return True
        (doc,) = (each for each in self._trials.trials if each["tid"] == trial)
        ended = math.isfinite(loss)
        doc["state"] = hyperopt.JOB_STATE_DONE
        doc["result"] = {"status": hyperopt.STATUS_OK if ended else hyperopt.STATUS_FAIL}
        if ended:
            doc["result"]["loss"] = self._best[trial]
        self._trials.refresh()
        return False


def _node(name: str, values: list[Any] | None = None, min: float = 0, max: float = 0, log: bool = False) -> Any:
    if values is not None:
        return hyperopt.hp.choice(name, values)
    if isinstance(min, int) and log:
        return hyperopt.pyll.scope.int(hyperopt.hp.qloguniform(name, math.log(min), math.log(max), 1))
    if isinstance(min, int):
        return hyperopt.hp.uniformint(name, min, max)
    return hyperopt.hp.loguniform(name, math.log(min), math.log(max)) if log else hyperopt.hp.uniform(name, min, max)
