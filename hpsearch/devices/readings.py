"""How busy the GPUs of this machine are now, by NVML, without a CUDA context."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

GIB = 2**30
"""Bytes of a GiB."""


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """The state of one GPU at one moment; None for what the driver does not report."""

    index: int
    """NVML's index, from 0."""
    uuid: str
    """NVML's UUID; empty for a GPU that has fallen off the bus."""
    busy_percent: int | None
    """Percentage of the driver's last sampling period, of at most a second, in which a kernel ran."""
    used_gib: float | None
    """Memory in use, by all processes together, in GiB."""
    total_gib: float | None
    """Its whole memory, in GiB."""
    celsius: int | None
    """Its temperature, in °C."""
    gib_by_pid: Mapping[int, float]
    """Process id to memory in use, in GiB, of the processes that compute on it and that this user may see."""


def read_gpus() -> tuple[GpuReading, ...]:
    """The state of all GPUs, in the order of NVML's indices; none without a driver that answers."""
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

    handle = nvml_value("nvmlDeviceGetHandleByIndex", index)
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
    return None if handle is None else nvml_value(function, handle, *arguments)


def nvml_value(function: str, *arguments: Any) -> Any:
    """The result of an NVML function, bytes as text; None if this GPU or this driver does not support it.

    NVML must be initialised (`nvmlInit`).

    Args:
        function: Name of a function of `pynvml`.
        arguments: Its arguments.
    """
    import pynvml

    with suppress(pynvml.NVMLError, AttributeError):
        answer = getattr(pynvml, function)(*arguments)
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return None
