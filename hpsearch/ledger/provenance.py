"""Provenance of a sweep: versions, commit and machine, one line of `runs.jsonl` for each run of it.

The line is written by the process that runs the sweep; it may be read on another machine.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpsearch.links import IN_SWEEP, open_file
from hpsearch.paths import provenance_path
from hpsearch.time_of_day import utc_now

PACKAGES = ("hpsearch", "torch", "ray", "optuna", "hyperopt", "numpy", "pandas", "lightning", "transformers")
"""Packages whose versions are recorded, where they are installed."""
MAX_BYTES = 1_000_000
"""Bytes of the file that are read at most; some thousand runs."""
GIT_TIMEOUT_S = 5
"""Seconds that each call of git may take; after that the commit is unknown."""
MAX_TEXT = 200
"""Characters of a key or value that are read at most."""


def take_provenance(project: Path | None) -> dict[str, Any]:
    """The versions, the commit and the machine that this process runs with; no package is imported for it.

    Args:
        project: Folder of the project whose commit is recorded; None for the working directory.

    Returns:
        One line of `runs.jsonl`, as JSON can hold it.
    """
    from hpsearch.devices.inventory import host_cpus, host_gpus

    return {
        "started_at": utc_now().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "platform": platform.platform(),
        "cpus": host_cpus(),
        "gpus": host_gpus(),
        "commit": _commit(project or Path()),
    }


def append_provenance(folder: Path, line: Mapping[str, Any]) -> None:
    """Append a line to `runs.jsonl`.

    Args:
        folder: The sweep's folder.
        line: As `take_provenance` gives it.

    Raises:
        OSError: It can't be written, or is a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(open_file(provenance_path(folder), flags, parts=IN_SWEEP), "w", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_provenance(folder: Path) -> list[dict[str, str]]:
    """The recorded runs of a sweep in their order, all values as text.

    Args:
        folder: The sweep's folder.

    Returns:
        One dict for each run; lines that can't be read are left out. Empty if the file can't be read.
    """
    try:
        descriptor = open_file(provenance_path(folder), os.O_RDONLY | os.O_NONBLOCK, parts=IN_SWEEP)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return []
        lines = file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    return [run for line in lines if (run := _run(line))]


def _run(line: str) -> dict[str, str]:
    with suppress(ValueError, RecursionError):
        read = json.loads(line)
        if isinstance(read, dict):
            return {str(key)[:MAX_TEXT]: _text(value)[:MAX_TEXT] for key, value in read.items() if value is not None}
    return {}


def _text(value: Any) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def _version(package: str) -> str | None:
    if package == "hpsearch":
        from hpsearch.version import __version__

        return __version__
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _commit(folder: Path) -> str | None:
    """The commit of a folder, marked if files differ from it; None if git knows none."""
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit and f"{commit}{', with changes' if status else ''}"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "--no-optional-locks", *arguments]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
        return done.stdout.strip() or None
    return None
