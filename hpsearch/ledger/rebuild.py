"""Rebuilds a ledger and the journals of its sweeps from all that can be read of them.

Sources are the ledger's file (`salvage.py`), the journals (`journal.py`) and the tables in the folders of the sweeps,
which the caller reads. `union.py` unites what they have of one sweep; here sources are collected and files written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hpsearch.errors import LedgerError, SpecError
from hpsearch.ledger import schema
from hpsearch.ledger.checkpoints import checkpoint_path, newest_epoch
from hpsearch.ledger.journal import journal_of, read_journal
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.salvage import Salvaged, salvage
from hpsearch.ledger.sqlite import fold_log, making_lock, open_to_write, storage_errors
from hpsearch.ledger.store import now
from hpsearch.ledger.sweep_copy import Columns, SweepCopy, is_of_one_sweep, is_same, usable
from hpsearch.ledger.union import merged_order, unite
from hpsearch.links import IN_HOME, IN_SWEEP, is_linked, make_folder
from hpsearch.paths import (
    JOURNAL_NAME,
    LEDGER_NAME,
    checkpoint_dir,
    journal_path,
    ledger_path,
    lock_path,
    replace_file,
    replacing,
    trials_parquet_path,
)
from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted
from hpsearch.time_of_day import local_now

JOURNAL, LEDGER, STRAY, TABLES = "journal", "ledger", "ledger's rows without a sweep", "tables"
"""The sources, as messages name them; where two differ and neither is ahead, the first of them counts."""
ReadTables = Callable[[Path, Mapping[str, Any] | None], SweepCopy]
"""Reads the tables and `sweep.yaml` in a sweep's folder, given its spec if that is known."""


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


class _LeftOut(Exception):
    """A sweep can't be rebuilt; the message says why."""


def rebuild(home: Path, *, read_tables: ReadTables) -> Rebuilt:
    """Rebuild the ledger of a home folder and the journals of its sweeps from the union of all that can be read.

    What is whole and complete is not touched, and old files are kept beside the new ones. Journals are written before
    the ledger, so that a process that is killed in between leaves no less than it found.

    Args:
        home: Folder of the ledger.
        read_tables: Reads the tables in a sweep's folder; see `driver/table_copies.py`.

    Raises:
        LedgerError: No sweep can be rebuilt, a newer version wrote the files, or the disk can't be read or written.
        SweepInUse: A process runs one of the sweeps.
    """
    path = ledger_path(home)
    with ExitStack() as stack, storage_errors(path):
        folders = _folders(home)
        for folder in folders:
            if not _has_links(folder):
                stack.enter_context(writer_lock(folder, folder.name))
        if home.is_dir():
            stack.enter_context(making_lock(home))
        found = salvage(path)
        sweeps: list[RebuiltSweep] = []
        has_removed, left_out = False, dict[str, str]()
        nameless = list(found.nameless)
        for folder in dict.fromkeys([*folders, *(home / name for name in found.sweeps)]):
            try:
                sweep = _rebuilt(folder, found, nameless, read_tables)
            except _LeftOut as reason:
                left_out[folder.name] = str(reason)
            else:
                sweeps += [] if sweep is None else [sweep]
                has_removed |= sweep is None
        for number, copy in enumerate(nameless, 1):
            trials = counted(len(copy.trials), "trial")
            left_out[f"sweep without a name {number}"] = f"the ledger has its {trials}, which are those of no folder"
        if not (sweeps or has_removed):
            reasons = "".join(f" {name}: {reason}." for name, reason in left_out.items())
            raise LedgerError(
                f"{home}: no sweep here has a journal ({JOURNAL_NAME}), rows in the ledger or tables that can be read,"
                f" so that nothing can be rebuilt.{reasons}"
            )
        return _write(home, sweeps, found, left_out)


def _folders(home: Path) -> list[Path]:
    """The folders of sweeps in which there is something to rebuild from."""
    return sorted(
        folder
        for folder in (home.iterdir() if home.is_dir() else ())
        if NAME_PATTERN.fullmatch(folder.name) and not folder.name.startswith(LEDGER_NAME)
        if journal_path(folder).exists() or trials_parquet_path(folder).exists()
    )


def _has_links(folder: Path) -> bool:
    """Whether the folder, or what is opened there, is a link, so that nothing is read or written through it."""
    return any(is_linked(path, parts=IN_SWEEP) for path in (journal_path(folder), lock_path(folder)))


