"""Sweeps on a Ray of several nodes that runs already; the nodes are raylets of this machine.

Every sweep is a process of its own, as a user starts it, so that the Ray of the other tests is not in its way. What
a node doesn't see is made by a mount of its own: the process of the sweep has a folder that the nodes find empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch.api.results import Results
from hpsearch.cluster.connect import ray_settings
from hpsearch.errors import HpsearchError
from tests.support.waiting import PATIENCE_S, until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.ddp,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's test cluster leaves a socket open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHECKOUT = Path(__file__).parents[2]
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 3,
}
"""A lost node, which answers nothing, is noticed within seconds; one that is slow to answer is not lost."""

TRAIN = '''
import itertools
import os
import time
import hpsearch
import ray
import torch.distributed as dist

def where(config):
    """Two epochs, or as many as there are until a file says that it is enough."""
    for epoch in itertools.count(1):
        time.sleep(0.1 * config["waits"])
        node = int(ray.get_runtime_context().get_node_id()[:8], 16)
        nodes = [node]
        if hpsearch.current_trial().world_size > 1:
            nodes = [None] * dist.get_world_size()
            dist.all_gather_object(nodes, node)
        print("here is", os.getcwd(), flush=True)
        yield {"loss": config["x"] / epoch, "nodes": len(set(nodes)), "node": node}
        if epoch >= 2 and (not config["waits"] or os.path.exists("enough")):
            return
'''
PLACED = '''
import os
import hpsearch
import torch.distributed as dist

def where(config):
    """Two epochs in a process that knows nothing of Ray."""
    trial = hpsearch.current_trial()
    for epoch in (1, 2):
        own = {name: int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "NODE_RANK")}
        all_of_them = [None] * trial.world_size
        dist.all_gather_object(all_of_them, own)
        assert [each["NODE_RANK"] for each in all_of_them] == [0, 1]
        yield {"loss": config["x"] / epoch, "nodes": own["GROUP_WORLD_SIZE"], "ranks_here": own["LOCAL_WORLD_SIZE"]}
'''
SPEC = """
name: {name}
trainable: train.py:where
metric: {{name: loss, goal: minimize}}
method: grid
parameters: {{x: {{values: [{values}]}}, waits: {waits}}}
resources: {{gpu: 0, workers: {workers}}}
limits: {{retries: 0}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one CPU each; the first is the head."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="hps-", dir="/tmp")
    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray's test cluster writes its address there, wherever its files are
    with ray_settings():
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "num_gpus": 0,
                "include_dashboard": False,
                "temp_dir": folder,
                "_system_config": HEALTH,
            },
        )
        made.add_node(num_cpus=1, num_gpus=0, wait=False)
        made.wait_for_nodes(timeout=PATIENCE_S)
        yield made
        made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a trainable and a spec."""

    def make(name: str, *, values: str = "1, 2", waits: int = 0, workers: int = 1, code: str = TRAIN) -> Path:
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "train.py").write_text(textwrap.dedent(code))
        spec = SPEC.format(name=name, values=values, waits=waits, workers=workers)
        (folder / f"{name}.yaml").write_text(spec)
        return folder

    return make


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "hpsearch", *args]


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Start a command in a folder; what still runs at the end of the test is killed."""
    started: list[Started] = []

    def run(folder: Path, *args: str, **environment: str) -> Started:
        with (folder.parent / f"output-{len(started)}.txt").open("wb") as output:
            process = Started(
                args,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process.output_path = Path(output.name)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


class Started(subprocess.Popen[bytes]):
    """A command that runs; what it prints goes into a file."""

    output_path: Path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_path.read_text(encoding="utf-8", errors="replace")


def finish(process: Started) -> str:
    process.wait(timeout=PATIENCE_S)
    return process.output


def hidden(path: Path, *args: str) -> list[str]:
    """A command that alone sees what is in the folder `path`: for all others it is empty."""
    script = 'cp -a "$0" "$0.copy" && rm -r "$0"/* && mount -t tmpfs none "$0" && cp -a "$0.copy/." "$0"'
    script += ' && cd "$0" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(path), *args]


def can_hide() -> bool:
    try:
        probe = "mount -t tmpfs none /mnt"
        return subprocess.run(["unshare", "-rm", "sh", "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], process: Started) -> None:
    until(condition, every_s=0.2, process=process, output=lambda: process.output)


def nodes_seen(home: Path, name: str) -> set[int]:
    """Nodes that any epoch so far was trained on."""
    try:
        return set(Results(home, name).history["node"])
    except (HpsearchError, KeyError):
        return set()


def test_the_ranks_of_a_trial_may_lie_on_two_nodes_and_ray_is_left(cluster, project, start):
    folder = project("spread", workers=2)
    process = start(folder, *command("sweep", "spread.yaml"), RAY_ADDRESS=cluster.address)
    output = finish(process)
    assert process.returncode == 0, output
    assert "1 at once on 2 CPUs and 0 GPUs of 2 nodes" in output
    trials = Results(folder / "sweeps", "spread").trials
    assert trials["state"].tolist() == ["done", "done"]
    assert set(trials["last_nodes"]) == {2}
    assert len(cluster.list_all_nodes()) == 2 and all(node.any_processes_alive() for node in cluster.list_all_nodes())


def test_ranks_in_processes_of_their_own_know_on_which_of_two_nodes_they_are(cluster, project, start):
    folder = project("placed", workers=2, code=PLACED)
    process = start(folder, *command("sweep", "placed.yaml"), RAY_ADDRESS=cluster.address)
    output = finish(process)
    assert process.returncode == 0, output
    trials = Results(folder / "sweeps", "placed").trials
    assert set(trials["last_nodes"]) == {2} and set(trials["last_ranks_here"]) == {1}


def test_a_node_that_joins_is_used_and_one_that_leaves_costs_no_trial(cluster, project, start):
    folder = project("moving", values="1, 2, 3", waits=1)
    home = folder / "sweeps"
    process = start(folder, *command("sweep", "moving.yaml", "--address", cluster.address))
    wait_until(lambda: len(nodes_seen(home, "moving")) == 2, process)
    cluster.add_node(num_cpus=1, num_gpus=0, wait=False)
    wait_until(lambda: len(nodes_seen(home, "moving")) == 3, process)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    wait_until(lambda: "is gone: 2 trials at once" in process.output, process)
    wait_until(lambda: "a node of its slot is gone" in process.output, process)
    (folder / "enough").touch()  # its second attempt may need the slot of another trial
    output = finish(process)
    assert process.returncode == 0, output
    assert "has joined: 3 trials at once" in output
    trials = Results(home, "moving").trials
    assert trials["state"].tolist() == ["done"] * 3, "limits.retries is 0: the lost node was not counted"
    assert sorted(trials["attempts"]) == [1, 1, 2]


@pytest.mark.skipif(not can_hide(), reason="this system gives no process mounts of its own")
def test_a_home_that_not_all_nodes_share_is_refused_before_anything_runs(cluster, project, start):
    folder = project("private")
    process = start(folder, *hidden(folder, *command("sweep", "private.yaml", "--address", cluster.address)))
    output = finish(process)
    assert process.returncode == 2, output
    assert "is not the same on all nodes" in output and "--home" in output


@pytest.mark.skipif(not can_hide(), reason="this system gives no process mounts of its own")
def test_code_that_the_nodes_do_not_see_is_brought_to_them(cluster, project, start, tmp_path):
    folder, home = project("carried"), tmp_path / "shared"
    sweep = command("sweep", "carried.yaml", "--address", cluster.address, "--home", str(home))
    process = start(folder, *hidden(folder, *sweep))
    output = finish(process)
    assert process.returncode == 0, output
    assert "working_dir_files" in (home / "carried" / "trials" / "0001" / "log.txt").read_text()
