"""Where the spec of a sweep lies, and so its trainable's file: also after the project was moved or copied as a whole.

The ledger has the folder twice: from its own folder, which finds it where both went together, and as an absolute path,
which finds it where the ledger alone went away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpsearch.ledger.records import SweepRecord


def from_home(spec_dir: Path, home: Path) -> str | None:
    """`spec_dir` relative to the ledger's folder; None for one in it, where nothing that runs is looked for."""
    place = Path(os.path.relpath(spec_dir.resolve(), home.resolve()))
    return str(place) if place.parts[:1] == ("..",) else None


def find_spec_dir(sweep: SweepRecord, home: Path) -> Path | None:
    """The folder that a file of the spec is looked for in, besides the working directory; None if none is known.

    It is the first of both that has the trainable's file, where the trainable is one.
    """
    known = list(_folders(sweep, home))
    before, _, after = (sweep.spec.get("trainable") or "").rpartition(":")
    file = before or after
    fitting = [folder for folder in known if os.path.isfile(folder / file)] if file.endswith(".py") else []  # noqa: PTH113 - is_file raises on long names
    return next(iter(fitting or known), None)


def _folders(sweep: SweepRecord, home: Path) -> Iterator[Path]:
    here = home.resolve()
    if sweep.spec_from_home is not None and from_home(here / sweep.spec_from_home, here) is not None:
        yield (here / sweep.spec_from_home).resolve()
    if sweep.spec_dir is not None:
        yield Path(sweep.spec_dir)
