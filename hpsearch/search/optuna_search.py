"""The base of Optuna's learning samplers, which are in `optuna_tpe.py`, `optuna_gp.py` and `optuna_cmaes.py`.

The study is in memory and filled here (`optuna_trials.py`). For each proposal a sampler is made with a seed of its own
and called through its public methods, so that a proposal leaves no state behind. What the samplers see of a trial:

    outcome      tpe                          gp                             cmaes
    done         COMPLETE, best loss up to the budget at which trials        COMPLETE, best loss
                 are compared (`equal_fidelity.py`)
    stopped      the same; FAIL, which both ignore, if it was stopped        COMPLETE, best loss, since
                 below that budget                                           trials make up generations
    infeasible   PRUNED without a loss,       COMPLETE, worst loss known     COMPLETE, worst loss known
                 which it ranks last
    dropped      FAIL                         FAIL                           FAIL
    avoided      as infeasible                not seen                       not seen

Priors are reported in the same way, before all trials; cmaes starts from them instead.

A conditional space is sampled by define-by-run: one group after another of parameters that are active together, without
those that are inactive by the values sampled before.
"""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpsearch.search.coding import Codes, Coding, num_codes
from hpsearch.search.optuna_trials import STUDY, TrialsInMemory
from hpsearch.search.outcome_buffer import InfeasibleBuffer
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Choice, Integer, Point, Searched, Shaped, Space
from hpsearch.time_of_day import local_now


def distributions(coding: Coding) -> dict[str, BaseDistribution]:
    """The modelled parameters as Optuna's distributions, by dotted name."""
    return {name: _distribution(domain) for name, domain in coding.domains.items()}


def _distribution(domain: Searched) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(range(domain.size))
    if (size := num_codes(domain)) is not None:
        return IntDistribution(0, size - 1)
    if isinstance(domain, Shaped):
        return FloatDistribution(0.0, 1.0)
    if isinstance(domain, Integer):
        return IntDistribution(domain.min, domain.max, log=True)
    return FloatDistribution(domain.min, domain.max, log=domain.log)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's messages about new studies and experimental features; all settings are restored."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


class OptunaSearcher(Searcher):
    """A study in memory, and one of Optuna's samplers, which is made again for each proposal."""

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._coding = Coding(space)
        self._distributions = distributions(self._coding)
        self._buffer = InfeasibleBuffer()
        self._trials: dict[int, FrozenTrial] = {}
        with quiet():
            self._storage = TrialsInMemory()

    @abstractmethod
    def _make_sampler(self, seed: int) -> BaseSampler:
        """A sampler without any state; `seed` is in [0, 2**31)."""

    @abstractmethod
    def _jointly_modelled(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        """The parameters of a group that the sampler models together; the others are sampled independently."""

    @abstractmethod
    def _show(self, trial: FrozenTrial, outcome: Outcome, loss: float) -> None:
        """Give a trial the state and the value that represent its outcome to the sampler.

        Args:
            trial: A trial of the study.
            outcome: How it ended. A trial that was promoted is shown again, with a longer curve.
            loss: The best loss of the outcome; for an infeasible one, the worst loss known.
        """

    def _attributes(self, number: int) -> dict[str, Any]:
        """System attributes that the sampler expects to find at trial `number`."""
        return {}

    def _propose(self, number: int, draw: int) -> Point:
        return self._coding.decode(self._sample(number, draw, self._storage.scratch()))

    @final
    def _begin(self, number: int, point: Point) -> None:
        codes = self._coding.encode(point)
        if codes is None:
            return
        distributions = {name: self._distributions[name] for name in codes}
        self._trials[number] = self._storage.add(codes, distributions, self._attributes(number))

    @final
    def _learn(self, outcome: Outcome) -> None:
        for ready, loss in self._buffer.release(outcome):
            if ready.number in self._trials:
                trial = self._trials[ready.number]
                trial.datetime_complete = local_now()
                self._show(trial, ready, loss)

    @final
    def _forget(self, number: int) -> None:
        if number in self._trials:
            self._trials[number].state = TrialState.FAIL

    @final
    def _sample(self, number: int, draw: int, trial: FrozenTrial) -> Codes:
        """Sample for `trial`, to which the sampler may add system attributes."""
        seed = self.rng(number, draw).getrandbits(31)
        with quiet():
            sampler = self._make_sampler(seed)
            study = optuna.load_study(study_name=STUDY, storage=self._storage, sampler=sampler)
            return self._sample_by(sampler, study, trial)

    def _sample_by(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> Codes:
        """Sample the parameters that the sampler models together jointly, and the others one by one."""
        codes: Codes = {}
        for group in self._coding.groups:
            if not self._coding.is_active(group, codes):
                continue
            codes |= sampler.sample_relative(study, trial, self._jointly_modelled(group))
            for name in group:
                if name not in codes:
                    codes[name] = sampler.sample_independent(study, trial, name, self._distributions[name])
        return codes

    @final
    def _without_conditions(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        """The distributions of a group; empty if it is not always active, for samplers without conditions."""
        joint = {name: self._distributions[name] for name in group}
        return joint if self.space.conditions.keys().isdisjoint(joint) else {}
