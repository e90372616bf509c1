"""Prepares what slots need of a sweep: the user's code as trials import it, and the settings of every slot."""

from __future__ import annotations

import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpsearch.cluster.connect import Cluster
from hpsearch.devices.requests import WorkerRequest
from hpsearch.ledger.fingerprint import code_hash
from hpsearch.ledger.records import CODE_DIGITS
from hpsearch.ledger.sqlite import storage_errors
from hpsearch.slots.rank_environment import without_rank_variables
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.with_parameters import ship
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.code_files import CodeFiles, modules_of, third_party_modules
from hpsearch.trainable.code_snapshot import check_size, snapshot
from hpsearch.trainable.locate import Trainable, TrainableSource
from hpsearch.trainable.ray_calls import ray_call, source_of

DRIVER_ONLY = ("RAY_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TUNE_")
"""Prefixes of environment variables that Ray sets for each worker, so that ranks don't get the driver's values."""

MAX_SHOWN = 12
"""Parameters that Ray's dashboard may show: of these, a trial shows the first few that are active in it."""


@dataclass(frozen=True, kw_only=True)
class TrialCode:
    """The user's code as the processes of trials get it."""

    shipped: bytes
    """The trainable, pickled as in `SlotSettings.trainable`."""
    isolation: Literal["process", "slot"]
    """Whether each attempt has a process of its own."""
    note: str | None
    """Why `isolation` is not what the spec asks for; None if it is."""
    snapshot_dir: Path | None
    """The snapshot that trials import the code from; None for a function that is sent by value."""
    preload: tuple[str, ...]
    """Dotted names of third-party modules that the code imports, loaded once for each slot."""


def prepare_trial_code(
    trainable: TrainableSource | Trainable, files: CodeFiles, sweep: Sweep, *, folder: Path
) -> TrialCode:
    """Pickle the trainable and write the snapshot of its source into the sweep's folder.

    Args:
        trainable: A function, or the file or module that has it.
        files: The trainable's source files as they are now.
        sweep: Sets `isolation`.
        folder: The sweep's folder.

    Raises:
        SpecError: The source files are too large for a snapshot.
        LedgerError: The snapshot can't be written.
    """
    shipped = ship(trainable)
    note = None if sweep.isolation == "slot" else _needs_ray_process(trainable, files)
    return TrialCode(
        shipped=shipped,
        isolation="slot" if note else sweep.isolation,
        note=note,
        snapshot_dir=_write_snapshot(files, folder),
        preload=third_party_modules(files) or _modules_of_function(trainable),
    )


def slot_settings(
    sweep: Sweep, code: TrialCode, request: WorkerRequest, cluster: Cluster, *, folder: Path, concurrent: int
) -> SlotSettings:
    """The settings that every slot of a sweep gets when it is created.

    Args:
        sweep: The sweep that is run.
        code: The user's code.
        request: CPUs and GPUs of each rank, and how many ranks a trial has.
        cluster: The Ray that slots run on.
        folder: The sweep's folder.
        concurrent: Trials that run at once.
    """
    working_dir = str(Path.cwd())
    return SlotSettings(
        sweep=sweep.name or "",
        shown_parameters=tuple(sweep.space.searched)[:MAX_SHOWN],
        names_epochs=cluster.owned,  # in another Ray's metrics each name would be a series of `ray_tasks`
        trainable=code.shipped,
        metric=sweep.metric.name,
        request=request,
        run=uuid.uuid4().hex,
        isolation=code.isolation,
        grace_s=sweep.limits.grace_s,
        concurrent=concurrent,
        precision=sweep.precision,
        parallel=sweep.parallel,
        leak_warnings=sweep.leak_warnings,
        loaders=sweep.resources.num_loaders,
        data=sweep.data,
        sweep_dir=str(folder.parent.resolve() / folder.name),  # the last part is never followed, see `links.py`
        sys_path=tuple(dict.fromkeys([working_dir, *(path for path in sys.path if path)])),
        working_dir=working_dir,
        ships_code=cluster.ships_code,
        environment=_environment(),
        code_dir=None if code.snapshot_dir is None else str(code.snapshot_dir),
        preload=code.preload,
    )


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in without_rank_variables(os.environ).items() if not name.startswith(DRIVER_ONLY)
    }


def _needs_ray_process(trainable: TrainableSource | Trainable, files: CodeFiles) -> str | None:
    """Why trials must run in processes that Ray has started; None if they can have processes of their own."""
    contents = files.contents.values() or [source_of(trainable)]
    use = next((use for content in contents if content and (use := ray_call(content))), None)
    return use and f"The training code uses {use}, so its trials run in processes of Ray's (isolation: slot)."


def _write_snapshot(files: CodeFiles, folder: Path) -> Path | None:
    if files.code is None or not files.contents:
        return None
    check_size(files)
    with storage_errors(folder):
        return snapshot(folder, files, name=code_hash(files.code)[:CODE_DIGITS])


def _modules_of_function(trainable: TrainableSource | Trainable) -> tuple[str, ...]:
    return () if isinstance(trainable, TrainableSource) else modules_of(trainable)
