"""Whether the ledger has what the journal of a sweep has: damage is found before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.ledger.journal import Journal, read_journal
from hpsearch.ledger.queries import Queries, decode_all
from hpsearch.ledger.records import FINISHED_STATES, ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.sqlite import damaged
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.paths import ledger_path

_COLUMNS = TrialRecord.__dataclass_fields__.keys()
"""Columns of a trial that are compared."""
_JSON_COLUMNS = ("point", "last_metrics")
"""Columns of a trial that are JSON text in the journal, and decoded in a record."""
_CHANGEABLE = ("limits", "notes")
"""Keys of a spec that may change when a sweep resumes, so that the ledger may be ahead of the journal."""


def check_sweep(ledger: Queries, sweep: SweepRecord) -> None:
    """As `check_agrees`, for a process that has not read the sweep's trials.

    Args:
        ledger: The open ledger.
        sweep: The sweep's record.
    """
    folder = ledger.path.parent / sweep.folder
    check_agrees(folder, ledger.trials(sweep), ledger.reports(sweep), spec=sweep.spec)


def check_agrees(
    folder: Path,
    trials: Iterable[TrialRecord],
    reports: Iterable[ReportRecord],
    *,
    spec: Mapping[str, Any] | None = None,
) -> None:
    """Compare what the ledger has of a sweep with its journal; for the process that holds its lock, before it writes.

    This finds what SQLite does not notice: a flipped digit, or commits that were lost with a damaged write-ahead log.
    Where the journal's last transaction alone is missing in the ledger, a crash prevented its commit: it is marked as
    undone. A sweep without a journal passes, and so does what the ledger has beyond a journal that lost its end.
    Takes 50 ms for 1000 trials of 10 reports, 0.6 s for 10,000.

    Args:
        folder: The sweep's folder.
        trials: All trials of the sweep, as the ledger has them.
        reports: All reports of the sweep, as the ledger has them.
        spec: The sweep's spec, as the ledger has it; its limits and notes are not compared. None compares no spec.

    Raises:
        LedgerError: Something of the journal is missing in the ledger, or has another value there.
    """
    transactions, _ = read_journal(folder)
    by_number = {trial.number: trial for trial in trials}
    found = {(report.number, report.epoch): report.metrics for report in reports}
    copy = SweepCopy().apply(transactions, folder=folder)
    if spec is not None and not _has_spec(copy, spec, without=_CHANGEABLE):
        raise _other_spec(folder)
    difference = _first_difference(copy, by_number, found)
    if difference is None:
        return
    before = SweepCopy().apply(transactions[:-1], folder=folder)
    if _first_difference(before, by_number, found) is not None:
        raise damaged(ledger_path(folder.parent), f"sweep '{folder.name}': {difference}")
    journal = Journal(folder.parent)
    journal.mark_undone(folder.name, transactions[-1])
    journal.close()


def check_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Compare a spec of the ledger with the journal: whether it is damaged, for a spec that can't be used.

    Args:
        folder: The sweep's folder.
        spec: The sweep's spec, as the ledger has it.

    Raises:
        LedgerError: The sweep has a journal, and this spec is none of those in it.
    """
    if not _has_spec(SweepCopy().apply(read_journal(folder)[0], folder=folder), spec):
        raise _other_spec(folder)


def _has_spec(copy: SweepCopy, spec: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> bool:
    """Whether a spec is one of those that the sweep has had, apart from some keys; true if none is known."""
    known = [each for _, text in copy.specs if isinstance(each := _decoded(text), dict)]
    texts = [json.dumps({key: each[key] for key in each if key not in without}) for each in (spec, *known)]  # NaN too
    return not known or texts[0] in texts[1:]


def _decoded(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _other_spec(folder: Path) -> LedgerError:
    return damaged(ledger_path(folder.parent), f"sweep '{folder.name}': its spec has other values than in its journal")


def _first_difference(
    copy: SweepCopy, trials: Mapping[int, TrialRecord], reports: Mapping[tuple[int, int], Mapping[str, float]]
) -> str | None:
    """What of a sweep's copy is missing or different in the ledger, the first such thing; None if they agree."""
    if copy.is_forgotten:
        return "it was removed"
    decoded = {name: decode_all(each.get(name) or "{}" for each in copy.trials.values()) for name in _JSON_COLUMNS}
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
