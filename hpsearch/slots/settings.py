"""The settings of a sweep that each of its slots gets when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.devices.requests import WorkerRequest


@dataclass(frozen=True, kw_only=True)
class SlotSettings:
    """The parts of a sweep that a slot needs; sent to every process of the slot."""

    sweep: str
    """Name of the sweep; part of the names of actors in Ray's dashboard."""
    shown_parameters: tuple[str, ...] = ()
    """Dotted names of the parameters that the dashboard may show, in the order of the spec."""
    names_epochs: bool = False
    """Whether the call of each epoch has a name of its own in the dashboard."""
    trainable: bytes
    """The function, or the `TrainableSource` that says where to import it from, pickled by cloudpickle."""
    metric: str
    """Name of the objective metric."""
    request: WorkerRequest
    """CPUs and GPUs of each rank, and the number of ranks of a trial."""
    run: str = ""
    """An id that no other run of any sweep has; names what the processes of this run share on a machine."""
    isolation: str = "process"
    """`process` (a new process for each attempt) or `slot` (the rank's own process for all trials)."""
    grace_s: float = 60.0
    """Seconds that the code after a trial's last epoch may take (`limits.grace`); 0 stops the trial there."""
    concurrent: int
    """Number of slots that run at the same time."""
    precision: str
    """`fp32`, `tf32`, `bf16` or `fp16`."""
    parallel: str
    """`ddp` or `dp`: how `fit` uses several GPUs."""
    leak_warnings: bool
    """Whether ranks warn of memory that grows from epoch to epoch."""
    loaders: int | None
    """Worker processes of each DataLoader of a rank; None for the rank's share of those that the machine can run."""
    data: Mapping[str, Any]
    """The `data` section of the spec."""
    sweep_dir: str
    """Absolute path of the folder with the sweep's files."""
    sys_path: tuple[str, ...]
    """The driver's module search path, its working directory first."""
    working_dir: str
    """The driver's working directory."""
    ships_code: bool = False
    """Whether the working directory is sent to the nodes by Ray, so that a rank has it where Ray starts it."""
    environment: Mapping[str, str]
    """The driver's environment variables, without those that Ray sets for each worker."""
    code_dir: str | None = None
    """Absolute path of the snapshot that the user's code is imported from; None for a function pickled by value."""
    preload: tuple[str, ...] = ()
    """Dotted names of the third-party modules that the user's code imports."""
