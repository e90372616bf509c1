"""The folder of a ledger, and of the files of its sweeps: where it is, and how a command names it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

DEFAULT_HOME = Path("sweeps")


def home_dir(home: str | Path | None) -> Path:
    """The folder of the ledger: as given, else HPSEARCH_HOME, else `./sweeps`."""
    return Path(home or os.environ.get("HPSEARCH_HOME") or DEFAULT_HOME)


def home_option(home: Path) -> str:
    """What a command that we print needs to find this folder, with a blank before it; nothing where it would anyway."""
    return "" if home == DEFAULT_HOME == home_dir(None) else f" --home {shlex.quote(str(home))}"
