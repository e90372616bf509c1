"""The CPUs and GPUs that this process may use, found without importing torch or creating a CUDA context."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

NO_GPU = ""
"""In place of the UUID of a GPU that has fallen off the bus, which keeps its index but is never visible."""


def host_cpus(root: Path = Path("/")) -> int:
    """Number of CPUs that this process may use: those of its affinity, or fewer under a cgroup's quota; at least 1.

    Args:
        root: Folder that contains `proc` and `sys`; another one in tests.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([bound, *_cpu_quotas(root)])))


def host_gpus() -> int:
    """Number of NVIDIA GPUs that this process may use, by CUDA_VISIBLE_DEVICES; 0 without a driver."""
    uuids, selection = _gpu_uuids(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if selection is not None and selection.startswith("MIG-"):
        return min(len(uuids), 1)  # a process sees one MIG instance, whatever else is listed
    return len(visible_gpus(uuids, selection))


def visible_gpus(uuids: Sequence[str], selection: str | None) -> list[int]:
    """NVML's indices of the GPUs that CUDA shows for a value of CUDA_VISIBLE_DEVICES, in its order.

    As in CUDA, an entry is an index or the beginning of exactly one UUID. The first entry that names no GPU ends the
    list, and a GPU that is named twice makes the whole list invalid.

    Args:
        uuids: One for each GPU of the machine; NO_GPU for one that can't be used.
        selection: The variable's value; None if it is not set.

    Example:
        >>> visible_gpus(["GPU-1a", "GPU-2b"], "GPU-2"), visible_gpus(["GPU-1a", "GPU-2b"], "1,-1,0")
        ([1], [1])
    """
    if selection is None:
        return [index for index, uuid in enumerate(uuids) if uuid != NO_GPU]
    found: list[int] = []
    for entry in selection.split(","):
        index = _index_of(entry.strip(), uuids)
        if index is None:
            break
        if index in found:
            return []
        found.append(index)
    return found


def _index_of(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isdecimal() and len(entry) < 10:
        index = int(entry)
        return index if index < len(uuids) and uuids[index] != NO_GPU else None
    matches = [index for index, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _gpu_uuids() -> list[str]:
    """UUIDs of all GPUs of the machine, in the order of NVML's indices; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    except pynvml.NVMLError as error:
        warnings.warn(f"GPUs can't be counted, so none is used: NVML says '{error}'", RuntimeWarning, stacklevel=3)
        return []
    try:
        return [_uuid(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _uuid(index: int) -> str:
    import pynvml

    with suppress(pynvml.NVMLError):
        return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
    return NO_GPU


def _cpu_quotas(root: Path) -> Iterator[float]:
    """CPUs by the quotas of this process's cgroup and its ancestors; a container may not see all of them."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _quotas_up(root / "sys/fs/cgroup", path, _quota_v2)
            elif "cpu" in controllers.split(","):
                yield from _quotas_up(root / "sys/fs/cgroup/cpu", path, _quota_v1)


def _quotas_up(top: Path, path: str, read: Callable[[Path], tuple[float, float]]) -> Iterator[float]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        with suppress(OSError, ValueError):
            quota, period = read(top.joinpath(*parts[:depth]))
            if quota > 0 and period > 0:
                yield quota / period


def _quota_v2(folder: Path) -> tuple[float, float]:
    quota, period = (folder / "cpu.max").read_text().split()  # "max 100000" without a quota: no number
    return float(quota), float(period)


def _quota_v1(folder: Path) -> tuple[float, float]:
    quota, period = ((folder / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return float(quota), float(period)  # -1 without a quota
