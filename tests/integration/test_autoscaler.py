"""A Ray with an autoscaler, of each version, in a cloud whose machines never come up: what a sweep says of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.monitored import until_seen, watched_sweep
from tests.support.slow_cloud import HEAD_ID, cluster_config
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
VERSIONS = {
    "first": {"RAY_enable_autoscaler_v2": "0"},
    "second": {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    },
}
OTHERS = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
ray.get(ray.util.placement_group([{"CPU": 1}]).ready())
wanted = ray.util.placement_group([{"CPU": 1, "GPU": 1}])
print("busy", flush=True)
sys.stdin.read()
"""
"""Takes one of the two CPUs, and wants a GPU that the cloud does not give."""


@pytest.fixture(params=VERSIONS)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a Ray with 2 CPUs."""
    environment = {**os.environ, "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)} | VERSIONS[request.param]
    with tempfile.TemporaryDirectory(prefix="hps-grows-", ignore_cleanup_errors=True) as folder:
        config, said = Path(folder) / "cluster.json", Path(folder) / "said"
        config.write_text(json.dumps(cluster_config()))
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0", "--num-cpus=2"]
        command += ["--dashboard-port=0", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}/ray"]
        command += [f"--autoscaling-config={config}"]
        with said.open("w") as file:
            started = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            found = until_seen(lambda: re.search(r"--address='([\d.]+:\d+)'", said.read_text()))
            assert found is not None
            yield found[1]
        finally:
            started.terminate()
            started.wait(PATIENCE_S)


@contextmanager
def others(address: str) -> Iterator[None]:
    """Somebody else uses the cluster too."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}
    command, pipe = [sys.executable, "-c", OTHERS, address], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        while process.stdout.readline().strip() != "busy":
            assert process.poll() is None
        yield
        process.stdin.close()


def test_a_trial_without_a_place_says_which_nodes_start_and_which_the_cloud_refused(address, tmp_path):
    environment = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"}
    with others(address), watched_sweep(tmp_path, **environment):
        notice = tmp_path / "sweeps" / "watched" / "live.json"

        def said() -> str | None:
            wait = json.loads(notice.read_text())["wait"]
            words: str = wait["words"] if wait else ""
            return words if "plain" in words and "no rare" in words else None

        words = until_seen(said)
    assert words is not None
    assert re.fullmatch(
        r"(trial \d waits|trials 1, 2 wait) for a place in Ray: asks for 1 CPU, free on all nodes together 0 CPU; "
        r"Ray's autoscaler starts (1 node \(plain\)|2 nodes \(plain, rare\)), "  # it asks for the other again and again
        r"the cloud gave Ray's autoscaler no rare(: no machine of this type is left)?",  # the second knows no reason
        words,
    )
