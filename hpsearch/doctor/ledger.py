"""Checks of the ledger: whether it can be read, and which of its sweeps were killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpsearch.doctor.finding import Finding, ok, problem, warning
from hpsearch.errors import LedgerError
from hpsearch.ledger.lock import was_killed
from hpsearch.ledger.sqlite import page_damage
from hpsearch.ledger.store import Ledger
from hpsearch.paths import home_option, ledger_path
from hpsearch.text import counted


def check_ledger(home: Path) -> Iterator[Finding]:
    """One finding for the ledger, and one for each sweep that was killed."""
    path, at = ledger_path(home), home_option(home)
    if not path.exists():
        yield ok("ledger", f"{path}: none yet; the first sweep creates it")
        return
    try:
        damage = page_damage(path)
        if damage is not None:
            yield problem(
                "ledger",
                f"{path} is damaged: {damage}",
                f"Rebuild it from all that can be read: python -m hpsearch resume --rebuild{at}",
            )
            return
        with Ledger(home) as ledger:
            sweeps = ledger.sweeps()
            yield ok("ledger", f"{path}: {counted(len(sweeps), 'sweep')}, all pages are readable")
            for record in sweeps:
                if was_killed(home, record):
                    what = f"sweep '{record.name}' was killed"
                    yield warning("ledger", what, f"Resume it: python -m hpsearch resume {record.name}{at}")
    except LedgerError as error:
        yield problem("ledger", str(error))
