"""What the processes of each trial use of this machine: CPU, memory, GPUs. By psutil and NVML, without Ray."""

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


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """One GPU that a trial trains on."""

    reading: GpuReading
    """Of the whole GPU, whoever uses it."""
    own_gib: float | None
    """Memory of the trial's processes on it; None where the driver does not show them."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a trial uses on this machine, all of its ranks and their children together."""

    cpu_percent: float | None
    """100 is one core; None at the first look, since it is measured between two."""
    memory_gib: float
    """Resident; what processes share counts for each of them."""
    num_processes: int
    """Alive on this machine."""
    gpus: tuple[GpuUse, ...]
    """Those of this machine that its ranks see."""
    elsewhere: tuple[str, ...]
    """Other machines that have ranks of it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine, whoever uses it."""

    cpus: int
    """CPUs that this process may use."""
    cpu_percent: float | None
    """100 is all of the machine's CPUs; None at the first look."""
    used_gib: float
    """Memory that is not available to a new process."""
    total_gib: float
    gpus: tuple[GpuReading, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One look."""

    machine: Machine
    trials: Mapping[int, Usage]
    """By number; of those whose processes are known."""
    driver: Usage | None
    """The sweep's own process; None where it is not on this machine."""


@final
class Meter:
    """Looks at processes again and again; CPU time is what passed between two looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at: float | None = None
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._machine_s: tuple[float, float] | None = None

    def look(self, rosters: Mapping[int, TrialProcesses], driver: Process | None = None) -> Measured:
        """What the processes of these trials use now; a process whose number somebody else has is not counted."""
        now = self._clock()
        passed_s = None if self._looked_at is None else now - self._looked_at
        table, gpus = _process_table(), read_gpus()
        before, self._cpu_s, self._looked_at = self._cpu_s, {}, now
        trials = {
            number: self._usage(roster, table, gpus, before, passed_s) for number, roster in sorted(rosters.items())
        }
        own = None
        if driver is not None and driver.is_alive:
            own = self._use_of([driver.pid], before, passed_s)
        return Measured(machine=self._machine(gpus), trials=trials, driver=own)

    def _usage(
        self,
        roster: TrialProcesses,
        table: Mapping[int, list[int]],
        gpus: tuple[GpuReading, ...],
        before: Mapping[tuple[int, float], float],
        passed_s: float | None,
    ) -> Usage:
        here = [rank for rank in roster.ranks if rank.process.is_alive]
        pids = list(dict.fromkeys(pid for rank in here for pid in _with_children(rank.process.pid, table)))
        usage = self._use_of(pids, before, passed_s)
        seen = dict.fromkeys(index for rank in here for index in _indexes(rank.gpus, gpus))
        return Usage(
            cpu_percent=usage.cpu_percent,
            memory_gib=usage.memory_gib,
            num_processes=usage.num_processes,
            gpus=tuple(_gpu_use(gpus[index], pids) for index in seen),
            elsewhere=tuple(dict.fromkeys(each.process.host for each in roster.ranks if not each.process.is_here)),
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
    """Process to its children, all processes of the machine in one pass."""
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
