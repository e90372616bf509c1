"""The rows of the tables of trials and of reports, as plain dicts, without pandas.

`tables.py` makes DataFrames of them, the command line prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.ledger.checkpoints import checkpoint_path
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.paths import checkpoint_dir
from hpsearch.results import columns as c
from hpsearch.results.columns import AFTER, BEFORE

Row = dict[str, Any]
"""Name of a column to its value; None for a missing one."""
EPOCHS_TRAINED, BEST_EPOCH = c.EPOCHS_TRAINED.name, c.BEST_EPOCH.name
HISTORY = tuple(c.dtypes(c.HISTORY))
"""Columns of the history with a fixed name."""


@dataclass(frozen=True, kw_only=True)
class TrialColumns:
    """Names of the columns of the table of trials that depend on the sweep."""

    objective: str
    """Name of the objective."""
    parameters: Mapping[str, str]
    """Dotted name of each parameter to its column."""
    metrics: tuple[str, ...]
    """All metrics that any trial reported, the objective first."""

    @property
    def best(self) -> str:
        """Column of the best value of the objective, with the prefix `metric.` if a fixed column has that name."""
        return _free(f"best_{self.objective}", {EPOCHS_TRAINED, BEST_EPOCH}, prefix="metric.")

    @property
    def names(self) -> list[str]:
        """All columns, in order."""
        last = [f"last_{metric}" for metric in self.metrics]
        return [
            *(column.name for column in BEFORE), *self.parameters.values(), EPOCHS_TRAINED, *last,
            self.best, BEST_EPOCH, *(column.name for column in AFTER),
        ]  # fmt: skip


def trial_columns(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> TrialColumns:
    """The columns of the table of trials: all parameters and metrics that any of these trials has."""
    trials = list(trials)
    parameters = dict.fromkeys(name for trial in trials for name in trial.point)
    metrics = dict.fromkeys([sweep.metric, *(name for trial in trials for name in trial.last_metrics)])
    taken = {column.name for column in (*BEFORE, *AFTER)} | {EPOCHS_TRAINED, BEST_EPOCH, f"best_{sweep.metric}"}
    taken |= {f"last_{metric}" for metric in metrics}
    names: dict[str, str] = {}
    for name in parameters:
        names[name] = _free(name, taken | (parameters.keys() - {name}) | set(names.values()), prefix="param.")
    return TrialColumns(objective=sweep.metric, parameters=names, metrics=tuple(metrics))


def trial_rows(sweep: SweepRecord, trials: Iterable[TrialRecord], *, home: Path | None) -> list[Row]:
    """One row for each trial, by number; None where a trial has no value.

    A parameter that is inactive in a trial is not in its row, so that None is the value null.

    Args:
        sweep: The sweep.
        trials: Its trials, by number.
        home: Folder of the ledger, where checkpoints are looked for; None for a table without checkpoints.
    """
    trials = list(trials)
    columns = trial_columns(sweep, trials)
    return [_trial_row(sweep, trial, columns, home) for trial in trials]


def history_rows(reports: Iterable[ReportRecord]) -> list[Row]:
    """One row for each trial and epoch, sorted: `trial`, `epoch`, every metric, `elapsed_s`."""
    reports = sorted(reports, key=lambda report: (report.number, report.epoch))
    metrics = dict.fromkeys(name for report in reports for name in report.metrics)
    names: dict[str, str] = {}
    for name in metrics:
        names[name] = _free(name, {*HISTORY, *(metrics.keys() - {name}), *names.values()}, prefix="metric.")
    return [
        {"trial": report.number, "epoch": report.epoch}
        | {column: report.metrics.get(name) for name, column in names.items()}
        | {"elapsed_s": report.elapsed_s}
        for report in reports
    ]


def _free(name: str, taken: Set[str], *, prefix: str) -> str:
    """`name` with as many prefixes as are needed for it not to be in `taken`."""
    while name in taken:
        name = prefix + name
    return name


def checkpoint_of(sweep: SweepRecord, trial: TrialRecord, *, epoch: int | None, home: Path) -> str | None:
    """Path of a trial's checkpoint of an epoch, relative to the ledger's folder.

    Returns:
        The file of rank 0, or the folder of a Ray Tune function. None if there is none, or if the trial's row names no
        checkpoint, as while it runs and while its checkpoints are removed.
    """
    if epoch is None or trial.checkpoint_epoch is None:
        return None
    path = checkpoint_path(checkpoint_dir(home / sweep.folder, trial.number), epoch)
    return None if path is None else str(path.relative_to(home))


def _trial_row(sweep: SweepRecord, trial: TrialRecord, columns: TrialColumns, home: Path | None) -> Row:
    checkpoint = None if home is None else checkpoint_of(sweep, trial, epoch=trial.checkpoint_epoch, home=home)
    fixed = vars(trial) | {"trial": trial.number, "checkpoint": checkpoint}
    row: Row = {column.name: fixed[column.name] for column in BEFORE}
    row |= {column: trial.point[name] for name, column in columns.parameters.items() if name in trial.point}
    row[EPOCHS_TRAINED] = trial.epochs_trained
    row |= {f"last_{metric}": trial.last_metrics.get(metric) for metric in columns.metrics}
    row |= {columns.best: trial.best_value, BEST_EPOCH: trial.best_epoch}
    return row | {column.name: fixed[column.name] for column in AFTER}
