"""Reads what can be read of a ledger's file, which may be damaged: table by table, row by row, from a copy of it.

SQLite finds a row by the pages that lead to it, so damage to one page costs the rows of that page, or those below it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from hpsearch.errors import LedgerError
from hpsearch.ledger import schema
from hpsearch.ledger.sqlite import copied
from hpsearch.ledger.sweep_copy import Columns, SweepCopy, usable
from hpsearch.plain import NAME_PATTERN
from hpsearch.text import printable

_ERRORS = (sqlite3.Error, ValueError)
"""What a damaged file raises; a ValueError where the name of a column or a message of SQLite is not UTF-8."""
MAX_FAILED_QUERIES = 100_000
"""Queries that may fail for each table before its other rows are given up; each takes some 20 µs."""
NUM_SAMPLES = 256
"""Keys that are looked up to see whether a table can be read at all."""
MIN_ROW_BYTES = 8
"""No row is shorter, so that the file's size limits how many there are, where the largest key can't be read."""


@final
@dataclass
class Salvaged:
    """What was read of a ledger's file."""

    sweeps: dict[str, SweepCopy] = field(default_factory=dict)
    """Name to sweep, in the order in which they were added."""
    nameless: list[SweepCopy] = field(default_factory=list)
    """Sweeps whose name can't be read."""
    damage: str | None = None
    """What is wrong with the file, the first that was found; None for a whole one, and without a file."""
    has_all_names: bool = True
    """Whether every row of the table `sweeps` was read."""


def salvage(path: Path) -> Salvaged:
    """Read what can be read of a ledger's file and its write-ahead log, neither of which is changed.

    Args:
        path: The file.

    Raises:
        LedgerError: A newer version of hpsearch wrote it.
        OSError: It can't be copied into a temporary folder.
    """
    if not path.exists():
        return Salvaged(damage="it is missing", has_all_names=False)
    with copied(path) as copy:
        num_bytes = sum(each.stat().st_size for each in copy.parent.iterdir())
        with closing(sqlite3.connect(copy)) as connection:
            connection.text_factory = bytes  # a flipped bit may leave a text that is not UTF-8
            return _read(connection, path, num_bytes=num_bytes)


