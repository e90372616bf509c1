"""The study that Optuna's samplers see: in memory, with trials that can be changed.

Optuna's own storages never change a finished trial, and copy each trial that is added. Here a trial that was stopped
can be reported again after it was promoted, and nothing is copied. With Optuna's own storage, the study had to be
filled again for each promotion, which took 87 ms at 1000 trials.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Mapping
from typing import Any, final

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.search.equal_fidelity import FidelitySelector
from hpsearch.search.searcher import Outcome
from hpsearch.time_of_day import local_now

STUDY = "sweep"
"""Name of the study that samplers see."""


@final
class TrialsInMemory(InMemoryStorage):
    """One study of trials that the caller holds and changes, and a second one for what samplers write themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._study = self.create_new_study([StudyDirection.MINIMIZE], STUDY)
        self._scratch = self.create_new_study([StudyDirection.MINIMIZE])
        self._trials: list[FrozenTrial] = []
        self.avoided: list[FrozenTrial] = []
        """Trials that never ran, which samplers see after the sweep's own."""

    def add(
        self, codes: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], attributes: Mapping[str, Any]
    ) -> FrozenTrial:
        """Add a running trial; the caller changes its state, values and intermediate values later.

        Args:
            codes: Parameter to value.
            distributions: Parameter to the distribution that its value is from.
            attributes: System attributes, which a sampler may read.
        """
        trial = _running(
            number=len(self._trials), trial_id=-1, codes=codes, distributions=distributions, attributes=attributes
        )
        self._trials.append(trial)
        return trial

    def scratch(self) -> FrozenTrial:
        """A trial outside of the study to sample for: samplers write system attributes to it."""
        trial_id = self.create_new_trial(self._scratch)
        return _running(number=-1, trial_id=trial_id, codes={}, distributions={}, attributes={})

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials in the order in which they began, followed by those that never ran."""
        if study_id != self._study:
            return super().get_all_trials(study_id, deepcopy, states)
        found = [trial for trial in (*self._trials, *self.avoided) if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """Number of trials in one of these states; of all if None."""
        return BaseStorage.get_n_trials(self, study_id, state)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The trial with the lowest value."""
        return BaseStorage.get_best_trial(self, study_id)


@final
class EqualFidelityView:
    """Keeps the states of trials such that a model compares losses at one budget alone (`equal_fidelity.py`)."""

    def __init__(self, trials: Mapping[int, FrozenTrial]) -> None:
        """Make a view without outcomes.

        Args:
            trials: Number to trial; must have each trial before `show` gets its outcome.
        """
        self.compared = FidelitySelector()
        """The outcomes that are shown, and the budget at which they are compared."""
        self._trials = trials
        self._shown_at = math.inf

    def show(self, outcome: Outcome) -> None:
        """Show an outcome that is not infeasible, or a longer one of the same trial.

        A trial that has reached the budget becomes COMPLETE with its best loss up to there, and any other FAIL, which
        samplers ignore. If the budget changes by this outcome, all trials change.
        """
        self.compared.add(outcome)
        budget, number = self.compared.budget, outcome.number
        losses = {number: self.compared.loss(number)} if budget == self._shown_at else self.compared.losses()
        self._shown_at = budget
        for each, loss in losses.items():
            trial = self._trials[each]
            trial.state, trial.value = (TrialState.FAIL, None) if loss is None else (TrialState.COMPLETE, loss)


def _running(
    *,
    number: int,
    trial_id: int,
    codes: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    attributes: Mapping[str, Any],
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=trial_id,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=local_now(),
        datetime_complete=None,
        params=dict(codes),
        distributions=dict(distributions),
        user_attrs={},
        system_attrs=dict(attributes),
        intermediate_values={},
    )
