"""Checks of the NVIDIA GPUs by NVML: their health, free memory, and the processes that hold it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil

from hpsearch.devices.inventory import host_gpus
from hpsearch.devices.readings import nvml_value
from hpsearch.doctor.finding import MIB, Finding, ok, problem, size_text, warning
from hpsearch.doctor.machine import cuda_version

HELD = 512 * MIB
"""Bytes that other processes hold on a GPU from which on trials may not fit."""
HOT_C = 85
"""Temperature in °C from which on a GPU lowers its clock."""


def check_gpus() -> Iterator[Finding]:
    """One finding for each GPU of the machine, and one for how many of them a sweep may use."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        yield ok("gpus", "no NVIDIA driver: trials run on the CPU")
        return
    except pynvml.NVMLError as error:
        advice = "After an upgrade of the driver the machine must be restarted. See nvidia-smi."
        yield problem("gpus", f"NVML says '{error}': no GPU can be used", advice)
        return
    try:
        count = pynvml.nvmlDeviceGetCount()
        for index in range(count):
            yield _check_gpu(index)
        yield from _check_use(count)
    finally:
        pynvml.nvmlShutdown()


def _check_gpu(index: int) -> Finding:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return problem("gpus", f"GPU {index}: {error}", "It has fallen off the bus: restart the machine.")
    facts = [f"GPU {index}: {nvml_value('nvmlDeviceGetName', handle) or 'unknown'}"]
    memory = nvml_value("nvmlDeviceGetMemoryInfo", handle)
    if memory is not None:
        facts.append(f"{size_text(memory.free)} free of {size_text(memory.total)}")
    holders = _holders(handle)
    facts += [f"held by {_process_text(pid)} ({size_text(size)})" for pid, size in holders]
    return _judge(", ".join(facts), handle, others=sum(size for _, size in holders))


def _judge(text: str, handle: Any, *, others: int) -> Finding:
    import pynvml

    errors = nvml_value(
        "nvmlDeviceGetTotalEccErrors", handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    )
    if errors:
        return problem(
            "gpus",
            f"{text}; {errors} uncorrected memory errors",
            "Results may be wrong: reset the GPU, or exclude it with CUDA_VISIBLE_DEVICES.",
        )
    degrees = nvml_value("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU)
    if degrees is not None and degrees >= HOT_C:
        return warning(
            "gpus", f"{text}; {degrees} °C", "It lowers its clock, which slows trials down. Check its cooling."
        )
    if others >= HELD:
        return warning(
            "gpus", text, "Trials may not fit in the rest. Exclude the GPU with CUDA_VISIBLE_DEVICES, or wait."
        )
    return ok("gpus", text)


def _check_use(count: int) -> Iterator[Finding]:
    import pynvml

    usable, selection = host_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = nvml_value("nvmlSystemGetDriverVersion")
    chosen = "" if selection is None else f" (CUDA_VISIBLE_DEVICES={selection})"
    text = f"{usable} of {count} GPUs usable{chosen}" + (f", driver {driver}" if driver else "")
    pynvml.nvmlInit()  # host_gpus has shut it down
    if cuda_version() is None and usable:
        yield problem("gpus", f"{text}, but PyTorch is built without CUDA", "Install a CUDA build: see pytorch.org.")
    elif usable == 0 < count:
        yield warning("gpus", text, "Trials run on the CPU. Unset CUDA_VISIBLE_DEVICES to use the GPUs.")
    else:
        yield ok("gpus", text)


def _holders(handle: Any) -> list[tuple[int, int]]:
    """(pid, bytes) of each process that computes on a GPU; 0 bytes if the driver does not report them."""
    found = nvml_value("nvmlDeviceGetComputeRunningProcesses", handle) or []
    return [(each.pid, each.usedGpuMemory or 0) for each in found]


def _process_text(pid: int) -> str:
    with suppress(psutil.Error):
        return f"{psutil.Process(pid).name()}, pid {pid}"
    return f"pid {pid}"