def _rebuilt(folder: Path, found: Salvaged, nameless: list[SweepCopy], read_tables: ReadTables) -> RebuiltSweep | None:
    """The union of the sources of one sweep; None for a sweep that was removed.

    Args:
        folder: The sweep's folder.
        found: What was read of the ledger.
        nameless: Sweeps of the ledger without a name; the one that is this sweep is taken out.
        read_tables: See `rebuild`.

    Raises:
        _LeftOut: It can't be rebuilt.
    """
    has_links = _has_links(folder)
    if has_links and folder.name not in found.sweeps:
        raise _LeftOut("its folder, its journal or its lock is a symbolic link, which hpsearch does not follow")
    transactions, damaged_lines = ([], 0) if has_links else read_journal(folder)
    journal, ledger = usable(SweepCopy().apply(transactions, folder=folder)), found.sweeps.get(folder.name)
    if ledger is not None and not is_same(journal, ledger) and not journal.is_forgotten:
        before = usable(SweepCopy().apply(transactions[:-1], folder=folder))
        journal = before if is_same(before, ledger) else journal  # a crash prevented the commit of the last transaction
    if ledger is not None and ledger.sweep.get("started_at") in journal.forgotten:
        ledger = None
    if ledger is None and journal.is_forgotten:
        return None
    tables = SweepCopy()
    if not has_links and (damaged_lines or found.damage is not None or ledger is None or not is_same(journal, ledger)):
        tables = usable(read_tables(folder, _spec([journal, ledger or SweepCopy()])))
    others = _taken(nameless, journal, ledger or SweepCopy(), tables)
    if ledger is None:
        ledger = others.pop(0) if others else SweepCopy()
        if not ledger.trials and not journal_path(folder).exists() and found.has_all_names:
            raise _LeftOut("it has no journal, and the ledger, whose list of sweeps is whole, does not have it")
    if any(_differ(tables, other) for other in (journal, ledger)):
        tables = SweepCopy()  # those of another sweep that had this name
    journal.has_gaps, ledger.has_gaps = damaged_lines > 0, found.damage is not None
    tables.has_gaps = True  # they are written at the end of a run
    more = {f"{STRAY} {number}": copy for number, copy in enumerate(others, 1)}
    sources = {JOURNAL: journal, LEDGER: ledger, **more, TABLES: tables}
    spec = _spec(sources.values())
    if spec is None:
        raise _LeftOut("its spec can't be read: neither its journal nor the ledger nor sweep.yaml has it whole")
    known = {number for copy in sources.values() for number, row in copy.trials.items() if "point" in row}
    every = {number for copy in sources.values() for number in (*copy.trials, *copy.reports, *copy.failures)}
    united = unite({source: _restricted(copy, known, spec) for source, copy in sources.items()})
    copy = _completed(united.copy, folder.name, spec)
    return RebuiltSweep(
        name=folder.name,
        copy=copy,
        trials_from=united.trials_from,
        reports_from=united.reports_from,
        trials_lost=len(every - known),
        damaged_lines=damaged_lines + journal.unusable,
        in_journal=has_links or is_same(copy, journal),
        in_ledger=is_same(copy, ledger),
    )


def _spec(copies: Iterable[SweepCopy]) -> Mapping[str, Any] | None:
    """The first valid spec of some copies of a sweep, else the first that has at least a metric; None without one."""
    specs: list[Mapping[str, Any]] = [json.loads(copy.sweep["spec"]) for copy in copies if "spec" in copy.sweep]
    readable = [spec for spec in specs if isinstance(spec.get("metric"), dict) and "name" in spec["metric"]]
    return next((spec for spec in readable if _is_valid(spec)), readable[0] if readable else None)


def _is_valid(spec: Mapping[str, Any]) -> bool:
    try:
        Sweep.from_stored(spec)
    except (SpecError, TypeError, AttributeError):
        return False
    return True


def _taken(nameless: list[SweepCopy], *others: SweepCopy) -> list[SweepCopy]:
    """Take out the copies that are of the same sweep as one of the others."""
    found = [copy for copy in nameless if any(is_of_one_sweep(copy, other) for other in others)]
    nameless[:] = [copy for copy in nameless if not any(copy is each for each in found)]
    return found


def _differ(tables: SweepCopy, other: SweepCopy) -> bool:
    """Whether a trial of the tables began at another time than the one of the same number."""
    common = tables.trials.keys() & other.trials.keys()
    times = ({copy.trials[number].get("started_at") for copy in (tables, other)} - {None} for number in common)
    return any(len(each) > 1 for each in times)


def _restricted(copy: SweepCopy, known: set[int], spec: Mapping[str, Any]) -> SweepCopy:
    """A copy without trials whose parameters are unknown, and without reports that lack the objective."""
    metric = spec["metric"]["name"]
    reports = {
        number: {epoch: row for epoch, row in rows.items() if metric in json.loads(row[1])}
        for number, rows in copy.reports.items()
        if number in known
    }
    return replace(
        copy,
        trials={number: row for number, row in copy.trials.items() if number in known},
        failures={number: rows for number, rows in copy.failures.items() if number in known},
        reports=reports,
    )


def _completed(copy: SweepCopy, name: str, spec: Mapping[str, Any]) -> SweepCopy:
    """Fill in what no source has, where the ledger needs a value."""
    began = min((row["started_at"] for row in copy.trials.values() if "started_at" in row), default=now())
    copy.sweep = {"state": "interrupted", "started_at": began} | copy.sweep
    if "spec" not in copy.sweep or not _is_valid(json.loads(copy.sweep["spec"])):
        copy.sweep["spec"] = json.dumps(spec)
    for number, row in copy.trials.items():
        epochs = len(copy.reports.get(number, ()))
        defaults = {
            "seed": spec.get("seed", 0),
            "attempts": 1,
            "epochs_trained": epochs,
            "started_at": copy.sweep["started_at"],
        }
        copy.trials[number] = defaults | row
    for rows in copy.failures.values():
        for _, failure in rows:
            failure.setdefault("evidence", "")
            failure.setdefault("was_retried", False)
    return copy


def _write(home: Path, sweeps: list[RebuiltSweep], found: Salvaged, left_out: Mapping[str, str]) -> Rebuilt:
    """Write the journals that lack something, then the ledger if it does."""
    names = {sweep.name for sweep in sweeps}
    new_ledger = found.damage is not None or names != found.sweeps.keys() or not all(each.in_ledger for each in sweeps)
    kept, new_journals = [], []
    for sweep in sweeps:
        folder = home / sweep.name
        is_corrected = new_ledger and not _has_links(folder) and _correct_checkpoints(sweep.copy, folder)
        if sweep.in_journal and not is_corrected:
            continue
        make_folder(folder, parts=IN_HOME)
        kept += _kept_beside(journal_path(folder))
        named = replace(sweep.copy, sweep={"name": sweep.name, "folder": sweep.name, **sweep.copy.sweep})
        replace_file(journal_path(folder), journal_of(named), durable=True)
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
