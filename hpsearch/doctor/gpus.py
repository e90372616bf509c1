"""NVIDIA GPUs by NVML: what they are, who holds their memory, whether they are well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil

from hpsearch.devices.inventory import host_gpus
from hpsearch.doctor.finding import MIB, Finding, ok, problem, size_text, warning
from hpsearch.doctor.machine import cuda_version

HELD = 512 * MIB
"""Memory that others hold on a GPU from which on trials may not fit."""
HOT_C = 85
"""Degrees from which on GPUs slow themselves down."""


def look_at_gpus() -> Iterator[Finding]:
    """One line for each GPU of the machine, and one for how many a sweep may use."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        yield ok("gpus", "no NVIDIA driver: trials run on the CPU")
        return
    except pynvml.NVMLError as error:
        advice = "After an upgrade of the driver the machine must be started again. See nvidia-smi."
        yield problem("gpus", f"NVML says '{error}': no GPU can be used", advice)
        return
    try:
        count = pynvml.nvmlDeviceGetCount()
        for index in range(count):
            yield _look_at(index)
        yield from _look_at_use(count)
    finally:
        pynvml.nvmlShutdown()


def _look_at(index: int) -> Finding:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return problem("gpus", f"GPU {index}: {error}", "It has fallen off the bus: start the machine again.")
    facts = [f"GPU {index}: {_ask('nvmlDeviceGetName', handle) or 'unknown'}"]
    memory = _ask("nvmlDeviceGetMemoryInfo", handle)
    if memory is not None:
        facts.append(f"{size_text(memory.free)} free of {size_text(memory.total)}")
    holders = _holders(handle)
    facts += [f"held by {_process_text(pid)} ({size_text(size)})" for pid, size in holders]
    return _judge(", ".join(facts), handle, others=sum(size for _, size in holders))


def _judge(text: str, handle: Any, *, others: int) -> Finding:
    import pynvml

    errors = _ask(
        "nvmlDeviceGetTotalEccErrors", handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    )
    if errors:
        return problem(
            "gpus", f"{text}; {errors} uncorrected memory errors", "Results may be wrong: reset it, leave it."
        )
    degrees = _ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU)
    if degrees is not None and degrees >= HOT_C:
        return warning("gpus", f"{text}; {degrees} °C", "It slows itself down. Look at its cooling.")
    if others >= HELD:
        return warning(
            "gpus", text, "Trials may not fit beside what is there. Hide it by CUDA_VISIBLE_DEVICES, or wait."
        )
    return ok("gpus", text)


def _look_at_use(count: int) -> Iterator[Finding]:
    import pynvml

    usable, selection = host_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = _ask("nvmlSystemGetDriverVersion")
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
    """(pid, bytes) of each process that computes on a GPU; 0 bytes where the driver does not tell."""
    found = _ask("nvmlDeviceGetComputeRunningProcesses", handle) or []
    return [(each.pid, each.usedGpuMemory or 0) for each in found]


def _process_text(pid: int) -> str:
    with suppress(psutil.Error):
        return f"{psutil.Process(pid).name()}, pid {pid}"
    return f"pid {pid}"


def _ask(function: str, *arguments: Any) -> Any:
    """What NVML answers; None where this GPU or this driver does not."""
    import pynvml

    with suppress(pynvml.NVMLError, AttributeError):
        answer = getattr(pynvml, function)(*arguments)
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return None
