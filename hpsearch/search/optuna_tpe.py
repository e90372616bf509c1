"""Optuna's Tree-structured Parzen Estimator (`method: bayes`), interleaved with random trials under a stopping rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.search.interleaving import shall_be_random
from hpsearch.search.optuna_search import OptunaSearcher
from hpsearch.search.optuna_trials import EqualFidelityView
from hpsearch.search.searcher import NEVER_RAN, Outcome
from hpsearch.space.space import Point, Space


@final
class TpeSearcher(OptunaSearcher):
    """Optuna's TPE.

    Each group of parameters that are active together is modelled jointly, from the trials in which it was active, as
    TPE's own `group=True` does.

    Once a trial was stopped, points are drawn at random until trials are compared above the first rung: a model of such
    early losses is worse than none. From then on TPE proposes a part of the points and the others are drawn at random
    (`interleaving.py`); more of them while the best random trial is ahead.

    Source:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4; Optuna's `TPESampler`.
    """

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._view = EqualFidelityView(self._trials)
        self._avoided: tuple[Point, ...] = ()

    def _make_sampler(self, seed: int) -> BaseSampler:
        return TPESampler(seed=seed)

    def _jointly_modelled(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        return {name: self._distributions[name] for name in group}

    def _propose(self, number: int, draw: int) -> Point:
        if self._shall_be_random(number):
            return self.space.draw(self.rng(number, draw))
        return super()._propose(number, draw)

    def _shall_be_random(self, number: int) -> bool:
        compared = self._view.compared
        if not compared.any_stopped:
            return not compared.has_outcomes
        if not compared.is_informative:
            return True
        return shall_be_random(self.seed, number, random_is_ahead=compared.random_is_ahead(self.is_random))

    def _show(self, trial: FrozenTrial, outcome: Outcome, loss: float) -> None:
        if outcome.state == "infeasible":
            trial.state = TrialState.PRUNED
        else:
            self._view.show(outcome)

    def _avoid(self, points: tuple[Point, ...]) -> None:
        if points is not self._avoided:
            self._avoided = points
            self._storage.avoided = [self._pruned(number, point) for number, point in enumerate(points, NEVER_RAN)]

    def _pruned(self, number: int, point: Point) -> FrozenTrial:
        codes = self._coding.encode(point) or {}
        joint = {name: self._distributions[name] for name in codes}
        trial = create_trial(state=TrialState.PRUNED, params=dict(codes), distributions=joint)
        trial.number = number
        return trial
