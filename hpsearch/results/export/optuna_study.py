"""Converts a sweep to an Optuna study for Optuna's tools (importances, plots, optuna-dashboard), in memory.

    done, reused                                   COMPLETE with the best value of the objective
    stopped                                        PRUNED with the same
    failed                                         FAIL
    running, paused, queued, interrupted           RUNNING: none of them is finished

Every report is an intermediate value, with the epoch as its step. Parameters have the values and the ranges of the
spec; values that Optuna can't hold become text (a choice that is a list), distributions that it does not have become
plain ranges (a normal distribution). The rest of a trial's row, constants and computed parameters included, is in its
user attributes. `optuna_file.py` writes the study to a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.plain import canonical
from hpsearch.search.optuna_search import quiet
from hpsearch.space.space import Choice, Integer, Real, Searched, Shaped
from hpsearch.spec.sweep import Sweep

STATES = {"done": TrialState.COMPLETE, "reused": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
"""Our state to Optuna's, for trials with a value; failed ones are FAIL, all others RUNNING."""
USUAL_SHARES = (0.001, 0.999)
"""Quantiles between which a distribution without ends is shown; the range is widened if a trial is outside."""
NOTES = (
    "cause", "evidence", "epochs_trained", "best_epoch", "duration_s", "gpu_peak_gib", "host_peak_gib", "seed",
    "attempts", "reused_from",
)  # fmt: skip
"""Columns of a trial that are in its user attributes, where they are known."""


def frozen_trials(
    sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord]
) -> list[FrozenTrial]:
    """The trials as Optuna's; it counts them from 0, our number is in the user attribute `trial`."""
    trials = list(trials)
    space = Sweep.from_stored(sweep.spec).space
    parameters = {name: _Parameter(domain, _values(name, trials)) for name, domain in space.searched.items()}
    curves: dict[int, dict[int, float]] = {}
    for report in reports:
        if sweep.metric in report.metrics:
            curves.setdefault(report.number, {})[report.epoch] = report.metrics[sweep.metric]
    return [_frozen(i, trial, parameters, curves.get(trial.number, {})) for i, trial in enumerate(trials)]


def make_study(sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord]) -> Study:
    """An Optuna study in memory with the name of the sweep; changing it does not change the sweep."""
    with quiet():
        study = new_study(sweep, InMemoryStorage())
        study.add_trials(frozen_trials(sweep, trials, reports))
        return study


def new_study(sweep: SweepRecord, storage: BaseStorage) -> Study:
    """A study without trials, with the name of the sweep."""
    direction = StudyDirection.MINIMIZE if sweep.sign > 0 else StudyDirection.MAXIMIZE
    study = optuna.create_study(study_name=sweep.name, direction=direction, storage=storage)
    study.set_metric_names([sweep.metric])
    study.set_user_attr("hpsearch", {"method": sweep.spec["method"], "state": sweep.state, "reason": sweep.reason})
    return study


def _values(name: str, trials: Iterable[TrialRecord]) -> list[Any]:
    return [trial.point[name] for trial in trials if name in trial.point]


class _Parameter:
    """Converts the values of one parameter to those that Optuna can hold."""

    def __init__(self, domain: Searched, values: Sequence[Any]) -> None:
        self._as_text = isinstance(domain, Choice) and not _are_plain(domain.values)
        self.distribution = _distribution(domain, values, as_text=self._as_text)

    def value(self, value: Any) -> Any:
        """A value as Optuna can hold it."""
        return canonical(value) if self._as_text else value

    def holds(self, value: Any) -> bool:
        """Whether Optuna accepts a value; a point of an earlier spec may be outside of the range."""
        try:
            return bool(self.distribution._contains(self.distribution.to_internal_repr(self.value(value))))
        except ValueError:
            return False


def _are_plain(values: Sequence[Any]) -> bool:
    """Whether Optuna can hold the values and distinguish them: in Python True == 1 == 1.0."""
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        return False
    return len(set(values)) == len(values)


def _distribution(domain: Searched, values: Sequence[Any], *, as_text: bool) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution([canonical(value) for value in domain.values] if as_text else domain.values)
    if isinstance(domain, Integer):
        return IntDistribution(domain.min, domain.clip(domain.max), log=domain.log, step=domain.step)
    if isinstance(domain, Real):
        return FloatDistribution(domain.min, domain.clip(domain.max), log=domain.log, step=domain.step)
    return _plain_range(domain, values)


def _plain_range(domain: Shaped, values: Sequence[Any]) -> BaseDistribution:
    ends: list[Any] = [*(domain.quantile(share) for share in USUAL_SHARES), *values]
    low, high = min(ends), max(ends)
    if all(isinstance(end, int) for end in ends):
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=getattr(domain.distribution, "log", False) and low > 0)


def _frozen(
    index: int, trial: TrialRecord, parameters: Mapping[str, _Parameter], curve: Mapping[int, float]
) -> FrozenTrial:
    modelled = {
        name: value for name, value in trial.point.items() if name in parameters and parameters[name].holds(value)
    }
    state = TrialState.FAIL if trial.state == "failed" else STATES.get(trial.state, TrialState.RUNNING)
    if state.is_finished() and state != TrialState.FAIL and trial.best_value is None:
        state = TrialState.FAIL
    has_value = state in (TrialState.COMPLETE, TrialState.PRUNED)
    return FrozenTrial(
        number=index,
        trial_id=index,
        state=state,
        value=trial.best_value if has_value else None,
        datetime_start=_local(trial.started_at),
        datetime_complete=_local(trial.ended_at or trial.started_at) if state.is_finished() else None,
        params={name: parameters[name].value(value) for name, value in modelled.items()},
        distributions={name: parameters[name].distribution for name in modelled},
        user_attrs=_notes(trial, {name: each for name, each in trial.point.items() if name not in modelled}),
        system_attrs={},
        intermediate_values=dict(curve),
    )


def _notes(trial: TrialRecord, others: Mapping[str, Any]) -> dict[str, Any]:
    """The user attributes of a trial; parameters are `param.NAME`, last metrics `last_METRIC`."""
    notes: dict[str, Any] = {"trial": trial.number, "state": trial.state}
    notes |= {name: value for name in NOTES if (value := getattr(trial, name)) is not None}
    notes |= {f"last_{name}": value for name, value in trial.last_metrics.items()}
    return notes | {f"param.{name}": value for name, value in others.items()}


def _local(time: str) -> datetime:
    """A time of day as Optuna has it: local, without a time zone."""
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
