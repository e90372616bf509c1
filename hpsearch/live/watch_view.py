"""What `hpsearch watch` shows besides the trials' progress: what their processes use, as text and as JSON."""

from __future__ import annotations

from typing import Any

from hpsearch.devices.readings import GpuReading
from hpsearch.engine.trial import Trial
from hpsearch.live.follower import LedgerFollower
from hpsearch.live.frame import Extras
from hpsearch.live.usage import Machine, Measurement, Usage
from hpsearch.text_table import Column


def usage_extras(follower: LedgerFollower, measured: Measurement) -> Extras:
    """Notes and columns on the use of CPU, memory and GPUs; for a sweep that is not running, only its state."""
    if not follower.is_running:
        return Extras(notes=[follower.state_text])
    driver = measured.driver
    notes = [follower.state_text + ("" if driver is None else f": {_cpu_text(driver)}, {driver.memory_gib:.1f} GiB")]
    notes += [_machine_text(measured.machine), *map(_gpu_line, measured.machine.gpus)]
    columns = [Column(key="cpu", title="CPU", right=True), Column(key="memory", title="memory", right=True)]
    columns += [Column(key="gpu", title="GPU")] if measured.machine.gpus else []
    columns += [Column(key="node", title="node")] if any(use.elsewhere for use in measured.trials.values()) else []
    return Extras(notes=notes, columns=columns, cells={number: _cells(use) for number, use in measured.trials.items()})


def watch_dict(follower: LedgerFollower, measured: Measurement) -> dict[str, Any]:
    """Progress and usage as JSON can hold them, for `watch --json`: seconds, GiB, per cent; None if unknown."""
    progress, reason = follower.progress, follower.progress.idle_reason
    best = progress.best
    return {
        "sweep": follower.record.name,
        "state": "killed" if follower.was_killed else follower.record.state,
        "words": follower.state_text,
        "trials": progress.total,
        "states": dict(progress.states),
        "eta_s": progress.eta_s if follower.is_running else None,
        "waits_for": None if reason is None else {"kind": reason.kind, "words": reason.text, "since": reason.since},
        "best": None if best is None else _trial(follower, best),
        "machine": _machine(measured.machine),
        "driver": None if measured.driver is None else _usage(measured.driver),
        "running": [_trial(follower, trial) | _usage(measured.trials.get(trial.number)) for trial in progress.running],
    }


def _cells(use: Usage) -> dict[str, str]:
    texts = {"node": ", ".join(use.elsewhere) or "this"}
    if use.num_processes:
        texts |= {"cpu": _cpu_text(use).removeprefix("CPU "), "memory": f"{use.memory_gib:.2f} GiB"}
        texts |= {"gpu": "; ".join(_gpu_text(gpu.reading, own_gib=gpu.own_gib) for gpu in use.gpus) or "-"}
    return texts


def _cpu_text(use: Usage) -> str:
    return "CPU -" if use.cpu_percent is None else f"CPU {use.cpu_percent:.0f} %"


def _machine_text(machine: Machine) -> str:
    busy = "-" if machine.cpu_percent is None else f"{machine.cpu_percent:.0f} %"
    return f"this machine: CPU {busy} of {machine.cpus}, memory {machine.used_gib:.1f} of {machine.total_gib:.1f} GiB"


def _gpu_line(gpu: GpuReading) -> str:
    total = "-" if gpu.total_gib is None else f"{gpu.total_gib:.0f}"
    return f"GPU {_gpu_text(gpu, own_gib=gpu.used_gib)} of {total} GiB"


def _gpu_text(gpu: GpuReading, *, own_gib: float | None) -> str:
    busy = "- %" if gpu.busy_percent is None else f"{gpu.busy_percent} %"
    temperature = "" if gpu.celsius is None else f" {gpu.celsius} °C"
    return f"{gpu.index}: {busy}{temperature} " + ("- GiB" if own_gib is None else f"{own_gib:.1f} GiB")


def _trial(follower: LedgerFollower, trial: Trial) -> dict[str, Any]:
    losses, sign = trial.losses, follower.record.sign
    best = None if trial.best_epoch is None else sign * losses[trial.best_epoch]
    last = losses.get(trial.epochs)
    return {
        "trial": trial.number,
        "state": follower.progress.state_text(trial),
        "epochs_trained": trial.epochs,
        "last": None if last is None else sign * last,
        "best": best,
        "best_epoch": trial.best_epoch,
        "parameters": {name: trial.point[name] for name in follower.sweep.space.searched if name in trial.point},
        "duration_s": trial.duration_s,
    }


def _usage(use: Usage | None) -> dict[str, Any]:
    if use is None:
        return {"cpu_percent": None, "memory_gib": None, "processes": 0, "gpus": [], "elsewhere": []}
    return {
        "cpu_percent": use.cpu_percent,
        "memory_gib": use.memory_gib,
        "processes": use.num_processes,
        "gpus": [_gpu(gpu.reading) | {"own_gib": gpu.own_gib} for gpu in use.gpus],
        "elsewhere": list(use.elsewhere),
    }


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "cpus": machine.cpus,
        "cpu_percent": machine.cpu_percent,
        "used_gib": machine.used_gib,
        "total_gib": machine.total_gib,
        "gpus": [_gpu(gpu) for gpu in machine.gpus],
    }


def _gpu(gpu: GpuReading) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "busy_percent": gpu.busy_percent,
        "used_gib": gpu.used_gib,
        "total_gib": gpu.total_gib,
        "celsius": gpu.celsius,
    }
