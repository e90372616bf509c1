"""What a rebuild found, and how the ledger and the journals of its sweeps are written from it; old files are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hpsearch.ledger import schema
from hpsearch.ledger.checkpoints import checkpoint_path, newest_epoch
from hpsearch.ledger.journal import journal_of
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.salvage import Salvaged, copies_of
from hpsearch.ledger.sqlite import fold_log, open_to_write, storage_errors
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_copy import Columns, SweepCopy
from hpsearch.ledger.union import merged_order
from hpsearch.links import IN_HOME, IN_SWEEP, is_linked, make_folder
from hpsearch.paths import checkpoint_dir, journal_path, ledger_path, lock_path, replace_file, replacing
from hpsearch.time_of_day import local_now


@dataclass(frozen=True, kw_only=True)
class RebuiltSweep:
    """One sweep of a rebuilt ledger."""

    name: str
    """The sweep's name."""
    copy: SweepCopy
    """What the ledger has of it now."""
    trials_from: Mapping[str, int]
    """Source to the number of trials whose state it gave."""
    reports_from: Mapping[str, int]
    """Source to the number of reports that it gave: each is counted for the first source that has it."""
    trials_lost: int
    """Trials that are left out, since no source has their parameters."""
    damaged_lines: int
    """Lines of its journal that could not be used."""
    in_journal: bool
    """Whether its journal had all this already."""
    in_ledger: bool
    """Whether the ledger had all this already."""

    @property
    def reports_lost(self) -> int:
        """Reports that no source has, of epochs that the trials have trained."""
        trained = sum(
            max(int(row["epochs_trained"]), max(self.copy.reports.get(number, ()), default=0))
            for number, row in self.copy.trials.items()
        )
        return trained - self.copy.num_reports


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What `rebuild` found, and what it wrote."""

    sweeps: tuple[RebuiltSweep, ...]
    """The sweeps of the ledger as it is now."""
    left_out: Mapping[str, str]
    """Name of a sweep that could not be rebuilt to the reason, a clause without a full stop."""
    damage: str | None
    """What was wrong with the ledger's file, a clause; None if it was whole, whatever it lacked."""
    new_ledger: bool
    """Whether the ledger's file was rebuilt."""
    new_journals: tuple[str, ...]
    """Names of the sweeps whose journals were rebuilt."""
    kept: tuple[Path, ...]
    """Where the old files are now, of those that were rebuilt."""

    @property
    def trials(self) -> int:
        """Number of trials of all sweeps."""
        return sum(len(sweep.copy.trials) for sweep in self.sweeps)

    @property
    def reports(self) -> int:
        """Number of reports of all trials."""
        return sum(sweep.copy.num_reports for sweep in self.sweeps)

    @property
    def damaged_lines(self) -> int:
        """Lines of all journals that could not be used."""
        return sum(sweep.damaged_lines for sweep in self.sweeps)


def has_links(folder: Path) -> bool:
    """Whether the folder, or what is opened there, is a link, so that nothing is read or written through it."""
    return any(is_linked(path, parts=IN_SWEEP) for path in (journal_path(folder), lock_path(folder)))


def write_rebuilt(home: Path, sweeps: list[RebuiltSweep], *, found: Salvaged, left_out: Mapping[str, str]) -> Rebuilt:
    """Write the journals that lack something, then the ledger if it does.

    Args:
        home: Folder of the ledger.
        sweeps: The sweeps that the ledger shall have.
        found: What was read of the old ledger.
        left_out: See `Rebuilt`.

    Raises:
        OSError: A file can't be written.
    """
    names = {sweep.name for sweep in sweeps}
    new_ledger = found.damage is not None or names != found.sweeps.keys() or not all(each.in_ledger for each in sweeps)
    kept, new_journals = [], []
    for sweep in sweeps:
        folder = home / sweep.name
        is_corrected = new_ledger and not has_links(folder) and _correct_checkpoints(sweep.copy, folder)
        if sweep.in_journal and not is_corrected:
            continue
        make_folder(folder, parts=IN_HOME)
        kept += _kept_beside(journal_path(folder))
        _write_journal(home, sweep.name, sweep.copy)
        new_journals.append(sweep.name)
    if new_ledger:
        path = ledger_path(home)
        with replacing(path, durable=True) as beside:
            _fill(beside, sweeps, list(found.sweeps))
            kept += _put_aside(path)
    return Rebuilt(
        sweeps=tuple(sweeps),
        left_out=left_out,
        damage=found.damage,
        new_ledger=new_ledger,
        new_journals=tuple(new_journals),
        kept=tuple(kept),
    )


