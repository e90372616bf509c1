"""Optuna's Bayesian optimisation with a Gaussian process (`sampler: gp`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import FrozenTrial, TrialState

from hpsearch.search.optuna_search import OptunaSearcher
from hpsearch.search.optuna_trials import EqualFidelityView
from hpsearch.search.searcher import Outcome
from hpsearch.space.space import Point, Space


@final
class GpSearcher(OptunaSearcher):
    """Optuna's Gaussian process with expected improvement.

    The time of a proposal grows with the cube of the number of trials: 1.7 s at 200 (Optuna 5.0). Conditional
    parameters are not part of the model, which has the parameters that are always active; they are sampled
    independently.

    Source:
        Optuna's `GPSampler`.
    """

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        """Make the searcher.

        Raises:
            ModuleNotFoundError: SciPy or torch is missing; Optuna itself would notice at the first proposal.
        """
        for package in ("scipy", "torch"):
            import_module(package)
        super().__init__(space=space, seed=seed, initial=initial)
        self._view = EqualFidelityView(self._trials)

    def _make_sampler(self, seed: int) -> BaseSampler:
        return GPSampler(seed=seed, warn_independent_sampling=False)

    def _jointly_modelled(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        return self._without_conditions(group)

    def _show(self, trial: FrozenTrial, outcome: Outcome, loss: float) -> None:
        if outcome.state == "infeasible":
            trial.state, trial.value = TrialState.COMPLETE, loss
        else:
            self._view.show(outcome)
