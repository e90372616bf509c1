"""Free space where a sweep writes: the ledger's folder, Ray's session, shared memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hpsearch.doctor.finding import GIB, Finding, ok, problem, size_text, warning
from hpsearch.engine.disk import START_BYTES

TEMP_DIR, SHM_DIR = Path("/tmp"), Path("/dev/shm")
"""Where Ray keeps its session, and its objects."""
LITTLE = {"home": 5 * GIB, "temp": 2 * GIB, "shm": 2 * GIB}
"""Free space below which a long sweep may run out."""
ADVICE = {
    "home": "Checkpoints, logs and tables go there. Free space, or choose another folder by --home.",
    "temp": "Ray's logs go there. Free space, or remove folders of sweeps that are over.",
    "shm": "Ray's objects and DataLoader's batches go there. In a container: docker run --shm-size=8g, or --ipc=host.",
}


def look_at_disks(home: Path) -> Iterator[Finding]:
    """The three places; the ledger's folder by the nearest one that exists."""
    existing = next(each for each in (home.absolute(), *home.absolute().parents) if each.exists())
    if not os.access(existing, os.W_OK):
        yield problem("home", f"{existing} can't be written", "Change its owner, or choose another folder by --home.")
    for check, folder in (("home", existing), ("temp", TEMP_DIR), ("shm", SHM_DIR)):
        if folder.exists():
            yield _look_at(check, folder)


def _look_at(check: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    text = f"{folder}: {size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free < START_BYTES:
        return problem(check, text, ADVICE[check])
    return warning(check, text, ADVICE[check]) if usage.free < LITTLE[check] else ok(check, text)
