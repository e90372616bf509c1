"""Files for the user, written as a whole or not at all, and whether those of a sweep are up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.paths import history_path, journal_path, replacing, report_path, trials_csv_path, trials_parquet_path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file for the user in one step; see `paths.replacing`.

    Args:
        path: Where it shall be; an existing file is replaced.
        content: The whole content.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    replace_by(path, lambda beside: beside.write_bytes(content))


def replace_by(path: Path, write: Callable[[Path], Any]) -> None:
    """Let a function write a file for the user in one step; see `paths.replacing`.

    Args:
        path: Where it shall be; an existing file is replaced.
        write: Called with the path to write to.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    try:
        with replacing(path) as beside:
            write(beside)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"{path}: can't be written: {reason}. Name another file, or free space there.") from error


def output_paths(sweep_dir: Path) -> tuple[Path, ...]:
    """The files that a sweep that ended leaves beside the ledger: its tables and its report."""
    return tuple(path(sweep_dir) for path in (trials_csv_path, trials_parquet_path, history_path, report_path))


def are_up_to_date(sweep_dir: Path) -> bool:
    """Whether each of `output_paths` was written after the last line of the sweep's journal.

    Every change of the ledger is in the journal first, and only the process that holds the sweep's lock writes either.
    In doubt (no journal, the same tick of the clock) they are out of date.
    """
    try:
        last_change = journal_path(sweep_dir).stat().st_mtime_ns
        return all(path.stat().st_mtime_ns > last_change for path in output_paths(sweep_dir))
    except OSError:
        return False
