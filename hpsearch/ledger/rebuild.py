"""Rebuilds a ledger and the journals of its sweeps from all that can be read of them.

Sources are the ledger's file (`salvage.py`), the journals (`journal.py`) and the tables in the folders of the sweeps,
which the caller reads. `union.py` unites what they have of one sweep; here sources are collected and files written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError, SpecError
from hpsearch.ledger.journal import Transaction, read_journal
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.rebuilt_files import Rebuilt, RebuiltSweep, has_links, write_rebuilt
from hpsearch.ledger.salvage import Salvaged, salvage
from hpsearch.ledger.sqlite import making_lock, storage_errors
from hpsearch.ledger.store import now
from hpsearch.ledger.sweep_copy import SweepCopy, is_of_one_sweep, is_same, usable
from hpsearch.ledger.union import unite
from hpsearch.paths import (
    JOURNAL_NAME,
    LEDGER_NAME,
    journal_path,
    ledger_path,
    trials_parquet_path,
)
from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted

JOURNAL, LEDGER, STRAY, TABLES = "journal", "ledger", "ledger's rows without a sweep", "tables"
"""The sources, as messages name them; where two differ and neither is ahead, the first of them counts."""
ReadTables = Callable[[Path, Mapping[str, Any] | None], SweepCopy]
"""Reads the tables and `sweep.yaml` in a sweep's folder, given its spec if that is known."""


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
            if not has_links(folder):
                stack.enter_context(writer_lock(folder, folder.name, task="rebuild"))
        if home.is_dir():
            stack.enter_context(making_lock(home))
        found = salvage(path)
        sweeps: list[RebuiltSweep] = []
        has_removed, left_out = False, dict[str, str]()
        without_folder = {home / name: copy for name, copy in found.sweeps.items() if home / name not in folders}
        nameless = [*found.nameless, *without_folder.values()]  # a folder that was moved by hand has its journal
        for folder in (*folders, *without_folder):
            if folder in without_folder and not _taken_out(nameless, without_folder[folder]):
                continue
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
        return write_rebuilt(home, sweeps, found=found, left_out=left_out)


def _folders(home: Path) -> list[Path]:
    """The folders of sweeps in which there is something to rebuild from."""
    return sorted(
        folder
        for folder in (home.iterdir() if home.is_dir() else ())
        if NAME_PATTERN.fullmatch(folder.name) and not folder.name.startswith(LEDGER_NAME)
        if journal_path(folder).exists() or trials_parquet_path(folder).exists()
    )


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
    is_closed = has_links(folder)
    if is_closed and folder.name not in found.sweeps:
        raise _LeftOut("its folder, its journal or its lock is a symbolic link, which hpsearch does not follow")
    transactions, damaged_lines = ([], 0) if is_closed else read_journal(folder)
    journal, ledger = _journal_and_ledger(folder, transactions, found.sweeps.get(folder.name))
    if ledger is None and journal.is_forgotten:
        return None
    tables = SweepCopy()
    if not is_closed and (damaged_lines or found.damage is not None or ledger is None or not is_same(journal, ledger)):
        tables = usable(read_tables(folder, _spec([journal, ledger or SweepCopy()])))
    journal.has_gaps, tables.has_gaps = damaged_lines > 0, True  # tables are written at the end of a run
    sources = _sources(journal, ledger, tables, folder=folder, found=found, nameless=nameless)
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
        in_journal=is_closed or is_same(copy, journal),
        in_ledger=is_same(copy, sources[LEDGER]),
    )


def _journal_and_ledger(
    folder: Path, transactions: list[Transaction], ledger: SweepCopy | None
) -> tuple[SweepCopy, SweepCopy | None]:
    """What the journal has, without a last transaction that a crash kept from the ledger; what the ledger has.

    The latter is None where the journal shows that the sweep in the ledger was removed.
    """
    journal = usable(SweepCopy().apply(transactions, folder=folder))
    if ledger is not None and not is_same(journal, ledger) and not journal.is_forgotten:
        before = usable(SweepCopy().apply(transactions[:-1], folder=folder))
        journal = before if is_same(before, ledger) else journal
    was_removed = ledger is not None and ledger.sweep.get("started_at") in journal.forgotten
    return journal, None if was_removed else ledger


def _sources(
    journal: SweepCopy,
    ledger: SweepCopy | None,
    tables: SweepCopy,
    *,
    folder: Path,
    found: Salvaged,
    nameless: list[SweepCopy],
) -> dict[str, SweepCopy]:
    """All sources of a sweep by their names, the rows that the ledger has under no name among them.

    Raises:
        _LeftOut: Only tables are left, of a sweep that the ledger is known not to have.
    """
    others = _taken(nameless, journal, ledger or SweepCopy(), tables)
    if ledger is None:
        ledger = others.pop(0) if others else SweepCopy()
        if not ledger.trials and not journal_path(folder).exists() and found.has_all_names:
            raise _LeftOut("it has no journal, and the ledger, whose list of sweeps is whole, does not have it")
    if any(_differ(tables, other) for other in (journal, ledger)):
        tables = SweepCopy(has_gaps=True)  # those of another sweep that had this name
    ledger.has_gaps = found.damage is not None
    more = {f"{STRAY} {number}": copy for number, copy in enumerate(others, 1)}
    return {JOURNAL: journal, LEDGER: ledger, **more, TABLES: tables}


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


def _taken_out(nameless: list[SweepCopy], copy: SweepCopy) -> bool:
    """Take a copy out of the list, unless it was taken out before."""
    is_there = any(copy is each for each in nameless)
    nameless[:] = [each for each in nameless if each is not copy]
    return is_there


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
    stored = json.loads(copy.sweep["spec"])
    if (stored.get("name") or name) != name:  # the folder was renamed, by hand say
        copy.sweep["spec"] = json.dumps({**stored, "name": name})
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
