"""Starts the local Ray of a sweep, which ends with it, or joins a running one, which is left running."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hpsearch.cluster.heartbeat import Heartbeat
from hpsearch.cluster.nodes import Files, Node, check_files, live_nodes
from hpsearch.cluster.private_files import make_ray_dir, protect_token
from hpsearch.devices.inventory import host_cpus, host_gpus
from hpsearch.devices.requests import check_fits, resolve_request
from hpsearch.errors import Interrupted, Problem, SpecError
from hpsearch.spec.sweep import Sweep

RAY_ENVIRONMENT: Mapping[str, str] = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints a box despite verbose=0
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",  # Ray's own 60 s can be too short on a busy machine
    "RAY_worker_register_timeout_seconds": "300",  # Ray restarts a rank that needs longer, again and again
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # trials run in the user's working directory
    "RAY_USAGE_STATS_ENABLED": "0",  # sends nothing to Ray's developers
    "RAY_metric_cardinality_level": "low",  # else each task's name is a series of `ray_tasks`, and names contain epochs
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # else Tune writes five files for each trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune does not restore the handler that was set before
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # results carry events, not metrics
    "TUNE_STATE_REFRESH_PERIOD": "1000000",  # Tune asks the GCS for all resources, and hangs if that is dead
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the ledger is the truth; Tune rewrites its whole state each time
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Settings of Ray, which it reads from the environment, some of them at its import."""

PATIENT_START: Mapping[str, str] = {"RAY_gcs_server_port_wait_time_s": "300"}
"""Settings for starting a local Ray, whose default is 30 s; connecting to a running Ray should fail sooner."""
NOT_SHIPPED = (".git", ".venv", "venv", "__pycache__", "*.pyc")
"""Patterns of files in a working directory that no node needs."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The Ray that a sweep runs on."""

    nodes: tuple[Node, ...]
    """Its live nodes, that of this process first."""
    ships_code: bool
    """Whether Ray copies the working directory to its nodes, because they don't share it."""
    dashboard_url: str | None
    """Address of Ray's dashboard; None if it does not run."""
    asks_for_token: bool = False
    """Whether the dashboard needs Ray's token."""
    metrics_address: str | None = None
    """`host:port` where the metrics of this node are served; None if they are not."""
    logs_dir: Path | None = None
    """Folder of the logs that the dashboard shows for this node; None if unknown."""
    owned: bool
    """Whether this sweep started it, and stops it at its end."""
    heartbeat: Heartbeat
    """Checks whether it is alive."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about its start."""

    @property
    def cpus(self) -> float:
        """CPUs that Ray manages, on all nodes together."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """GPUs that Ray manages, on all nodes together."""
        return sum(node.gpus for node in self.nodes)

    @property
    def machines(self) -> list[tuple[float, int]]:
        """(CPUs, GPUs) of each node."""
        return [(node.cpus, node.gpus) for node in self.nodes]


@contextmanager
def ray_settings(settings: Mapping[str, str] = RAY_ENVIRONMENT) -> Iterator[None]:
    """Set environment variables within a `with` block; variables that the user has set keep their values."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def address_of(sweep: Sweep) -> str | None:
    """Address of the running Ray that a sweep joins: that of its spec, else RAY_ADDRESS; None to start a local one."""
    address = sweep.ray.address or os.environ.get("RAY_ADDRESS")
    return None if address in ("", "local") else address


@contextmanager
def connect(sweep: Sweep, *, files: Files, num_gpus: int | None = None) -> Iterator[Cluster]:
    """Within the block, this process is connected to a Ray, which is started for it or runs already.

    Args:
        sweep: If this process is connected to a Ray, that one is used; else the running one at the sweep's
            `ray.address`, or at RAY_ADDRESS; else a local one is started with the CPUs and GPUs of this machine.
        files: What all nodes must see, if there are several.
        num_gpus: Number of GPUs that a local Ray is started with; None for those of this machine. For tests.

    Raises:
        SpecError: No Ray answers at the address, its nodes don't share the home folder, or no trial fits on this
            machine.
        Interrupted: SIGTERM came while Ray started.
    """
    import ray

    if ray.is_initialized():
        yield _describe(owned=False, ships_code=_check_own_ray(files))
        return
    address = address_of(sweep)
    ray_dir = None if address else make_ray_dir()
    notes: tuple[str, ...] = ()
    try:
        if ray_dir is None:
            ships_code = _attach(address or "", files)
        else:
            gpus = host_gpus() if num_gpus is None else num_gpus
            _check_room(sweep, gpus)
            notes = tuple(filter(None, [protect_token()]))
            _start(ray_dir, gpus)
            ships_code = False
        yield _describe(owned=address is None, ships_code=ships_code, notes=notes)
    except SystemExit as error:  # while it starts, Ray's own handler answers SIGTERM
        raise Interrupted(143) from error
    finally:
        ray.shutdown()
        if ray_dir is not None:
            shutil.rmtree(ray_dir.parent, ignore_errors=True)


