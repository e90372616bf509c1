"""The ledger: whether it can be read, and sweeps that a killed process left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpsearch.doctor.finding import Finding, count_text, ok, problem, warning
from hpsearch.errors import LedgerError
from hpsearch.ledger.lock import was_killed
from hpsearch.ledger.sqlite import page_damage
from hpsearch.ledger.store import Ledger
from hpsearch.paths import home_option, ledger_path

REBUILD = "Make it anew from the journals: hpsearch resume --rebuild"


def look_at_ledger(home: Path) -> Iterator[Finding]:
    """One line for the ledger, one for each sweep that was killed."""
    path = ledger_path(home)
    if not path.exists():
        yield ok("ledger", f"{path}: none yet, the first sweep makes it")
        return
    damage = page_damage(path)
    if damage is not None:
        yield problem("ledger", f"{path} is damaged: {damage}", REBUILD)
        return
    try:
        with Ledger(home) as ledger:
            sweeps = ledger.sweeps()
            yield ok("ledger", f"{path}: {count_text(len(sweeps), 'sweep')}, every page can be read")
            at = home_option(home)
            for record in sweeps:
                if was_killed(home, record):
                    what = f"sweep '{record.name}' was killed"
                    yield warning("ledger", what, f"Go on with it: hpsearch resume {record.name}{at}")
    except LedgerError as error:
        yield problem("ledger", str(error))
