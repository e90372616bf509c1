"""Installed packages, processors, memory, limits of this process."""

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
"""Without one of these there is no sweep."""
UI_PACKAGE = "optuna-dashboard"
CUDA_RUNTIME = "nvidia-cuda-runtime"
"""Beginning of the name of the package that brings CUDA to PyTorch."""
FEW_FILES = 4096
"""Open files below which Ray's processes, each with dozens of connections, may run out."""
LITTLE_MEMORY = 2 * GIB
"""Free memory that a local Ray and one rank take before the first trial."""
BUSY = 1.5
"""Processes that want a CPU, for each CPU, from which on trials are slowed down by others."""


def look_at_versions() -> Iterator[Finding]:
    """What is installed, by its metadata alone."""
    found = {name: installed(name) for name in PACKAGES}
    missing = [name for name, each in found.items() if each is None]
    known = [f"{name} {each}" for name, each in found.items() if each is not None]
    text = ", ".join([f"Python {platform.python_version()}", *known, f"CUDA {cuda_version() or 'none'}"])
    if missing:
        yield problem("versions", f"{text}; {', '.join(missing)} not installed", f"pip install {' '.join(missing)}")
    else:
        yield ok("versions", text)
    if installed(UI_PACKAGE) is None:
        yield ok("versions", f"{UI_PACKAGE} is not installed; hpsearch ui needs it: pip install {UI_PACKAGE}")


def look_at_host() -> Iterator[Finding]:
    """CPUs and their load, free memory, open files."""
    cpus, load = host_cpus(), os.getloadavg()[0]
    text = f"{cpus} CPUs usable of {os.cpu_count()}, load {load:.1f}"
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
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cuda_version() -> str | None:
    """The CUDA that the installed PyTorch was built for; None for a build without."""
    local = (installed("torch") or "").partition("+")[2]
    if local.startswith("cu") and local[2:].isdecimal():
        return f"{local[2:-1]}.{local[-1]}"
    if local == "cpu":
        return None
    names = ((each.metadata["Name"] or "", each.version) for each in distributions())
    return next((found for name, found in names if name.startswith(CUDA_RUNTIME)), None)


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