def _read(connection: sqlite3.Connection, path: Path, *, num_bytes: int) -> Salvaged:
    damage = _schema_damage(connection, path)
    found = Salvaged(damage=_integrity(connection) or damage)
    tables = {
        name: _Rows(connection, name, last=num_bytes // MIN_ROW_BYTES)
        for name in ("sweeps", "trials", "failures", "reports")
    }
    rows = {name: list(table) for name, table in tables.items()}
    found.has_all_names = tables["sweeps"].is_whole
    copies = copies_of(rows)
    for key, copy in copies.items():
        about: Columns = next((row for row in rows["sweeps"] if row["id"] == key), {})
        name = about.get("name")
        if name is not None and name == about.get("folder") and NAME_PATTERN.fullmatch(name):
            found.sweeps[name] = copy
        else:
            found.nameless.append(copy)
            found.has_all_names = False
    lost = next((f"rows of its table {name} can't be read" for name, each in tables.items() if not each.is_whole), None)
    unusable = sum(copy.unusable for copy in copies.values())
    found.damage = found.damage or lost or (f"{unusable} of its values are not valid" if unusable else None)
    return found


def copies_of(rows: Mapping[str, Sequence[Columns]]) -> dict[int, SweepCopy]:
    """Key of a sweep's row to its copy; rows that belong to no trial that was read are left out.

    Args:
        rows: The rows of the tables `sweeps`, `trials`, `failures` and `reports`, each in the order of their keys.
    """
    copies: dict[int, SweepCopy] = defaultdict(SweepCopy)
    for row in rows["sweeps"]:
        copies[row["id"]].sweep = row
    owners: dict[int, tuple[SweepCopy, int]] = {}
    for row in rows["trials"]:
        sweep_id, number = row.get("sweep_id"), row.get("number")
        if isinstance(sweep_id, int) and isinstance(number, int):
            copies[sweep_id].trials[number] = row
            owners[row["id"]] = (copies[sweep_id], number)
    for kind in ("failures", "reports"):
        for row in rows[kind]:
            copy, number = owners.get(row.get("trial_id", 0), (None, 0))
            if copy is None:
                continue
            if kind == "failures":
                copy.add_failure(number, row)
            else:
                copy.add_report(number, row.get("epoch", 0), row.get("metrics", ""), row.get("elapsed_s", ""))
    return {key: usable(copy) for key, copy in copies.items()}


@final
class _Rows:
    """The rows of one table in the order of their keys."""

    def __init__(self, connection: sqlite3.Connection, table: str, *, last: int) -> None:
        self._connection, self._table, self._last = connection, table, last
        self._num_failed = 0

    @property
    def is_whole(self) -> bool:
        """Whether all rows were read, once they were."""
        return self._num_failed == 0

    def __iter__(self) -> Iterator[Columns]:
        try:
            (last,) = self._connection.execute(f"SELECT max(id) FROM {self._table}").fetchone()
        except _ERRORS:
            last = b""
        if isinstance(last, bytes):
            self._num_failed, last = 1, self._last
        if self._has_any(last or 0):
            yield from self._between(1, last or 0)

    def _has_any(self, last: int) -> bool:
        """Whether one of some keys can be looked up; none can if the table's first page or its name is damaged."""
        for key in range(1, last + 1, max(last // NUM_SAMPLES, 1)):
            try:
                self._connection.execute(f"SELECT id FROM {self._table} WHERE id = ?", (key,)).fetchall()
            except _ERRORS:
                self._num_failed += 1
            else:
                return True
        return False

    def _between(self, first: int, last: int) -> Iterator[Columns]:
        """The rows with these keys; where they can't be read together, one half after the other."""
        if first > last or self._num_failed > MAX_FAILED_QUERIES:
            return
        try:
            cursor = self._connection.execute(
                f"SELECT * FROM {self._table} WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
            )
            names = [column[0] for column in cursor.description]
            found = cursor.fetchall()
        except _ERRORS:
            self._num_failed += 1
            if first < last:
                middle = (first + last) // 2
                yield from self._between(first, middle)
                yield from self._between(middle + 1, last)
            return
        yield from (_columns(names, row) for row in found)


def _columns(names: list[str], row: tuple[Any, ...]) -> Columns:
    """Name to value; a text that is not UTF-8 stays bytes, which no column may have."""
    values: Columns = {}
    for name, value in zip(names, row, strict=True):
        try:
            values[name] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            values[name] = value
    return values


def _integrity(connection: sqlite3.Connection) -> str | None:
    try:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except _ERRORS as error:
        return str(error)
    text = " ".join(answer.decode(errors="replace").split())
    return None if text == "ok" else text


def _schema_damage(connection: sqlite3.Connection, path: Path) -> str | None:
    """What is wrong with the names of tables and columns, or with the version that the ledger says it has.

    Raises:
        LedgerError: A newer version wrote it: it says so, and has columns that this version does not know. Each newer
            version adds some; without them, the number is damaged.
    """
    try:
        found = connection.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()
        names = connection.execute(
            "SELECT m.name || '.' || c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
            " WHERE m.type = 'table'"
        ).fetchall()
    except _ERRORS as error:
        return str(error)
    known = {str(column).encode() for table in schema.metadata.tables.values() for column in table.c}
    strange = {name for (name,) in names} - known
    version = int(found[0]) if found and isinstance(found[0], bytes) and found[0].isdigit() else 0
    if version > schema.SCHEMA_VERSION and strange:
        raise LedgerError(
            f"{path}: written by a newer version of hpsearch (ledger version {version}, this one knows"
            f" {schema.SCHEMA_VERSION}). Upgrade hpsearch, or name another folder with --home."
        )
    if strange:
        return f"it has an unknown column {printable(min(strange).decode(errors='replace')[:100])}"
    return None if 1 <= version <= schema.SCHEMA_VERSION else "its version can't be read"
