"""Optuna's samplers that learn: tpe, gp, cmaes. (Its qmc is in `qmc_search.py`.)

The study lives in memory and is filled by us (`optuna_trials.py`); the sampler is made anew, with a seed of its own,
for each proposal and asked through its public methods, so nothing of a proposal is left behind. How a trial is told:

    done         COMPLETE with its best loss, up to where it is compared with stopped ones stopped      the same; FAIL,
    which all leave out, where it was stopped below that height (`equal_fidelity.py`). cmaes,
                 which counts trials into generations: COMPLETE with its best loss.
    infeasible   tpe: PRUNED without a loss, which it ranks last of all. gp, cmaes: COMPLETE with the worst loss known.
    dropped      FAIL
    shunned      tpe: as infeasible; the others don't hear of them

Once a trial was stopped, points are drawn at random until trials are compared above the first rung: a model of such
early losses is worse than none. From then on tpe proposes a part, and the others explore
(`hpsearch/search/interleaving.py`): the more, the less its proposals come to.

Priors are told in the same way, before all trials. To cmaes, which learns from its own generations alone, they say
where and how widely its first generation is drawn.

A conditional space is sampled by define-by-run: group after group of parameters that are active together, those that
are inactive by what was sampled before being left out. tpe models each group jointly, from the trials where it was
active (as its own `group=True` does). gp and cmaes know no conditions: they model the group that is always active, the
others are drawn.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from importlib import import_module
from math import inf
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.search.coding import Codes, Coding, num_codes
from hpsearch.search.equal_fidelity import FidelitySelector
from hpsearch.search.infeasible import InfeasibleBuffer
from hpsearch.search.interleaving import shall_be_random
from hpsearch.search.optuna_trials import STUDY, TrialsInMemory
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Choice, Integer, Point, Searched, Shaped, Space

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "gp": partial(GPSampler, warn_independent_sampling=False),
    "cmaes": partial(CmaEsSampler, warn_independent_sampling=False),
}
"""Name to a sampler, which takes a seed below 2**31 by keyword."""

NEWEST = 10**9
"""Number of the first trial that never ran: tpe forgets old ones little by little."""

PACKAGES = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}
"""What a sampler needs beyond Optuna, which would look for it at the first proposal."""


def distributions(coding: Coding) -> dict[str, BaseDistribution]:
    """The modelled parameters in Optuna's words."""
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
    """Without Optuna's notes on new studies and experimental features; other settings are put back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


@final
class OptunaSearcher(Searcher):
    """A study in memory, asked through a sampler that is made anew for each proposal."""

    def __init__(self, *, space: Space, seed: int, sampler: str, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        for package in PACKAGES.get(sampler, ()):
            import_module(package)
        self._sampler = sampler
        self._coding = Coding(space)
        self._distributions = distributions(self._coding)
        self._held_back = InfeasibleBuffer()
        self._comparable = FidelitySelector()
        self._compared_at = inf
        self._shunned: tuple[Point, ...] = ()
        self._trials: dict[int, FrozenTrial] = {}
        self._sources: list[FrozenTrial] = []
        with quiet():
            self._storage = TrialsInMemory()

    def _propose(self, number: int, draw: int) -> Point:
        if self._shall_explore(number):
            return self.space.draw(self.rng(number, draw))
        return self._coding.decode(self._sample(number, draw, self._storage.scratch()))

    def _shall_explore(self, number: int) -> bool:
        """Whether the model has no part in this trial; gp explores by itself, cmaes counts what it proposed."""
        if self._sampler != "tpe":
            return False
        if not self._comparable.any_stopped:
            return not self._comparable.knows_any
        if not self._comparable.tells_enough:
            return True
        return shall_be_random(self.seed, number, random_is_ahead=self._comparable.random_is_ahead(self.is_random))

    def _begin(self, number: int, point: Point) -> None:
        codes = self._coding.encode(point)
        if codes is None:
            return
        distributions = {name: self._distributions[name] for name in codes}
        self._trials[number] = self._storage.add(codes, distributions, self._generation(number))

    def _learn(self, outcome: Outcome) -> None:
        for ready, loss in self._held_back.settle(outcome):
            if ready.number in self._trials:
                self._finish(self._trials[ready.number], ready, loss)

    def _avoid(self, points: tuple[Point, ...]) -> None:
        if self._sampler == "tpe" and points is not self._shunned:
            self._shunned = points
            self._storage.shunned = [self._pruned(number, point) for number, point in enumerate(points, start=NEWEST)]

    def _pruned(self, number: int, point: Point) -> FrozenTrial:
        codes = self._coding.encode(point) or {}
        joint = {name: self._distributions[name] for name in codes}
        trial = create_trial(state=TrialState.PRUNED, params=dict(codes), distributions=joint)
        trial.number = number
        return trial

    def _learn_from(self, prior: Outcome) -> None:
        if self._sampler != "cmaes":
            super()._learn_from(prior)
        elif prior.loss is not None and (codes := self._coding.encode(prior.point)) is not None:
            joint = next(filter(None, map(self._jointly_modelled, self._coding.groups)), {})
            source = create_trial(params={name: codes[name] for name in joint}, distributions=joint, value=prior.loss)
            self._sources += [source] if joint else []

    def _forget(self, number: int) -> None:
        if number in self._trials:
            self._trials[number].state = TrialState.FAIL

    def _finish(self, trial: FrozenTrial, outcome: Outcome, loss: float) -> None:
        """Tell a trial; one that was told before, and has been promoted since, is simply told anew."""
        trial.datetime_complete = datetime.now()
        if outcome.state == "infeasible" and self._sampler == "tpe":
            trial.state = TrialState.PRUNED
        elif outcome.state == "infeasible" or self._sampler == "cmaes":
            trial.state, trial.value = TrialState.COMPLETE, loss
        else:
            self._comparable.add(outcome)
            self._compare(outcome.number)

    def _compare(self, number: int) -> None:
        """Show the sampler what it may compare: trial `number` anew, and all others if the height has changed."""
        height = self._comparable.height
        losses = {number: self._comparable.loss(number)} if height == self._compared_at else self._comparable.losses()
        self._compared_at = height
        for each, loss in losses.items():
            trial = self._trials[each]
            trial.state, trial.value = (TrialState.FAIL, None) if loss is None else (TrialState.COMPLETE, loss)

    def _sample(self, number: int, draw: int, trial: FrozenTrial) -> Codes:
        seed = self.rng(number, draw).getrandbits(31)
        with quiet():
            sampler = _warm_started(seed, self._sources) if self._sources else SAMPLERS[self._sampler](seed=seed)
            study = optuna.load_study(study_name=STUDY, storage=self._storage, sampler=sampler)
            return self._sample_by(sampler, study, trial)

    def _sample_by(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> Codes:
        """What the sampler models together, by its model where it has one yet; the rest one by one."""
        codes: Codes = {}
        for group in self._coding.groups:
            if not self._coding.is_active(group, codes):
                continue
            codes |= sampler.sample_relative(study, trial, self._jointly_modelled(group))
            for name in group:
                if name not in codes:
                    codes[name] = sampler.sample_independent(study, trial, name, self._distributions[name])
        return codes

    def _jointly_modelled(self, group: Iterable[str]) -> dict[str, BaseDistribution]:
        """What the sampler models of a group; CMA-ES knows ordered parameters alone, and at least two of them."""
        joint = {name: self._distributions[name] for name in group}
        if self._sampler == "tpe":
            return joint
        if not self.space.conditions.keys().isdisjoint(joint):
            return {}
        if self._sampler == "gp":
            return joint
        ordered = {name: each for name, each in joint.items() if not isinstance(each, CategoricalDistribution)}
        return ordered if len(ordered) > 1 else {}

    def _generation(self, number: int) -> dict[str, Any]:
        """CMA-ES's notes: which generation a trial is of, whoever chose its point, and the state it began with."""
        if self._sampler != "cmaes":
            return {}
        trial = self._storage.scratch()
        self._sample(number, 0, trial)
        return dict(self._storage.get_trial(trial._trial_id).system_attrs)


def _warm_started(seed: int, sources: list[FrozenTrial]) -> BaseSampler:
    """CMA-ES that begins where the best tenth of earlier trials lies, at least the best one.

    Source:
        Nomura et al., "Warm Starting CMA-ES for Hyperparameter Optimization", arXiv:2012.06932.
    """
    ten = sources * -(-10 // len(sources))  # of fewer than ten it would take none
    return CmaEsSampler(seed=seed, warn_independent_sampling=False, source_trials=ten, n_startup_trials=0)
