"""Removes a sweep for good: its rows, then its folder. What other sweeps reused from it is theirs, and stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import best_of
from hpsearch.ledger.sources import reused_by
from hpsearch.ledger.sqlite import storage_errors
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import are_gone, is_left, num_bytes, remove_folder
from hpsearch.links import IN_HOME, make_folder


@dataclass(frozen=True, kw_only=True)
class SweepLoss:
    """What is lost when a sweep is removed."""

    sweep: str
    """The sweep's name."""
    folder: Path
    """Its folder."""
    in_ledger: bool
    """Whether the ledger has it; false where only files are left, since the removal was cut short."""
    num_trials: int
    """Number of its trials."""
    metric: str
    """Name of its objective; empty where the ledger does not have it."""
    best_value: float | None
    """The best value of the objective; None without a result."""
    has_files: bool
    """Whether its folder is there."""
    freed_bytes: int
    """Bytes on disk; files that another sweep shares are not counted."""
    reused_by: Mapping[str, int]
    """Name of another sweep to the number of its trials that were reused from this one."""


def find_losses(home: Path, names: Iterable[str]) -> list[SweepLoss]:
    """What is lost if these sweeps are removed; nothing is changed.

    Args:
        home: Folder of the ledger.
        names: Names of sweeps; one that is given twice counts once.

    Raises:
        UnknownSweep: There is no sweep of one of the names.
        SweepInUse: A process runs one of them.
        LinkRefused: A folder of one of them is a link.
    """
    with Ledger(home) as ledger:
        return [_loss(ledger, name) for name in dict.fromkeys(names)]


def forget(home: Path, name: str) -> SweepLoss:
    """Remove a sweep: its rows first, so that a process that is killed in between leaves files without a sweep.

    The removal of such files is finished by the same call, and by a new sweep of that name.

    Args:
        home: Folder of the ledger.
        name: The sweep.

    Returns:
        What was removed.

    Raises:
        UnknownSweep: There is no sweep of that name.
        SweepInUse: A process runs it.
        LinkRefused: A folder of the sweep or of one of its trials is a link; nothing is removed.
        LedgerError: The ledger can't be written, or the files can't be removed.
    """
    with Ledger(home, create=True) as ledger:
        loss = _loss(ledger, name)
        with storage_errors(loss.folder):
            make_folder(loss.folder, parts=IN_HOME)  # it may have been removed by hand
        with writer_lock(loss.folder, name, task="forget"):
            sweep = ledger.find_sweep(name)
            if sweep is not None:
                ledger.forget_sweep(sweep)
            remove_folder(loss.folder)
    return loss


def _loss(ledger: Ledger, name: str) -> SweepLoss:
    """What is lost with one sweep, or with the files of one whose rows are removed already."""
    sweep = ledger.find_sweep(name)
    if sweep is None and not is_left(ledger.home, name):
        sweep = ledger.sweep(name)
    folder = ledger.home / (name if sweep is None else sweep.folder)
    has_files = not are_gone(folder)
    if has_files:
        with writer_lock(folder, name, task="forget"):
            pass
    trials = [] if sweep is None else ledger.trials(sweep)
    best = None if sweep is None else best_of(trials, sign=sweep.sign)
    return SweepLoss(
        sweep=name,
        folder=folder,
        in_ledger=sweep is not None,
        num_trials=len(trials),
        metric="" if sweep is None else sweep.metric,
        best_value=None if best is None else best.best_value,
        has_files=has_files,
        freed_bytes=num_bytes(folder),
        reused_by={} if sweep is None else reused_by(ledger, sweep),
    )
