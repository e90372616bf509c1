"""A damaged ledger: how it is noticed before anything is written to it, and how it is made anew from the journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hpsearch.errors import LedgerError
from hpsearch.ledger import schema
from hpsearch.ledger.checkpoints import checkpoint_path, newest_epoch
from hpsearch.ledger.journal import Journal, SweepCopy, read_journal
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import FINISHED_STATES, ReportRecord, TrialRecord
from hpsearch.ledger.rows import decode_all
from hpsearch.ledger.sqlite import damaged, fold_log, open_to_write, storage_errors
from hpsearch.paths import JOURNAL_NAME, checkpoint_dir, ledger_path, replacing

_COLUMNS = TrialRecord.__dataclass_fields__.keys()
_JSON_COLUMNS = ("point", "last_metrics")


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What was made of the journals."""

    sweeps: int
    trials: int
    reports: int
    damaged_lines: int
    """Lines of journals that could not be used."""
    kept: Path | None
    """Where the damaged file is now; None if there was none."""


def check_agrees(folder: Path, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord]) -> None:
    """Compare what the ledger says of a sweep with its journal; for the sweep's one writer, before it writes.

    A flipped digit, or commits that vanished with a damaged write-ahead log, are damage that SQLite does not notice.
    A last transaction whose commit a crash prevented is taken back. A sweep without a journal is taken as it is, and so
    is what the ledger has beyond a journal that lost its end.
    Takes 50 ms for 1000 trials of 10 reports, 0.6 s for 10,000.

    Raises:
        LedgerError: The ledger lacks, or has otherwise, what it was told.
    """
    transactions, _ = read_journal(folder)
    by_number = {trial.number: trial for trial in trials}
    found = {(report.number, report.epoch): report.metrics for report in reports}
    complaint = _complaint(SweepCopy(transactions), by_number, found)
    if complaint is None:
        return
    if _complaint(SweepCopy(transactions[:-1]), by_number, found) is not None:
        raise damaged(ledger_path(folder.parent), f"sweep '{folder.name}': {complaint}")
    journal = Journal(folder.parent)
    journal.mark_undone(folder.name, transactions[-1])
    journal.close()


def rebuild(home: Path) -> Rebuilt:
    """Make the ledger of a home folder anew from the journals of its sweeps; the old file is kept beside it.

    Raises:
        LedgerError: There is no journal, or the disk can't be written.
        SweepInUse: A process runs one of the sweeps.
    """
    path = ledger_path(home)
    folders = sorted(entry.parent for entry in home.glob(f"*/{JOURNAL_NAME}"))
    if not folders:
        raise LedgerError(f"{home}: no sweep here has a journal ({JOURNAL_NAME}), so that nothing can be rebuilt.")
    with ExitStack() as stack, storage_errors(path):
        for folder in folders:
            stack.enter_context(writer_lock(folder, folder.name))
        _name_what_is_there(home, folders)
        with replacing(path) as beside:
            done = _fill(beside, folders)
            kept = _put_aside(path)
    return Rebuilt(**done, kept=kept)


def _name_what_is_there(home: Path, folders: Iterable[Path]) -> None:
    """Let the journals name the newest checkpoint on disk for trials whose last one is no longer there."""
    journal = Journal(home)
    for folder in folders:
        for number, values in SweepCopy(read_journal(folder)[0]).trials.items():
            named, path = values.get("checkpoint_epoch"), checkpoint_dir(folder, number)
            if named is not None and checkpoint_path(path, named) is None:
                newest = newest_epoch(path, at_most=values.get("epochs_trained", 0))
                journal.append(folder.name, "trial", number, {"checkpoint_epoch": newest})
    journal.write()
    journal.committed()
    journal.close()


def _fill(path: Path, folders: list[Path]) -> dict[str, int]:
    copies, lines = {}, 0
    for folder in folders:
        transactions, damaged_lines = read_journal(folder)
        copies[folder.name], lines = SweepCopy(transactions), lines + damaged_lines
        copies[folder.name].leave_out_headless()
    engine = open_to_write(path)
    began = sorted(copies.items(), key=lambda item: str(item[1].sweep.get("started_at")))
    with engine.begin() as connection:
        for name, copy in began:
            _insert_sweep(connection, name, copy)
    fold_log(engine)
    engine.dispose()
    return {
        "sweeps": len(copies),
        "trials": sum(len(copy.trials) for copy in copies.values()),
        "reports": sum(len(epochs) for copy in copies.values() for epochs in copy.reports.values()),
        "damaged_lines": lines,
    }


def _insert_sweep(connection: Connection, name: str, copy: SweepCopy) -> None:
    if "spec" not in copy.sweep:
        raise LedgerError(f"{name}/{JOURNAL_NAME}: its first line is damaged, which says what the sweep is.")
    sweep_id = _insert(connection, schema.sweeps, copy.sweep | {"name": name, "folder": name})
    keys = {
        number: _insert(connection, schema.trials, values | {"sweep_id": sweep_id, "number": number})
        for number, values in sorted(copy.trials.items())
    }
    failures = [each | {"trial_id": keys[number]} for number, its in copy.failures.items() for each in its]
    for failure in sorted(failures, key=lambda each: str(each["failed_at"])):
        _insert(connection, schema.failures, failure)
    rows = [
        (place, {"trial_id": keys[number], "epoch": epoch, "metrics": metrics, "elapsed_s": elapsed_s})
        for number, epochs in copy.reports.items()
        for epoch, (place, metrics, elapsed_s) in epochs.items()
    ]
    if rows:
        connection.execute(sa.insert(schema.reports), [row for _, row in sorted(rows, key=lambda pair: pair[0])])


def _insert(connection: Connection, table: sa.Table, values: dict[str, Any]) -> int:
    """Columns that this version does not know are left out."""
    row = {name: value for name, value in values.items() if name in table.c}
    key = connection.execute(sa.insert(table).values(row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _put_aside(path: Path) -> Path | None:
    """Rename the old ledger with its write-ahead log; it may still be of use to somebody."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
    found = path.exists()
    for suffix in ("", "-wal", "-shm"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.replace(kept.with_name(kept.name + suffix))
    return kept if found else None


def _complaint(
    copy: SweepCopy, trials: Mapping[int, TrialRecord], reports: Mapping[tuple[int, int], Mapping[str, float]]
) -> str | None:
    """The first thing that the ledger lacks or has otherwise; None if there is nothing."""
    decoded = {name: decode_all(each.get(name) or "null" for each in copy.trials.values()) for name in _JSON_COLUMNS}
    for position, (number, values) in enumerate(copy.trials.items()):
        if number not in trials:
            return f"trial {number} is missing"
        plain = {name: decoded[name][position] if name in decoded else value for name, value in values.items()}
        if (difference := _difference(trials[number], plain)) is not None:
            return difference
    told = [(number, epoch) for number in copy.trials for epoch in copy.reports.get(number, ())]
    texts = (copy.reports[number][epoch][1] for number, epoch in told)
    for (number, epoch), metrics in zip(told, decode_all(texts), strict=True):
        if reports.get((number, epoch)) != metrics:
            return f"epoch {epoch} of trial {number} is missing or another one"
    return None


def _difference(trial: TrialRecord, values: Mapping[str, Any]) -> str | None:
    """Of a trial that is over, every column counts; one that runs may be further than the journal."""
    is_over = values.get("state") in FINISHED_STATES
    for name in values.keys() & (_COLUMNS if is_over else {"point"}):
        expected = values[name]
        if getattr(trial, name) != expected:
            return f"{name} of trial {trial.number} is {getattr(trial, name)!r}, was {expected!r}"
    return None
