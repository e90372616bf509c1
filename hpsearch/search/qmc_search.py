"""Optuna's quasi-Monte Carlo sampler: a scrambled Sobol sequence, more even than random search; learns nothing."""

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
    """Trial n gets point n of the sequence; where that is taken or breaks a constraint, a random point.

    The sequence runs over all parameters, so that each branch gets its share; those of inactive ones are dropped.
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
        """The sequence goes on by one with each call; the trial given plays no part."""
        trial = create_trial(state=TrialState.RUNNING)
        codes: Codes = self._study.sampler.sample_relative(self._study, trial, self._distributions)
        return codes