def restore_journal(ledger: Ledger, sweep: SweepRecord) -> None:
    """Write the journal of a sweep from its rows, where its files were removed; for the process that holds its lock.

    Raises:
        LedgerError: The ledger can't be read, or the journal can't be written.
    """
    trials = sa.select(schema.trials.c.id).where(schema.trials.c.sweep_id == sweep.id)
    theirs = {
        schema.sweeps: schema.sweeps.c.id == sweep.id,
        schema.trials: schema.trials.c.sweep_id == sweep.id,
        schema.failures: schema.failures.c.trial_id.in_(trials),
        schema.reports: schema.reports.c.trial_id.in_(trials),
    }
    rows: dict[str, list[Columns]] = {}
    with ledger.reading() as connection:
        for table, which in theirs.items():
            found = connection.execute(sa.select(table).where(which).order_by(table.c.id)).mappings()
            rows[table.name] = [dict(row) for row in found]
    copy = copies_of(rows)[sweep.id]
    with storage_errors(ledger.path):
        _write_journal(ledger.home, sweep.name, copy)


def _write_journal(home: Path, name: str, copy: SweepCopy) -> None:
    named = replace(copy, sweep={"name": name, "folder": name, **copy.sweep})
    replace_file(journal_path(home / name), journal_of(named), durable=True)


def _correct_checkpoints(copy: SweepCopy, folder: Path) -> bool:
    """Name the newest checkpoint on disk of trials whose last one is no longer there; whether any was."""
    is_changed = False
    for number, row in copy.trials.items():
        named, path = row.get("checkpoint_epoch"), checkpoint_dir(folder, number)
        if named is not None and checkpoint_path(path, named) is None:
            row["checkpoint_epoch"] = newest_epoch(path, at_most=row["epochs_trained"])
            is_changed = True
    return is_changed


def _fill(path: Path, sweeps: list[RebuiltSweep], order: list[str]) -> None:
    """Make a ledger of these sweeps, in the order of the old one; new ones follow in that of their beginning."""
    by_name = {sweep.name: sweep.copy for sweep in sweeps}
    began = sorted(by_name, key=lambda name: str(by_name[name].sweep["started_at"]))
    engine = open_to_write(path)
    with engine.begin() as connection:
        for name in merged_order([[name for name in order if name in by_name], began]):
            _insert_sweep(connection, name, by_name[name])
    fold_log(engine)
    engine.dispose()


def _insert_sweep(connection: Connection, name: str, copy: SweepCopy) -> None:
    sweep_id = _insert(connection, schema.sweeps, copy.sweep | {"name": name, "folder": name})
    keys = {
        number: _insert(connection, schema.trials, values | {"sweep_id": sweep_id, "number": number})
        for number, values in sorted(copy.trials.items())
    }
    failures = sorted((position, number, row) for number, rows in copy.failures.items() for position, row in rows)
    for _, number, row in failures:
        _insert(connection, schema.failures, row | {"trial_id": keys[number]})
    reports = sorted((*row, number, epoch) for number, rows in copy.reports.items() for epoch, row in rows.items())
    if reports:
        rows = [
            {"trial_id": keys[number], "epoch": epoch, "metrics": metrics, "elapsed_s": elapsed_s}
            for _, metrics, elapsed_s, number, epoch in reports
        ]
        connection.execute(sa.insert(schema.reports), rows)


def _insert(connection: Connection, table: sa.Table, values: Columns) -> int:
    """Insert a row and return its key."""
    key = connection.execute(sa.insert(table).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _kept_beside(path: Path) -> list[Path]:
    """Give a file that is about to be replaced a second name, if there is one."""
    if not path.exists():
        return []
    kept = _free_name(path)
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, kept, follow_symlinks=False)
    return [kept]


def _put_aside(path: Path) -> list[Path]:
    """Rename the old ledger with its write-ahead log, which must not be beside the new one; empty if there was none."""
    found, kept = path.exists(), _free_name(path)
    for suffix in ("", "-wal", "-shm"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.replace(kept.with_name(kept.name + suffix))
    return [kept] if found else []


def _free_name(path: Path) -> Path:
    stamp = f"{path.name}.damaged-{local_now():%Y%m%d-%H%M%S}"
    names = (path.with_name(f"{stamp}{suffix}") for suffix in ("", *(f"-{count}" for count in range(2, 1000))))
    return next(name for name in names if not name.exists())
