"""Which Ray a sweep runs on: a local one that ends with it, or one that runs already and is left running."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hpsearch.devices.inventory import host_cpus, host_gpus
from hpsearch.errors import Interrupted, Problem, SpecError
from hpsearch.heartbeat import Heartbeat
from hpsearch.sweep import Sweep

RAY_ENVIRONMENT: Mapping[str, str] = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints a box despite verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # trials run in the user's working directory
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune does not put the old one back
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # results carry events, not metrics
    "TUNE_STATE_REFRESH_PERIOD": "1000000",  # Tune asks the GCS for all resources, and hangs there if it is dead
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the ledger is the truth; Tune rewrites its whole state each time
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Ray reads its settings from the environment, some of them when it is imported."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The Ray that a sweep runs on."""

    cpus: float
    """CPUs that Ray manages."""
    gpus: int
    """GPUs that Ray manages."""
    dashboard_url: str | None
    """Ray's dashboard; None where it does not run."""
    owned: bool
    """Whether it ends with the sweep."""
    heartbeat: Heartbeat
    """Whether it still lives."""


@contextmanager
def ray_settings(settings: Mapping[str, str] = RAY_ENVIRONMENT) -> Iterator[None]:
    """Environment variables for the time of the block; what the user has set wins and stays."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def connect(sweep: Sweep, *, num_gpus: int | None = None) -> Iterator[Cluster]:
    """Start a Ray, or use the one that runs.

    Args:
        sweep: Its `ray.address` names a running Ray; without one, a Ray of this process that runs already is used, and
            else a local one is started with the CPUs and GPUs of this machine.
        num_gpus: GPUs that a local Ray believes in; None for those that there are. For tests.

    Raises:
        SpecError: No Ray answers at the address.
    """
    import ray

    if ray.is_initialized():
        yield _describe(owned=False)
        return
    address = sweep.ray.address
    temp_dir = None if address else tempfile.mkdtemp(prefix="hps-", dir=_short_temp_dir())
    try:
        if address:
            _attach(address)
        else:
            _start(temp_dir, host_gpus() if num_gpus is None else num_gpus)
        yield _describe(owned=address is None)
    except SystemExit as error:  # while it starts, Ray's own handler answers SIGTERM
        raise Interrupted(143) from error
    finally:
        ray.shutdown()
        if temp_dir is not None:
            shutil.rmtree(temp_dir, ignore_errors=True)


def _start(temp_dir: str | None, gpus: int) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=max(1, int(host_cpus())),
        num_gpus=gpus,
        include_dashboard=True,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=temp_dir,  # private: Ray's default folder can be written by everybody
        _system_config={"memory_monitor_refresh_ms": 0},  # it kills innocent trials, and Tune with them
    )


def _attach(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        message = f"no Ray answers at '{address}': {error}. Start one, or remove the address for a local Ray."
        raise SpecError([Problem(where=("ray", "address"), message=message)]) from error


def _describe(*, owned: bool) -> Cluster:
    import ray

    resources: dict[str, float] = ray.cluster_resources()
    node: Any = ray._private.worker._global_node
    url = None if node is None else node.webui_url
    return Cluster(
        cpus=float(resources.get("CPU", 0.0)),
        gpus=int(resources.get("GPU", 0)),
        dashboard_url=f"http://{url}" if url else None,
        owned=owned,
        heartbeat=Heartbeat.of_this_ray(),
    )


def _short_temp_dir() -> str:
    """Ray puts unix sockets below it, whose paths have at most 107 characters."""
    default = tempfile.gettempdir()
    return default if len(default) <= 20 else "/tmp"
