"""The ledger: whether it can be read, and sweeps that a killed process left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from hpsearch.doctor.finding import Finding, count_text, ok, problem, warning
from hpsearch.errors import LedgerError
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.store import Ledger

DATABASE = "ledger.db"
REBUILD = "Make it anew from the journals: hpsearch resume --rebuild"


def look_at_ledger(home: Path) -> Iterator[Finding]:
    """One line for the ledger, one for each sweep that was killed."""
    path = home / DATABASE
    if not path.exists():
        yield ok("ledger", f"{path}: none yet, the first sweep makes it")
        return
    damage = _damage(path)
    if damage is not None:
        yield problem("ledger", f"{path} is damaged: {damage}", REBUILD)
        return
    try:
        with Ledger(home) as ledger:
            sweeps = ledger.sweeps()
            yield ok("ledger", f"{path}: {count_text(len(sweeps), 'sweep')}, every page can be read")
            at = "" if home == Path("sweeps") else f" --home {home}"
            for record in sweeps:
                if record.state == "running" and not is_held(home / record.folder):
                    what = f"sweep '{record.name}' was killed"
                    yield warning("ledger", what, f"Go on with it: hpsearch resume {record.name}{at}")
    except LedgerError as error:
        yield problem("ledger", str(error))


def _damage(path: Path) -> str | None:
    """What SQLite finds wrong in the file; None if nothing is."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:  # on a disk that can't be written, say: the ledger itself knows more ways to read
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else found
