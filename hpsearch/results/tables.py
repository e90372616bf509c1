"""The tables of a sweep as pandas DataFrames and as files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.links import IN_HOME, check_unlinked
from hpsearch.paths import history_path, trials_csv_path, trials_parquet_path
from hpsearch.plain import canonical, is_number, value_text
from hpsearch.results import columns as c
from hpsearch.results import rows as r
from hpsearch.results.files import record_outputs, replace_by
from hpsearch.text import terminal_text

if TYPE_CHECKING:
    from hpsearch.results.analysis.compare import Compared
    from hpsearch.results.analysis.failures import FailedAttempt
    from hpsearch.results.analysis.findings import Findings
    from hpsearch.results.analysis.importance import Importance

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a cell that begins with one of these as a formula."""
INACTIVE = object()
"""In place of the value of a parameter that is inactive in a trial."""
DTYPES: Mapping[type, tuple[Any, Any]] = {
    bool: ("bool", "boolean"),
    int: ("int64", "Int64"),
    float: ("float64", "float64"),
    str: ("str", "str"),
}
"""Type of the values of a parameter to the dtypes of its column: where it is always active, and where it is not."""


def trials_frame(sweep: SweepRecord, trials: Iterable[TrialRecord], *, home: Path) -> pd.DataFrame:
    """The table of trials: one row for each trial, with the columns `rows.TrialColumns.names`.

    A parameter's column has the dtype of its values, and is missing where the parameter is inactive. Where a common
    dtype would make different values equal, as 1 and 1.0, or null and inactive, the column is `object` and has the
    values themselves: None is null, NaN is inactive.

    Args:
        sweep: The sweep.
        trials: Its trials, by number.
        home: Folder of the ledger, where checkpoints are looked for.
    """
    trials = list(trials)
    columns = r.trial_columns(sweep, trials)
    rows = r.trial_rows(sweep, trials, home=home)
    parameters = {
        name: _parameter_values([row.get(name, INACTIVE) for row in rows]) for name in columns.parameters.values()
    }
    frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in columns.names} | parameters)
    dtypes = c.dtypes((*c.BEFORE, c.EPOCHS_TRAINED, c.BEST_EPOCH, *c.AFTER)) | {columns.best: c.BEST.dtype}
    return frame.astype(dtypes | {f"last_{metric}": c.LAST.dtype for metric in columns.metrics})


def _parameter_values(values: Sequence[Any]) -> pd.Series[Any]:
    """A parameter's values as a column, missing where it is INACTIVE."""
    active = [value for value in values if value is not INACTIVE]
    kinds = {type(value) for value in active}
    missing = [math.nan if value is INACTIVE else value for value in values]
    if kinds == {int, float} and len({canonical(value) for value in active}) == len(set(active)):
        return pd.Series(missing, dtype="float64")
    if len(kinds) != 1 or not kinds <= DTYPES.keys():
        return pd.Series(missing, dtype="object")
    whole, nullable = DTYPES[kinds.pop()]
    column: pd.Series[Any] = pd.Series([None if value is INACTIVE else value for value in values], dtype="object")
    return column.astype(whole if len(active) == len(values) else nullable)


def history_frame(reports: Iterable[ReportRecord]) -> pd.DataFrame:
    """The table of reports: one row for each trial and epoch, with the columns `trial epoch <metrics> elapsed_s`."""
    rows = r.history_rows(reports)
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else list(r.HISTORY))
    metrics = {name: "Float64" for name in frame.columns if name not in r.HISTORY}
    return frame.astype(c.dtypes(c.HISTORY) | metrics)


def importance_frame(found: Importance) -> pd.DataFrame:
    """The table of importances: one row for each parameter that varies; see `columns.IMPORTANCE`."""
    rows = [vars(row) | {"epoch": found.epoch, "trials": found.num_trials} for row in found.rows]
    return _frame(rows, c.IMPORTANCE)


def failures_frame(attempts: Iterable[FailedAttempt]) -> pd.DataFrame:
    """The table of failures: one row for each failed attempt, in the order in which they failed."""
    return _frame([attempt.row() for attempt in attempts], c.FAILURES)


def compare_frame(rows: Iterable[Compared]) -> pd.DataFrame:
    """The table of compared sweeps: one row for each."""
    return _frame([vars(row) for row in rows], c.COMPARE)


def _frame(rows: Sequence[r.Row], columns: tuple[c.Column, ...]) -> pd.DataFrame:
    dtypes = c.dtypes(columns)
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def write_tables(found: Findings) -> None:
    """Write `trials.csv`, `trials.parquet` and `history.parquet` into the sweep's folder.

    Args:
        found: What was read from the ledger.

    Raises:
        LinkRefused: The folder is a link.
        LedgerError: A file can't be written.
    """
    folder = check_unlinked(found.home / found.sweep.folder, parts=IN_HOME)
    frame = trials_frame(found.sweep, found.trials, home=found.home)
    digests = {
        (path := trials_csv_path(folder)): write_csv(frame, path),
        (path := trials_parquet_path(folder)): write_parquet(frame, path),
        (path := history_path(folder)): write_parquet(history_frame(found.reports), path),
    }
    record_outputs(folder, digests, change=found.change)


def write_csv(frame: pd.DataFrame, path: Path) -> str:
    """Write a CSV file, in one step, that is safe to show in a spreadsheet or a terminal.

    A text that begins like a formula gets a leading `'`, control characters become `?`. In a column of values of
    different types each is written by `plain.value_text`: `1`, `1.0`, `"1"`, `null`.

    Returns:
        The SHA-256 of what was written.

    Raises:
        LedgerError: The file can't be written.
    """
    mixed = {name: frame[name].map(_mixed_text) for name in _mixed(frame)}
    safe = frame.assign(**mixed).map(_neutralised).rename(columns=_neutralised)
    return replace_by(path, lambda beside: safe.to_csv(beside, index=False))


def write_parquet(frame: pd.DataFrame, path: Path) -> str:
    """Write a Parquet file, in one step; columns of values of different types become JSON text, null is `null` there.

    Returns:
        The SHA-256 of what was written.

    Raises:
        LedgerError: The file can't be written.
    """
    mixed = dict.fromkeys(_mixed(frame), "string")
    texts = frame.assign(**{name: frame[name].map(_json_text) for name in mixed}).astype(mixed)
    return replace_by(path, lambda beside: texts.to_parquet(beside, index=False))


def write_json(rows: Sequence[r.Row], path: Path) -> None:
    """Write a JSON list with one object for each row, in one step.

    Raises:
        LedgerError: The file can't be written.
    """
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
    replace_by(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _mixed(frame: pd.DataFrame) -> list[str]:
    """The columns of values of different types, see `trials_frame`."""
    return [name for name in frame.columns if frame[name].dtype == object]


def _is_inactive(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _neutralised(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA_STARTS) else "") + terminal_text(value)


def _mixed_text(value: Any) -> Any:
    """A value as the text of its cell; a text is neutralised later, a number is no formula."""
    return value if _is_inactive(value) or is_number(value) else value_text(value)


def _json_text(value: Any) -> str | None:
    return None if _is_inactive(value) else canonical(value)
