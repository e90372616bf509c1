"""The resources that a trial requests, and how many trials fit at once, computed from numbers of CPUs and GPUs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hpsearch.errors import Problem
from hpsearch.spec.parts import Resources
from hpsearch.text import counted

_ROUNDING = 1e-9
"""Tolerance of a ratio: 0.3 / 0.1 is a little less than 3 in floating point, but three tenths fit."""


@dataclass(frozen=True, kw_only=True)
class WorkerRequest:
    """The resources of one trial, with `gpu: auto` replaced by a number."""

    cpu: float
    """CPU cores of each worker; above 0."""
    gpu: float
    """GPUs of each worker: 0, a fraction below 1, or a whole number."""
    workers: int
    """Processes (ranks) of the trial; at least 1."""


def resolve_request(resources: Resources, gpus_available: int) -> WorkerRequest:
    """The request of a spec's `resources`.

    Args:
        resources: The spec's part.
        gpus_available: GPUs of the machine or cluster; `gpu: auto` means one for each worker if there are any, else 0.
    """
    gpu = float(gpus_available > 0) if resources.gpu == "auto" else float(resources.gpu)
    return WorkerRequest(cpu=resources.cpu, gpu=gpu, workers=resources.workers)


def fits_on(request: WorkerRequest, machines: Iterable[tuple[float, int]]) -> int:
    """Number of trials that fit at once on one or several machines.

    The workers of one trial may be on different machines, but no worker spans two machines, and no fraction of a GPU
    spans two GPUs: 0.4 fits twice on each.

    Args:
        request: The resources of one trial.
        machines: (CPUs, GPUs) of each machine.

    Example:
        >>> fits_on(WorkerRequest(cpu=1, gpu=0.4, workers=1), [(16, 3)])
        6
        >>> fits_on(WorkerRequest(cpu=3, gpu=0, workers=1), [(4, 0), (4, 0)])
        2
    """
    return sum(workers_on(request, cpus, gpus) for cpus, gpus in machines) // request.workers


def workers_on(request: WorkerRequest, cpus: float, gpus: int) -> int:
    """Number of workers, of any trials, that fit at once on one machine."""
    by_cpu = _whole(cpus / request.cpu)
    return min(by_cpu, _gpu_workers(request.gpu, gpus)) if request.gpu else by_cpu


def check_fits_on(request: WorkerRequest, machines: Iterable[tuple[float, int]]) -> list[Problem]:
    """Why not even one trial can start on several machines, each given as (CPUs, GPUs); empty if one can."""
    machines = list(machines)
    if fits_on(request, machines):
        return []
    cpus, gpus = sum(cpus for cpus, _ in machines), sum(gpus for _, gpus in machines)
    listed = "; ".join(f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}" for cpus, gpus in machines)
    message = (
        f"{request.workers} workers with {counted(request.cpu, 'CPU')} and {counted(request.gpu, 'GPU')} each do not"
        f" fit on {len(machines)} nodes ({listed}): a worker can't span two nodes. Ask for less."
    )
    return check_fits(request, cpus, gpus) or [Problem(where=("resources",), message=message)]


def explain(request: WorkerRequest, cpus: float, gpus: int) -> tuple[str, ...]:
    """How the number of trials that fit on one machine follows, in one line for each kind of device that limits it.

    Example:
        >>> explain(WorkerRequest(cpu=2, gpu=0.25, workers=1), cpus=16, gpus=1)
        ('CPUs: 16 / 2 = 8', 'GPUs: 1 x 4 on each (0.25 a worker) = 4')
    """
    each = f"({request.workers} workers x {{}})" if request.workers > 1 else "{}"
    by_cpu = _whole(cpus / request.cpu) // request.workers
    sums = [f"CPUs: {cpus:g} / {each.format(f'{request.cpu:g}')} = {by_cpu}"]
    if request.gpu:
        by_gpu = _gpu_workers(request.gpu, gpus) // request.workers
        if request.gpu < 1:
            sums.append(f"GPUs: {gpus} x {_gpu_workers(request.gpu, 1)} on each ({request.gpu:g} a worker) = {by_gpu}")
        else:
            sums.append(f"GPUs: {gpus} / {each.format(f'{request.gpu:g}')} = {by_gpu}")
    return tuple(sums)


def check_fits(request: WorkerRequest, cpus: float, gpus: int) -> list[Problem]:
    """Why not even one trial can start on one machine; empty if one can."""
    return [
        *_check_device("CPU", request.cpu, request.workers, cpus, fits=_whole(cpus / request.cpu)),
        *_check_device("GPU", request.gpu, request.workers, gpus, fits=_gpu_workers(request.gpu, gpus)),
    ]


def _check_device(kind: str, each: float, workers: int, available: float, *, fits: int) -> list[Problem]:
    if each == 0 or fits >= workers:
        return []
    asked = f"{each * workers:g}" + (f" ({workers} workers x {each:g})" if workers > 1 else "")
    kinds, are = kind if asked == "1" else f"{kind}s", "is" if available == 1 else "are"
    message = f"a trial asks for {asked} {kinds}, there {are} {available:g}. Ask for less"
    message += ", or use fewer workers." if workers > 1 else "."
    return [Problem(where=("resources", kind.lower()), message=message)]


def _gpu_workers(gpu: float, gpus: int) -> int:
    if gpu == 0:
        return 0
    return gpus * _whole(1 / gpu) if gpu < 1 else _whole(gpus / gpu)


def _whole(ratio: float) -> int:
    return math.floor(ratio + _ROUNDING)
