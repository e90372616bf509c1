"""Finds the folder of a sweep's spec, and so its trainable's file, also after the project was moved or copied.

The ledger has the folder twice: relative to its own folder, which is right where both were moved together, and as an
absolute path, which is right where the ledger alone was moved. A folder within the ledger's own is never returned,
since code that came with someone else's sweeps must not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpsearch.ledger.records import SweepRecord


def from_home(spec_dir: Path, home: Path) -> str | None:
    """`spec_dir` relative to the ledger's folder; None if it is within that folder, where no code is looked for."""
    relative = Path(os.path.relpath(spec_dir.resolve(), home.resolve()))
    return str(relative) if relative.parts[:1] == ("..",) else None


def find_spec_dir(sweep: SweepRecord, home: Path) -> Path | None:
    """The folder where files that the spec names are looked for, besides the working directory; None if unknown.

    If the trainable is a file, it is the first of the two recorded folders that contains it.
    """
    known = list(_folders(sweep, home))
    before, _, after = (sweep.spec.get("trainable") or "").rpartition(":")
    file = before or after
    fitting = [folder for folder in known if os.path.isfile(folder / file)] if file.endswith(".py") else []  # noqa: PTH113 - is_file raises on long names
    return next(iter(fitting or known), None)


def _folders(sweep: SweepRecord, home: Path) -> Iterator[Path]:
    here = home.resolve()
    relative, absolute = sweep.spec_from_home, sweep.spec_dir
    recorded = ([] if relative is None else [(here / relative).resolve()]) + (
        [] if absolute is None else [Path(absolute)]
    )
    yield from (folder for folder in recorded if from_home(folder, here) is not None)
