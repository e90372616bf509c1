"""Optuna's view of a sweep: a study whose trials are ours to change.

Optuna's storages never change a trial that is over, and copy each one on its way in. Here a trial that was told as
stopped and has been promoted since is told anew, and nothing is copied: with Optuna's own storage, which had to be
filled again for each promotion, one cost 87 ms at 1000 trials.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any, final

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

STUDY = "sweep"
"""Name of the one study that samplers are asked with."""


@final
class TrialsInMemory(InMemoryStorage):
    """One study of trials that the caller holds and changes, beside what samplers note for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._study = self.create_new_study([StudyDirection.MINIMIZE], STUDY)
        self._scratch = self.create_new_study([StudyDirection.MINIMIZE])
        self._trials: list[FrozenTrial] = []
        self.shunned: list[FrozenTrial] = []
        """What a sampler sees beside the sweep's own trials."""

    def add(
        self, codes: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], notes: Mapping[str, Any]
    ) -> FrozenTrial:
        """A running trial; the caller changes its state, values and intermediate values as it goes.

        Args:
            codes: Parameter to value.
            distributions: Parameter to where it was drawn from.
            notes: System attributes, which a sampler may look for.
        """
        trial = _running(number=len(self._trials), trial_id=-1, codes=codes, distributions=distributions, notes=notes)
        self._trials.append(trial)
        return trial

    def scratch(self) -> FrozenTrial:
        """A trial outside of the study: samplers write notes to the trial that they sample for."""
        return _running(number=-1, trial_id=self.create_new_trial(self._scratch), codes={}, distributions={}, notes={})

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials in the order in which they began; behind them, those that never ran."""
        if study_id != self._study:
            return super().get_all_trials(study_id, deepcopy, states)
        found = [trial for trial in (*self._trials, *self.shunned) if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """How many there are."""
        return BaseStorage.get_n_trials(self, study_id, state)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The one with the lowest value."""
        return BaseStorage.get_best_trial(self, study_id)


def _running(
    *,
    number: int,
    trial_id: int,
    codes: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    notes: Mapping[str, Any],
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=trial_id,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params=dict(codes),
        distributions=dict(distributions),
        user_attrs={},
        system_attrs=dict(notes),
        intermediate_values={},
    )
