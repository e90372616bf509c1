"""What the processes of each trial use of this machine: CPU, memory, GPUs; read by psutil and NVML, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import final

import psutil

from hpsearch.devices.inventory import NO_GPU, host_cpus, visible_gpus
from hpsearch.devices.readings import GpuReading, read_gpus
from hpsearch.slots.process_file import Process, TrialProcesses

GIB = 2**30
"""Bytes of one GiB."""


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """One GPU that a trial uses."""

    reading: GpuReading
    """State of the whole GPU, other processes included."""
    own_gib: float | None
    """GPU memory of the trial's processes in GiB; None where the GPU's driver does not report them."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a trial uses of this machine: its ranks and all of their child processes together."""

    cpu_percent: float | None
    """CPU usage since the last measurement, where 100 is one core; None at the first one."""
    memory_gib: float
    """Resident memory in GiB; pages that processes share count for each of them."""
    num_processes: int
    """Processes that are alive on this machine."""
    gpus: tuple[GpuUse, ...]
    """GPUs of this machine that its ranks see."""
    elsewhere: tuple[str, ...]
    """Host names of other machines that run ranks of the trial."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What all processes together use of this machine."""

    cpus: int
    """CPUs that this process may use."""
    cpu_percent: float | None
    """CPU usage since the last measurement, where 100 is all CPUs of the machine; None at the first one."""
    used_gib: float
    """Memory that is not available to a new process, in GiB."""
    total_gib: float
    """Memory of the machine, in GiB."""
    gpus: tuple[GpuReading, ...]
    """State of each GPU."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The usage at one moment."""

    machine: Machine
    """What all processes use."""
    trials: Mapping[int, Usage]
    """Number of a trial to its usage, for trials whose processes are known."""
    driver: Usage | None
    """Usage of the sweep's own process; None where it is not on this machine."""


@final
class Meter:
    """Measures processes again and again; CPU usage is that between two measurements."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is measured yet.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._measured_at: float | None = None
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._machine_s: tuple[float, float] | None = None

    def measure(self, processes: Mapping[int, TrialProcesses], driver: Process | None = None) -> Measurement:
        """Measure what processes use now.

        Args:
            processes: Running trial to the processes of its ranks. A process whose number another process has since
                got is not counted.
            driver: The sweep's own process.
        """
        now = self._clock()
        passed_s = None if self._measured_at is None else now - self._measured_at
        table, gpus = _process_table(), read_gpus()
        before, self._cpu_s, self._measured_at = self._cpu_s, {}, now
        trials = {
            number: self._usage(each, table, gpus, before, passed_s) for number, each in sorted(processes.items())
        }
        own = None
        if driver is not None and driver.is_alive:
            own = self._use_of([driver.pid], before, passed_s)
        return Measurement(machine=self._machine(gpus), trials=trials, driver=own)

    def _usage(
        self,
        processes: TrialProcesses,
        table: Mapping[int, list[int]],
        gpus: tuple[GpuReading, ...],
        before: Mapping[tuple[int, float], float],
        passed_s: float | None,
    ) -> Usage:
        here = [rank for rank in processes.ranks if rank.process.is_alive]
        pids = list(dict.fromkeys(pid for rank in here for pid in _with_children(rank.process.pid, table)))
        usage = self._use_of(pids, before, passed_s)
        seen = dict.fromkeys(index for rank in here for index in _indexes(rank.gpus, gpus))
        return Usage(
            cpu_percent=usage.cpu_percent,
            memory_gib=usage.memory_gib,
            num_processes=usage.num_processes,
            gpus=tuple(_gpu_use(gpus[index], pids) for index in seen),
            elsewhere=tuple(dict.fromkeys(each.process.host for each in processes.ranks if not each.process.is_here)),
        )

    def _use_of(self, pids: Iterable[int], before: Mapping[tuple[int, float], float], passed_s: float | None) -> Usage:
        spent_s, memory, count = 0.0, 0, 0
        for pid in pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                with process.oneshot():
                    times, key = process.cpu_times(), (pid, process.create_time())
                    memory += process.memory_info().rss
                self._cpu_s[key] = times.user + times.system
                spent_s += max(self._cpu_s[key] - before.get(key, self._cpu_s[key]), 0.0)
                count += 1
        percent = 100 * spent_s / passed_s if passed_s else None
        return Usage(cpu_percent=percent, memory_gib=memory / GIB, num_processes=count, gpus=(), elsewhere=())

    def _machine(self, gpus: tuple[GpuReading, ...]) -> Machine:
        times, memory = psutil.cpu_times(), psutil.virtual_memory()
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        total_s, before = sum(times[:8]), self._machine_s
        self._machine_s = (total_s, idle_s)
        percent = None
        if before is not None and total_s > before[0]:
            percent = 100 * (1 - (idle_s - before[1]) / (total_s - before[0]))
        return Machine(
            cpus=host_cpus(),
            cpu_percent=percent,
            used_gib=(memory.total - memory.available) / GIB,
            total_gib=memory.total / GIB,
            gpus=gpus,
        )


def _process_table() -> dict[int, list[int]]:
    """Process to its child processes, for all processes of the machine in one pass."""
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid"]):
        if process.info["ppid"] is not None:
            children.setdefault(process.info["ppid"], []).append(process.pid)
    return children


def _with_children(pid: int, table: Mapping[int, list[int]]) -> list[int]:
    found = [pid]
    for each in found:  # grows while it is walked
        found += [child for child in table.get(each, ()) if child not in found]
    return found


def _indexes(selection: str, gpus: tuple[GpuReading, ...]) -> list[int]:
    return visible_gpus([gpu.uuid or NO_GPU for gpu in gpus], selection) if selection else []


def _gpu_use(reading: GpuReading, pids: Iterable[int]) -> GpuUse:
    own = [reading.gib_by_pid[pid] for pid in pids if pid in reading.gib_by_pid]
    return GpuUse(reading=reading, own_gib=sum(own) if own else None)
