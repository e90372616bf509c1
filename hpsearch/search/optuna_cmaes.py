"""Optuna's CMA-ES (`sampler: cmaes`), with a warm start from priors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, final

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.search.optuna_search import OptunaSearcher
from hpsearch.search.searcher import Outcome
from hpsearch.space.space import Point, Space

NUM_SOURCES = 10
"""Trials from which a warm start takes the best tenth, so at least one."""


@final
class CmaEsSearcher(OptunaSearcher):
    """Optuna's CMA-ES.

    It models the ordered parameters that are always active, if there are two or more; the others are sampled
    independently. It counts every trial of the sweep into its generations, whether it proposed the point or not.

    Priors are not part of a generation: the best tenth of them decides where and how widely the first generation is
    drawn.

    Source:
        Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772; Nomura et al., "Warm Starting CMA-ES for
        Hyperparameter Optimization", arXiv:2012.06932, for the priors; Optuna's `CmaEsSampler`.
    """

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        """Make the searcher.

        Raises:
            ModuleNotFoundError: The package `cmaes` is missing; Optuna itself would notice at the first proposal.
        """
        import_module("cmaes")
        super().__init__(space=space, seed=seed, initial=initial)
        self._sources: list[FrozenTrial] = []

    def _make_sampler(self, seed: int) -> BaseSampler:
        if not self._sources:
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        repeated = self._sources * -(-NUM_SOURCES // len(self._sources))  # with fewer than ten it would use none
        return CmaEsSampler(seed=seed, warn_independent_sampling=False, source_trials=repeated, n_startup_trials=0)

    def _jointly_modelled(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        joint = self._without_conditions(group)
        ordered = {name: each for name, each in joint.items() if not isinstance(each, CategoricalDistribution)}
        return ordered if len(ordered) > 1 else {}

    def _attributes(self, number: int) -> dict[str, Any]:
        """The generation that the trial belongs to, and the state from which that generation is drawn."""
        trial = self._storage.scratch()
        self._sample(number, 0, trial)
        return dict(self._storage.get_trial(trial._trial_id).system_attrs)

    def _show(self, trial: FrozenTrial, outcome: Outcome, loss: float) -> None:
        trial.state, trial.value = TrialState.COMPLETE, loss

    def _learn_prior(self, prior: Outcome) -> None:
        if prior.loss is not None and (codes := self._coding.encode(prior.point)) is not None:
            joint = next(filter(None, map(self._jointly_modelled, self._coding.groups)), {})
            source = create_trial(params={name: codes[name] for name in joint}, distributions=joint, value=prior.loss)
            self._sources += [source] if joint else []
