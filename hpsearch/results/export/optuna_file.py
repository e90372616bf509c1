"""Exports a sweep as an SQLite file that Optuna opens.

Optuna itself writes a transaction for each trial, which costs 2 ms of CPU for each parameter, attribute and report:
1.6 s for 64 trials. So Optuna only makes the tables and the study, in memory; the rows are inserted at once, and the
whole database is written in one step. If Optuna's tables are not the ones known here, it inserts the trials itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.pool import StaticPool

from hpsearch.errors import SpecError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.results.export.optuna_study import frozen_trials, new_study
from hpsearch.results.files import replace_by
from hpsearch.search.optuna_search import quiet

KNOWN_VERSION = "v3.2.0.a"
"""Version of Optuna's tables, as `RDBStorage.get_current_version` gives it; that of Optuna 3.2 to 5.0."""


def write_study(sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord], path: Path) -> None:
    """Write a file that `optuna.load_study(study_name=NAME_OF_THE_SWEEP, storage="sqlite:///PATH")` opens.

    An earlier export of the same sweep is replaced.

    Args:
        sweep: The sweep.
        trials: Its trials.
        reports: The reports of all trials.
        path: The file to write.

    Raises:
        SpecError: The file exists and is not an Optuna storage, or has other studies too.
        LedgerError: The file can't be written.
    """
    _check_is_ours(path, sweep.name)
    frozen = frozen_trials(sweep, trials, reports)
    with quiet(), _in_memory() as (storage, connection):
        study = new_study(sweep, storage)
        if storage.get_current_version() == KNOWN_VERSION:
            _insert(connection, study._study_id, frozen)
        else:
            study.add_trials(frozen)
        replace_by(path, lambda beside: _copy(connection, beside))


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a whole database to a file."""
    try:
        with closing(sqlite3.connect(path)) as target:
            connection.backup(target)
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error


@contextmanager
def _in_memory() -> Iterator[tuple[RDBStorage, sqlite3.Connection]]:
    """Optuna's tables in an SQLite database in memory, closed at the end of the block."""
    one = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    storage = RDBStorage("sqlite://", engine_kwargs=one)
    try:
        connection = storage.engine.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        yield storage, connection
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _insert(connection: sqlite3.Connection, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Insert trials into Optuna's tables, with the keys 1, 2, 3, ..."""
    keyed = list(enumerate(trials, start=1))
    _fill(
        connection,
        "trials (trial_id, number, study_id, state, datetime_start, datetime_complete)",
        (
            (key, t.number, study_id, t.state.name, _time(t.datetime_start), _time(t.datetime_complete))
            for key, t in keyed
        ),
    )
    _fill(
        connection,
        "trial_params (trial_id, param_name, param_value, distribution_json)",
        (
            (key, name, each.to_internal_repr(trial.params[name]), distribution_to_json(each))
            for key, trial in keyed
            for name, each in trial.distributions.items()
        ),
    )
    _fill(
        connection,
        "trial_values (trial_id, objective, value, value_type)",
        ((key, 0, trial.value, "FINITE") for key, trial in keyed if trial.value is not None),
    )
    _fill(
        connection,
        "trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)",
        ((key, step, value, "FINITE") for key, trial in keyed for step, value in trial.intermediate_values.items()),
    )
    _fill(
        connection,
        "trial_user_attributes (trial_id, key, value_json)",
        ((key, name, json.dumps(value)) for key, trial in keyed for name, value in trial.user_attrs.items()),
    )
    connection.commit()


def _fill(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * (table.count(",") + 1))
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def _time(time: Any) -> str | None:
    """A time of day as SQLAlchemy stores it in SQLite."""
    return None if time is None else time.isoformat(sep=" ", timespec="microseconds")


def _check_is_ours(path: Path, name: str) -> None:
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            others = {row[0] for row in connection.execute("SELECT study_name FROM studies")} - {name}
    except sqlite3.Error as error:
        problem = f"{path}: this is not an Optuna storage, so it is not replaced. Name another file with -o."
        raise SpecError(problem) from error
    if others:
        listed = ", ".join(sorted(others))
        raise SpecError(f"{path}: it holds other studies ({listed}), so it is not replaced. Name another with -o.")
