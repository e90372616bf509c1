"""Writes the tables and the report of a sweep into its folder, from what the ledger has."""

from __future__ import annotations

import warnings
from pathlib import Path

from hpsearch.errors import in_short
from hpsearch.ledger.store import Ledger
from hpsearch.paths import report_path


def write_results(ledger: Ledger, name: str) -> None:
    """Write tables and report; an error becomes a warning and a note, since the ledger has all results anyway."""
    for what, write in (("tables were", write_tables_of), ("report was", write_report_of)):
        try:
            write(ledger.home, name)
        except Exception as error:
            ledger.check_in_place()
            warnings.warn(f"'{name}': the {what} not written: {in_short(error)}", stacklevel=3)
            ledger.add_note(ledger.sweep(name), f"the {what} not written: {in_short(error)}")


def write_tables_of(home: Path, name: str) -> None:
    """Write `trials.csv`, `trials.parquet` and `history.parquet`; for the process that holds the sweep's lock."""
    from hpsearch.results.analysis.findings import read_findings
    from hpsearch.results.tables import write_tables

    write_tables(read_findings(home, name, holds_lock=True))


def write_report_of(home: Path, name: str) -> None:
    """Write `report.html`; for the process that holds the sweep's lock."""
    from hpsearch.results.analysis.findings import read_findings
    from hpsearch.results.report.write import write_report

    found = read_findings(home, name, holds_lock=True)
    write_report(found, report_path(home / found.sweep.folder))
