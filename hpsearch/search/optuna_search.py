"""Optuna's samplers that learn: tpe, gp, cmaes. (Its qmc is in `qmc_search.py`.)

The study lives in memory and is filled by us; the sampler is made anew, with a seed of its own, for each proposal and
asked through its public methods, so nothing of a proposal is left behind. How a trial is told:

    done         COMPLETE with its best loss
    stopped      tpe: PRUNED with every loss, which it ranks below the finished ones, later stops first.
                 gp and cmaes leave PRUNED out, and a stopping rule stops most trials: COMPLETE with its best loss.
    infeasible   tpe: PRUNED without a loss, which it ranks last of all (a bad COMPLETE would rank above every stopped
                 one). gp, cmaes: COMPLETE with the worst loss known.
    dropped      FAIL, which all leave out.

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
from importlib import import_module
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.search.coding import Codes, Coding, num_codes
from hpsearch.search.contract import Outcome, Searcher
from hpsearch.search.held_back import HeldBack
from hpsearch.space import Choice, Integer, Point, Real, Space

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
}
"""Name to a sampler with a seed below 2**31."""

PACKAGES = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}
"""What a sampler needs beyond Optuna, which would look for it at the first proposal."""

_STUDY = "sweep"


def distributions(coding: Coding) -> dict[str, BaseDistribution]:
    """The modelled parameters in Optuna's words."""
    return {name: _distribution(domain) for name, domain in coding.domains.items()}


def _distribution(domain: Choice | Integer | Real) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(range(domain.size))
    if (size := num_codes(domain)) is not None:
        return IntDistribution(0, size - 1)
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
        self._held_back = HeldBack()
        self._ids: dict[int, int] = {}
        self._told: set[int] = set()
        with quiet():
            self._make_study()

    def _make_study(self) -> None:
        self._storage = InMemoryStorage()
        self._study_id = self._storage.create_new_study([StudyDirection.MINIMIZE], _STUDY)
        self._scratch_id = self._storage.create_new_study([StudyDirection.MINIMIZE])

    def _propose(self, number: int, draw: int) -> Point:
        return self._coding.decode(self._sample(number, draw, self._scratch_trial()))

    def _begin(self, number: int, point: Point) -> None:
        codes = self._coding.encode(point)
        if codes is None:
            return
        trial = create_trial(
            state=TrialState.RUNNING,
            params=codes,
            distributions={name: self._distributions[name] for name in codes},
            system_attrs=self._generation(number),
        )
        self._ids[number] = self._storage.create_new_trial(self._study_id, trial)

    def _learn(self, outcome: Outcome) -> None:
        for ready, loss in self._held_back.settle(outcome):
            if ready.number in self._told:
                self._reopen(ready.number)
            if ready.number in self._ids:
                self._finish(self._ids[ready.number], ready, loss)
                self._told.add(ready.number)

    def _forget(self, number: int) -> None:
        if number in self._ids:
            self._storage.set_trial_state_values(self._ids.pop(number), TrialState.FAIL)

    def _reopen(self, number: int) -> None:
        """Let a trial that was told run again; Optuna never changes a finished trial, so the study is made anew."""
        trials = {trial._trial_id: trial for trial in self._storage.get_all_trials(self._study_id)}
        told = trials[self._ids[number]]
        trials[told._trial_id] = create_trial(
            state=TrialState.RUNNING,
            params=told.params,
            distributions=told.distributions,
            system_attrs=told.system_attrs,
        )
        with quiet():
            self._make_study()
        moved = {old: self._storage.create_new_trial(self._study_id, trial) for old, trial in trials.items()}
        self._ids = {each: moved[trial_id] for each, trial_id in self._ids.items()}

    def _finish(self, trial_id: int, outcome: Outcome, loss: float) -> None:
        if outcome.state == "done" or self._sampler != "tpe":
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [loss])
            return
        if outcome.state == "stopped":
            for epoch, value in outcome.losses.items():
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        self._storage.set_trial_state_values(trial_id, TrialState.PRUNED)

    def _sample(self, number: int, draw: int, trial: FrozenTrial) -> Codes:
        sampler = SAMPLERS[self._sampler](self.rng(number, draw).getrandbits(31))
        study = optuna.load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)
        with quiet():
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

    def _scratch_trial(self) -> FrozenTrial:
        """A trial outside of the study: samplers write notes to the trial that they sample for."""
        return FrozenTrial(
            number=-1,
            trial_id=self._storage.create_new_trial(self._scratch_id),
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )

    def _generation(self, number: int) -> dict[str, Any]:
        """CMA-ES's notes: which generation a trial is of, whoever chose its point, and the state it began with."""
        if self._sampler != "cmaes":
            return {}
        trial = self._scratch_trial()
        self._sample(number, 0, trial)
        return dict(self._storage.get_trial(trial._trial_id).system_attrs)
