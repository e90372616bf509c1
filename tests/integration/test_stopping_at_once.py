"""A second Ctrl-C on a Ray that belongs to the user: the sweep's processes go, Ray stays and has everything back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.ray]

GENEROUS_S = 120.0


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + GENEROUS_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_second_ctrl_c_leaves_nothing_of_a_hanging_trial_on_the_users_ray(sweep, home: Path):
    import ray

    child = home / "hangs_with_child" / "trials" / "0001" / "child"
    everything = ray.cluster_resources()
    presses = threading.Thread(target=press_ctrl_c_twice, args=(child,))
    presses.start()
    outcome = sweep("hangs_with_child", trials=2, resources={"gpu": 1}, parameters={"x": {"values": [str(child)]}})
    presses.join()
    assert outcome.exit_code == 130
    assert outcome.results.trials["state"].tolist() == ["interrupted"]
    process = int(child.read_text())
    wait_for(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: free(ray.available_resources()) == free(everything))


def press_ctrl_c_twice(child: Path) -> None:
    wait_for(lambda: child.exists() and child.read_text())
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)


def free(resources: dict[str, float]) -> tuple[float, float]:
    return resources["CPU"], resources["GPU"]
