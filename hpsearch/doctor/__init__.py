"""Checks whether this machine is fit for a sweep (`hpsearch doctor`), one file for each subject.

Checks only read, start nothing, and import neither Ray nor torch, so that they work where these are broken. What is
found wrong in a sweep or a trial belongs elsewhere: `engine/`, `slots/diagnosis.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hpsearch.doctor.finding import Finding, problem
from hpsearch.errors import in_short

__all__ = ["Finding", "examine"]


def examine(home: Path) -> Iterator[Finding]:
    """Run all checks; a check that raises becomes a finding too.

    Args:
        home: Folder of the ledger; need not exist.

    Returns:
        One finding for each line of the report, as they are made.
    """
    from hpsearch.doctor import gpus, ledger, machine, ray

    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("versions", machine.check_versions),
        ("host", machine.check_host),
        ("gpus", gpus.check_gpus),
        ("disks", lambda: machine.check_disks(home)),
        ("ray", ray.check_ray),
        ("ledger", lambda: ledger.check_ledger(home)),
    )
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:
            yield problem(name, f"this check failed: {in_short(error)}")
