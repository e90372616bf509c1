"""A second Ctrl-C on a Ray that belongs to the user: the sweep's processes go, Ray stays and has everything back."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import until

pytestmark = [pytest.mark.ray]


def test_a_second_ctrl_c_leaves_nothing_of_a_hanging_trial_on_the_users_ray(sweep, home: Path):
    import ray

    child = home / "hangs_with_child" / "trials" / "0001" / "child"
    everything = ray.cluster_resources()
    presses = threading.Thread(target=signal_twice, args=(child,))
    presses.start()
    outcome = sweep("hangs_with_child", trials=2, resources={"gpu": 1}, parameters={"x": {"values": [str(child)]}})
    presses.join()
    assert outcome.exit_code == 130
    assert outcome.results.trials["state"].tolist() == ["interrupted"]
    process = int(child.read_text())
    until(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    until(lambda: free(ray.available_resources()) == free(everything))


def signal_twice(child: Path) -> None:
    until(lambda: child.exists() and child.read_text())
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)  # of another kind: two that are alike may arrive as one


def free(resources: dict[str, float]) -> tuple[float, float]:
    return resources["CPU"], resources["GPU"]
