"""What every slot of a sweep is told once, when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.devices.requests import WorkerRequest


@dataclass(frozen=True, kw_only=True)
class SlotSettings:
    """The sweep as a slot sees it; travels to every process of the slot."""

    sweep: str
    """The sweep's name; part of the actors' names in Ray's dashboard."""
    shown: tuple[str, ...] = ()
    """Parameters that the dashboard may show, in the order of the spec."""
    names_epochs: bool = False
    """Whether each epoch's call has a name of its own there."""
    trainable: bytes
    """A cloudpickled function, or a cloudpickled `TrainableSource` that is imported in the rank."""
    metric: str
    """Name of the objective."""
    request: WorkerRequest
    """CPUs and GPUs of each rank, and how many ranks."""
    run: str = ""
    """A text that no other run of any sweep has; names what its processes share on a machine."""
    isolation: str = "process"
    """process | slot: a process for each attempt, or the rank's own for trial after trial."""
    grace_s: float = 60.0
    """Seconds that a trial may go on by itself after its last epoch."""
    concurrent: int
    """Slots that share the machine."""
    precision: str
    """fp32 | tf32 | bf16 | fp16."""
    parallel: str
    """ddp | dp."""
    leak_warnings: bool
    """Whether ranks look for memory that keeps growing."""
    loaders: int | None
    """DataLoader processes of each rank; None for its share."""
    data: Mapping[str, Any]
    """The spec's `data`."""
    sweep_dir: str
    """Absolute folder of the sweep's files."""
    sys_path: tuple[str, ...]
    """The driver's module search path, its working directory first."""
    working_dir: str
    """The driver's working directory."""
    ships_code: bool = False
    """Whether a rank finds it not there but in the folder that Ray starts it in."""
    environment: Mapping[str, str]
    """The driver's environment variables, without those that Ray sets for each worker."""
    code_dir: str | None = None
    """Absolute folder of the snapshot that the user's code is imported from; None for a function sent by value."""
    preload: tuple[str, ...] = ()
    """Dotted names of third-party modules that the user's code imports."""
