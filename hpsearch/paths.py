"""Where the files of a trial lie in the folder of its sweep."""

from __future__ import annotations

from pathlib import Path


def trial_dir(sweep_dir: Path, number: int) -> Path:
    """The folder of a trial; its ranks make it."""
    return sweep_dir / "trials" / f"{number:04d}"


def log_path(sweep_dir: Path, number: int) -> Path:
    """What a trial prints, and what hpsearch says about it."""
    return trial_dir(sweep_dir, number) / "log.txt"


def checkpoint_dir(sweep_dir: Path, number: int) -> Path:
    """Where the ranks of a trial write its checkpoints."""
    return trial_dir(sweep_dir, number) / "checkpoint"
