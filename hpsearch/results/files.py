"""Files that are there as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.ledger.journal import FILE_NAME as JOURNAL


def replace_file(path: Path, content: bytes) -> None:
    """Put a file into its place in one step; a link in its place is replaced, not followed.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    replace_by(path, lambda beside: beside.write_bytes(content))


def replace_by(path: Path, write: Callable[[Path], Any]) -> None:
    """The same for what writes a file itself.

    Args:
        path: Where it shall be.
        write: Gets a place in a new folder beside it, where nobody can have put a link.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
        write(folder / path.name)
        (folder / path.name).replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"{path}: can't be written: {reason}. Name another place, or make room there.") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


WRITTEN = ("trials.csv", "trials.parquet", "history.parquet", "report.html")
"""What `Results.write` and `Results.report` write."""


def are_up_to_date(folder: Path) -> bool:
    """Whether all of it in a sweep's folder was written after the last line of its journal.

    Whatever the ledger is told of a sweep stands in the journal first, and only who holds the sweep's lock writes
    either. In doubt (no journal, the same tick of the clock) they are not.
    """
    try:
        last_told = (folder / JOURNAL).stat().st_mtime_ns
        return all((folder / name).stat().st_mtime_ns > last_told for name in WRITTEN)
    except OSError:
        return False
