"""What the GPUs of this machine do now, as NVML tells: a reading at a time, no CUDA context."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU; None wherever the driver does not tell."""

    index: int
    """NVML's."""
    uuid: str
    """Empty for one that has fallen off the bus."""
    busy_percent: int | None
    """Part of the last moments in which it computed."""
    used_gib: float | None
    """Memory that is taken, by whomever."""
    total_gib: float | None
    """Memory that there is."""
    celsius: int | None
    """Its temperature."""
    gib_by_pid: Mapping[int, float]
    """Memory of each process that computes on it, as far as this process may see them."""


def read_gpus() -> tuple[GpuReading, ...]:
    """All GPUs by NVML's index; none where there is no driver, or it does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_read(index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


def _read(index: int) -> GpuReading:
    import pynvml

    handle = _ask("nvmlDeviceGetHandleByIndex", index)
    rates, memory = _of(handle, "nvmlDeviceGetUtilizationRates"), _of(handle, "nvmlDeviceGetMemoryInfo")
    holders = _of(handle, "nvmlDeviceGetComputeRunningProcesses") or []
    return GpuReading(
        index=index,
        uuid=str(_of(handle, "nvmlDeviceGetUUID") or ""),
        busy_percent=None if rates is None else int(rates.gpu),
        used_gib=None if memory is None else memory.used / GIB,
        total_gib=None if memory is None else memory.total / GIB,
        celsius=_of(handle, "nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        gib_by_pid={each.pid: (each.usedGpuMemory or 0) / GIB for each in holders},
    )


def _of(handle: Any, function: str, *arguments: Any) -> Any:
    return None if handle is None else _ask(function, handle, *arguments)


def _ask(function: str, *arguments: Any) -> Any:
    """What NVML answers; None where this GPU or this driver does not."""
    import pynvml

    with suppress(pynvml.NVMLError, AttributeError):
        return getattr(pynvml, function)(*arguments)
    return None
