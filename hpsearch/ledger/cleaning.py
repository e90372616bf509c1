"""Frees disk space: removes the checkpoints that a sweep no longer needs by its `limits.checkpoints`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpsearch.ledger.agreement import check_sweep
from hpsearch.ledger.checkpoints import remove_checkpoints
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import ENDED_SWEEP_STATES, FINISHED_STATES, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import check_not_gone, num_bytes
from hpsearch.paths import checkpoint_dir
from hpsearch.spec.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class CheckpointCleanup:
    """What `clean` removed, or would remove."""

    sweep: str
    """The sweep's name."""
    freed_bytes: int
    """Bytes on disk; files that another sweep shares are not counted."""
    trials: tuple[int, ...]
    """Numbers of the trials whose checkpoints are removed."""
    kept: tuple[int, ...]
    """Numbers of the trials whose checkpoints are kept."""


def clean(home: Path, name: str | None = None, *, dry_run: bool = False) -> CheckpointCleanup:
    """Remove the checkpoints that a sweep no longer needs.

    A sweep that ended keeps only those of its best `limits.checkpoints` trials; if it is given more epochs later, the
    others train from epoch 0. One that was interrupted keeps every checkpoint that it resumes from.

    Args:
        home: Folder of the ledger.
        name: The sweep; None for the newest.
        dry_run: Remove nothing.

    Raises:
        UnknownSweep: There is no such sweep.
        SweepInUse: A process runs it.
        LinkRefused: A folder of the sweep or of one of its trials is a link; nothing is removed.
        LedgerError: The ledger or the journal is damaged or can't be written, or the sweep's files are gone.
    """
    with Ledger(home) as reader:
        known = reader.sweep(name)
    name = known.name
    check_not_gone(home, known)
    with Ledger(home, create=True) as ledger, writer_lock(home / ledger.sweep(name).folder, name, task="clean"):
        sweep = ledger.sweep(name)
        trials = ledger.trials(sweep)
        sizes = {
            trial.number: size for trial in trials if (size := _size(home / sweep.folder, trial.number)) is not None
        }
        needed = _needed(sweep, trials)
        dropped = [trial for trial in trials if trial.number in sizes and trial.number not in needed]
        if dropped and not dry_run:
            check_sweep(ledger, sweep)
            ledger.clear_checkpoints(trial.id for trial in dropped)
            for trial in dropped:
                remove_checkpoints(checkpoint_dir(home / sweep.folder, trial.number))
    return CheckpointCleanup(
        sweep=name,
        freed_bytes=sum(sizes[trial.number] for trial in dropped),
        trials=tuple(trial.number for trial in dropped),
        kept=tuple(number for number in sizes if number in needed),
    )


def _needed(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> set[int]:
    """Numbers of the trials whose checkpoints are kept."""
    if sweep.state not in ENDED_SWEEP_STATES:
        return {
            each.number for each in trials if each.state not in FINISHED_STATES or each.checkpoint_epoch is not None
        }
    keep = Sweep.from_stored(sweep.spec).limits.checkpoints
    ranked = sorted(
        (trial for trial in trials if trial.succeeded and trial.best_value is not None),
        key=lambda trial: (sweep.sign * (trial.best_value or 0.0), trial.number),
    )
    return {trial.number for trial in (ranked if keep == "all" else ranked[:keep])}


def _size(folder: Path, number: int) -> int | None:
    """Bytes of a trial's checkpoints that no other sweep shares; None if it has no folder of them."""
    path = checkpoint_dir(folder, number)
    if not path.is_dir() or path.is_symlink():
        return None
    return num_bytes(path)
