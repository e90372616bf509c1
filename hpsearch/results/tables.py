"""The tables of a sweep as pandas DataFrames and as files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.links import IN_HOME, check_unlinked
from hpsearch.paths import history_path, trials_csv_path, trials_parquet_path
from hpsearch.plain import canonical
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


def trials_frame(sweep: SweepRecord, trials: Iterable[TrialRecord], *, home: Path) -> pd.DataFrame:
    """The table of trials: one row for each trial, with the columns `rows.TrialColumns.names`.

    Parameters have the dtype of their values; a column of mixed values is `object`.

    Args:
        sweep: The sweep.
        trials: Its trials, by number.
        home: Folder of the ledger, where checkpoints are looked for.
    """
    trials = list(trials)
    columns = r.trial_columns(sweep, trials)
    frame = pd.DataFrame(r.trial_rows(sweep, trials, home=home), columns=columns.names)
    dtypes = c.dtypes((*c.BEFORE, c.EPOCHS_TRAINED, c.BEST_EPOCH, *c.AFTER)) | {columns.best: c.BEST.dtype}
    return frame.astype(dtypes | {f"last_{metric}": c.LAST.dtype for metric in columns.metrics})


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

    A text that begins like a formula gets a leading `'`, control characters become `?`.

    Returns:
        The SHA-256 of what was written.

    Raises:
        LedgerError: The file can't be written.
    """
    safe = frame.map(_neutralised).rename(columns=_neutralised)
    return replace_by(path, lambda beside: safe.to_csv(beside, index=False))


def write_parquet(frame: pd.DataFrame, path: Path) -> str:
    """Write a Parquet file, in one step; columns of mixed values become JSON text.

    Returns:
        The SHA-256 of what was written.

    Raises:
        LedgerError: The file can't be written.
    """
    mixed = {name: "string" for name in frame.columns if frame[name].dtype == object}
    texts = frame.assign(**{name: frame[name].map(_json_text) for name in mixed}).astype(mixed)
    return replace_by(path, lambda beside: texts.to_parquet(beside, index=False))


def write_json(frame: pd.DataFrame, path: Path) -> None:
    """Write a JSON list with one object for each row, in one step.

    Raises:
        LedgerError: The file can't be written.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")  # to_json rounds to decimal places
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
    replace_by(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _neutralised(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA_STARTS) else "") + terminal_text(value)


def _json_text(value: Any) -> str | None:
    return None if value is None else canonical(value)
