"""Looks at what a sweep needs of this machine, before one runs. Reads only; imports neither Ray nor torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hpsearch.doctor.finding import Finding, problem
from hpsearch.errors import in_short

__all__ = ["Finding", "examine"]


def examine(home: Path) -> Iterator[Finding]:
    """Everything, one finding for each line; a look that raises becomes a problem of its own.

    Args:
        home: Folder of the ledger; need not exist.
    """
    from hpsearch.doctor import gpus, ledger, machine, rays

    looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("versions", machine.look_at_versions),
        ("host", machine.look_at_host),
        ("gpus", gpus.look_at_gpus),
        ("disks", lambda: machine.look_at_disks(home)),
        ("ray", rays.look_at_ray),
        ("ledger", lambda: ledger.look_at_ledger(home)),
    )
    for name, look in looks:
        try:
            yield from look()
        except Exception as error:
            yield problem(name, f"could not be looked at: {in_short(error)}")
