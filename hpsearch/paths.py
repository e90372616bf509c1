"""Where the files of a trial lie in the folder of its sweep."""

from __future__ import annotations

import os
import shlex
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


DEFAULT_HOME = Path("sweeps")


def home_dir(home: str | Path | None) -> Path:
    """The folder of the ledger: as given, else HPSEARCH_HOME, else `./sweeps`."""
    return Path(home or os.environ.get("HPSEARCH_HOME") or DEFAULT_HOME)


def home_option(home: Path) -> str:
    """What a command that we print needs to find this folder, with a blank before it; nothing where it would anyway."""
    return "" if home == DEFAULT_HOME == home_dir(None) else f" --home {shlex.quote(str(home))}"