def _check_room(sweep: Sweep, gpus: int) -> None:
    """Refuse a trial that does not fit on this machine, before Ray takes seconds to start."""
    if problems := check_fits(resolve_request(sweep.resources, gpus), host_cpus(), gpus):
        raise SpecError(problems)


def _start(ray_dir: Path, gpus: int) -> None:
    import ray

    with _any_agent_port(), ray_settings(PATIENT_START):
        ray.init(
            address="local",
            num_cpus=max(1, int(host_cpus())),
            num_gpus=gpus,
            include_dashboard=True,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(ray_dir),  # every user may write Ray's default folder
            # no memory monitor: it kills trials that use little memory, and Tune with them
            _system_config={"memory_monitor_refresh_ms": 0},
        )


@contextmanager
def _any_agent_port() -> Iterator[None]:
    """Let the dashboard's agent listen on any free port.

    `ray.init` has no parameter for it. The agent's default port is 52365; the agent of a machine's second Ray would get
    no port, and its dashboard would show no logs.
    """
    import ray._private.parameter

    parameter: Any = ray._private.parameter
    before = parameter.RayParams
    parameter.RayParams = partial(before, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = before


def _attach(address: str, files: Files) -> bool:
    """Connect to a running Ray, and return whether it copies the working directory to its nodes."""
    import ray

    if address.startswith("ray://"):
        message = (
            f"'{address}' is Ray's client port, through which no sweep can run. Start hpsearch on one of its nodes."
        )
        raise SpecError([Problem(where=("ray", "address"), message=message)])
    _init(address)
    nodes = live_nodes()
    if len(nodes) == 1 or check_files(nodes, files):
        return False
    ray.shutdown()
    home = files.home.resolve()
    outside = [name for name in files.code if Path(name).is_file() and not _is_below(name, Path.cwd())]
    if outside:
        message = f"{', '.join(outside)}: not all nodes have it, and it lies outside of the working directory. Start"
        raise SpecError([Problem(where=("trainable",), message=f"{message} hpsearch in a folder that holds all code.")])
    excluded = [*NOT_SHIPPED, *([f"/{home.relative_to(Path.cwd())}"] if _is_below(str(home), Path.cwd()) else [])]
    _init(address, runtime_env={"working_dir": str(Path.cwd()), "excludes": excluded})
    return True


def _init(address: str, **more: Any) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **more)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SpecError([Problem(where=("ray", "address"), message=_why_not(address, error))]) from error


def _why_not(address: str, error: Exception) -> str:
    """Why connecting failed, for a message; Ray mentions a missing token in its error or in the cause of it."""
    if "Authentication" in f"{error}{error.__cause__}":
        return (
            f"the Ray at '{address}' needs a token, which Ray sends only if RAY_AUTH_MODE says so: export"
            " RAY_AUTH_MODE=token, with the token of that Ray in ~/.ray/auth_token or RAY_AUTH_TOKEN."
        )
    return f"no Ray answers at '{address}': {error}. Start one, or remove the address for a local Ray."


def _check_own_ray(files: Files) -> bool:
    """Check the nodes of a Ray that the user has connected to, and return whether it copies the code to them."""
    import ray

    nodes = live_nodes()
    if len(nodes) == 1 or check_files(nodes, files):
        return False
    if not ray.get_runtime_context().runtime_env.get("working_dir"):
        message = "not all nodes have the code. Write ray.init(address=..., runtime_env={'working_dir': '.'}), or let"
        raise SpecError([Problem(where=("trainable",), message=f"{message} hpsearch connect: --address, ray.address.")])
    return True


def _is_below(name: str, folder: Path) -> bool:
    return Path(name).resolve().is_relative_to(folder.resolve())


def _describe(*, owned: bool, ships_code: bool, notes: tuple[str, ...] = ()) -> Cluster:
    import ray

    node: Any = ray._private.worker._global_node
    url = None if node is None else node.webui_url
    return Cluster(
        nodes=live_nodes(),
        ships_code=ships_code,
        dashboard_url=f"http://{url}" if url else None,
        asks_for_token=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",  # Ray sets it where it found a token
        metrics_address=_metrics_address(),
        logs_dir=None if node is None else Path(node.get_logs_dir_path()),
        owned=owned,
        heartbeat=Heartbeat.of_this_ray(),
        notes=notes,
    )


def _metrics_address() -> str | None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    ports = {node["NodeID"]: (node["NodeManagerAddress"], node.get("MetricsExportPort")) for node in ray.nodes()}
    host, port = ports.get(here, ("", None))
    return f"{host}:{port}" if port else None
