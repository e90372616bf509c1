"""Whether the ledger has what the journal of a sweep has: damage is found before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpsearch.ledger.journal import Journal, read_journal
from hpsearch.ledger.queries import decode_all
from hpsearch.ledger.records import FINISHED_STATES, ReportRecord, TrialRecord
from hpsearch.ledger.sqlite import damaged
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.paths import ledger_path

_COLUMNS = TrialRecord.__dataclass_fields__.keys()
"""Columns of a trial that are compared."""
_JSON_COLUMNS = ("point", "last_metrics")
"""Columns of a trial that are JSON text in the journal, and decoded in a record."""


def check_agrees(folder: Path, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord]) -> None:
    """Compare what the ledger has of a sweep with its journal; for the process that holds its lock, before it writes.

    This finds what SQLite does not notice: a flipped digit, or commits that were lost with a damaged write-ahead log.
    Where the journal's last transaction alone is missing in the ledger, a crash prevented its commit: it is marked as
    undone. A sweep without a journal passes, and so does what the ledger has beyond a journal that lost its end.
    Takes 50 ms for 1000 trials of 10 reports, 0.6 s for 10,000.

    Args:
        folder: The sweep's folder.
        trials: All trials of the sweep, as the ledger has them.
        reports: All reports of the sweep, as the ledger has them.

    Raises:
        LedgerError: Something of the journal is missing in the ledger, or has another value there.
    """
    transactions, _ = read_journal(folder)
    by_number = {trial.number: trial for trial in trials}
    found = {(report.number, report.epoch): report.metrics for report in reports}
    difference = _first_difference(SweepCopy().apply(transactions, folder=folder), by_number, found)
    if difference is None:
        return
    before = SweepCopy().apply(transactions[:-1], folder=folder)
    if _first_difference(before, by_number, found) is not None:
        raise damaged(ledger_path(folder.parent), f"sweep '{folder.name}': {difference}")
    journal = Journal(folder.parent)
    journal.mark_undone(folder.name, transactions[-1])
    journal.close()


def _first_difference(
    copy: SweepCopy, trials: Mapping[int, TrialRecord], reports: Mapping[tuple[int, int], Mapping[str, float]]
) -> str | None:
    """What of a sweep's copy is missing or different in the ledger, the first such thing; None if they agree."""
    if copy.is_forgotten:
        return "it was removed"
    decoded = {name: decode_all(each.get(name) or "null" for each in copy.trials.values()) for name in _JSON_COLUMNS}
    for position, (number, values) in enumerate(copy.trials.items()):
        if number not in trials:
            return f"trial {number} is missing"
        plain = {name: decoded[name][position] if name in decoded else value for name, value in values.items()}
        if (difference := _different_column(trials[number], plain)) is not None:
            return difference
    keys = [(number, epoch) for number in copy.trials for epoch in copy.reports.get(number, ())]
    texts = (copy.reports[number][epoch][1] for number, epoch in keys)
    for (number, epoch), metrics in zip(keys, decode_all(texts), strict=True):
        if reports.get((number, epoch)) != metrics:
            return f"epoch {epoch} of trial {number} is missing or has other values"
    return None


def _different_column(trial: TrialRecord, values: Mapping[str, Any]) -> str | None:
    """A column that differs; of an unfinished trial only the point counts, since it may be ahead of the journal."""
    is_finished = values.get("state") in FINISHED_STATES
    for name in values.keys() & (_COLUMNS if is_finished else {"point"}):
        expected = values[name]
        if getattr(trial, name) != expected:
            return f"{name} of trial {trial.number} is {getattr(trial, name)!r}, was {expected!r}"
    return None
