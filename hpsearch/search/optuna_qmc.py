"""Optuna's quasi-Monte Carlo sampler (`sampler: qmc`), which does not learn from outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from optuna.samplers import QMCSampler
from optuna.study import create_study
from optuna.trial import TrialState, create_trial

from hpsearch.search.coding import Codes, Coding
from hpsearch.search.optuna_search import distributions, quiet
from hpsearch.search.searcher import Searcher
from hpsearch.space.space import Point, Space


@final
class QmcSearcher(Searcher):
    """A scrambled Sobol sequence, which covers the space more evenly than random search.

    Trial n gets point n of the sequence, or a random point if that one was tried before or breaks a constraint. The
    sequence has all parameters, so that each branch of a conditional space gets its share; values of inactive
    parameters are dropped.

    Source:
        Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Optuna's
        `QMCSampler`.
    """

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._coding = Coding(space)
        self._distributions = distributions(self._coding)
        self._sequence: list[Codes] = []
        with quiet():
            sampler = QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
            self._study = create_study(sampler=sampler)

    def _propose(self, number: int, draw: int) -> Point:
        if draw > 0:
            return self.space.draw(self.rng(number, draw))
        while len(self._sequence) < number:
            self._sequence.append(self._next())
        return self._coding.decode(self._sequence[number - 1])

    def _next(self) -> Codes:
        """The next point of the sequence; Optuna's sampler advances with each call, whatever the trial."""
        trial = create_trial(state=TrialState.RUNNING)
        codes: Codes = self._study.sampler.sample_relative(self._study, trial, self._distributions)
        return codes
