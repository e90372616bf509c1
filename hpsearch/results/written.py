"""Whether tables and report of a sweep say what the ledger says, without reading any of them or importing pandas."""

from __future__ import annotations

from pathlib import Path

from hpsearch.ledger.journal import FILE_NAME as JOURNAL

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
