"""Checks of the host: installed packages, CPUs, memory, disks, and the limits of this process."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import psutil

from hpsearch.devices.inventory import host_cpus
from hpsearch.doctor.finding import GIB, Finding, ok, problem, size_text, warning
from hpsearch.engine.disk import START_BYTES

PACKAGES = ("hpsearch", "torch", "ray", "optuna", "hyperopt")
"""Packages without which no sweep runs."""
UI_PACKAGE = "optuna-dashboard"
"""Package that `hpsearch ui` starts."""
CUDA_RUNTIME = "nvidia-cuda-runtime"
"""Prefix of the name of the package that contains PyTorch's CUDA runtime."""
FEW_FILES = 4096
"""Limit of open files below which Ray's processes, each with dozens of connections, may fail."""
LITTLE_MEMORY = 2 * GIB
"""Memory, in bytes, that a local Ray and one rank need before the first trial begins."""
BUSY = 1.5
"""Load per CPU above which other programs slow trials down."""
TEMP_DIR, SHM_DIR = Path("/tmp"), Path("/dev/shm")
"""Folders of Ray's sessions, and of its objects."""
LITTLE_SPACE = {"home": 5 * GIB, "temp": 2 * GIB, "shm": 2 * GIB}
"""Free space, in bytes, below which a long sweep may run out of it."""
SPACE_ADVICE = {
    "home": "It holds checkpoints, logs and tables. Free space, or choose another folder with --home.",
    "temp": "It holds Ray's logs. Free space, or remove the folders of sweeps that have ended.",
    "shm": "It holds Ray's objects and DataLoader's batches. In a container: docker run --shm-size=8g, or --ipc=host.",
}
"""What to do where a folder has little space."""


def check_versions() -> Iterator[Finding]:
    """The versions of what is installed, from package metadata alone."""
    found = {name: installed(name) for name in PACKAGES}
    missing = [name for name, each in found.items() if each is None]
    known = [f"{name} {each}" for name, each in found.items() if each is not None]
    text = ", ".join([f"Python {platform.python_version()}", *known, f"CUDA {cuda_version() or 'none'}"])
    if missing:
        yield problem("versions", f"{text}; {', '.join(missing)} not installed", f"pip install {' '.join(missing)}")
    else:
        yield ok("versions", text)
    if installed(UI_PACKAGE) is None:
        yield ok("versions", f"{UI_PACKAGE} is not installed; the verb `ui` needs it: pip install {UI_PACKAGE}")


def check_host() -> Iterator[Finding]:
    """CPUs and their load, free memory, and the limit of open files."""
    cpus, load = host_cpus(), os.getloadavg()[0]
    text = f"{cpus} of {os.cpu_count()} CPUs usable, load {load:.1f}"
    if load > BUSY * (os.cpu_count() or 1):
        yield warning("cpus", text, "Other programs keep the CPUs busy: trials will be slow. See top.")
    else:
        yield ok("cpus", text)
    memory = psutil.virtual_memory()
    text = f"{size_text(memory.available)} free of {size_text(memory.total)}"
    if memory.available < LITTLE_MEMORY:
        yield warning("memory", text, f"Ray and one trial need about {size_text(LITTLE_MEMORY)}. Free some.")
    else:
        yield ok("memory", text)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        yield warning("files", f"this shell allows {soft} open files", f"ulimit -n {min(hard, 65536)}")
    else:
        yield ok("files", f"{'unlimited' if soft == resource.RLIM_INFINITY else soft} open files allowed")


def installed(package: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cuda_version() -> str | None:
    """The version of CUDA that the installed PyTorch was built for; None for a build without CUDA."""
    local = (installed("torch") or "").partition("+")[2]
    if local.startswith("cu") and local[2:].isdecimal():
        return f"{local[2:-1]}.{local[-1]}"
    if local == "cpu":
        return None
    names = ((each.metadata["Name"] or "", each.version) for each in distributions())
    return next((found for name, found in names if name.startswith(CUDA_RUNTIME)), None)


def check_disks(home: Path) -> Iterator[Finding]:
    """Free space in the home folder (or the nearest existing one above it), in Ray's, and in shared memory."""
    existing = next(each for each in (home.absolute(), *home.absolute().parents) if each.exists())
    if not os.access(existing, os.W_OK):
        yield problem("home", f"{existing} can't be written", "Change its owner, or choose another folder with --home.")
    for check, folder in (("home", existing), ("temp", TEMP_DIR), ("shm", SHM_DIR)):
        if folder.exists():
            yield _check_space(check, folder)


def _check_space(check: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    text = f"{folder}: {size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free < START_BYTES:
        return problem(check, text, SPACE_ADVICE[check])
    return warning(check, text, SPACE_ADVICE[check]) if usage.free < LITTLE_SPACE[check] else ok(check, text)
