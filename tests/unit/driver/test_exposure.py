"""What is open of a Ray is said once, in the background, and never ends a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.cluster.connect import Cluster
from hpsearch.cluster.heartbeat import Heartbeat
from hpsearch.cluster.open_ports import Port
from hpsearch.driver import exposure
from hpsearch.driver.exposure import open_folder, open_ports, watch_exposure
from tests.support.waiting import until

OPEN = Port(number=14, address="127.0.0.1", answer="open")
OTHERS = [Port(number=11, address="::", answer="refused"), Port(number=13, address="::", answer="metrics")]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    logs_dir = tmp_path / "logs"
    logs_dir.mkdir()
    heartbeat = Heartbeat(None, None)
    return Cluster(nodes=(), ships_code=False, dashboard_url=None, owned=True, heartbeat=heartbeat, logs_dir=logs_dir)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], list[Port]]]:
    """What each probe of the ports finds, or raises; the second one follows at once."""
    planned: list[Callable[[], list[Port]]] = []
    monkeypatch.setattr(exposure, "ray_ports", lambda processes, driver: planned.pop(0)())
    monkeypatch.setattr(exposure, "LATER_S", 0.0)
    return planned


def test_nothing_is_said_of_a_ray_that_is_closed(cluster, answers):
    answers += [lambda: OTHERS, lambda: OTHERS]
    said: list[str] = []
    with watch_exposure(cluster, say=said.append):
        until(lambda: not answers)
    assert said == []


def test_ports_that_open_later_are_said(cluster, answers):
    answers += [lambda: OTHERS, lambda: [*OTHERS, OPEN]]
    said: list[str] = []
    with watch_exposure(cluster, say=said.append):
        until(lambda: not answers)
    assert said == [
        "1 port of Ray accepts requests without a token (14): other users can run code as you."
        " Unset RAY_AUTH_MODE and start again."
    ]


def test_a_probe_that_fails_does_not_end_the_sweep(cluster, answers):
    def fail() -> list[Port]:
        raise RuntimeError("no such thing")

    answers.append(fail)
    said: list[str] = []
    with watch_exposure(cluster, say=said.append):
        until(lambda: said)
    assert said == ["Ray's ports and folder could not be probed: RuntimeError: no such thing"]


def test_a_ray_of_someone_else_is_not_probed(cluster, answers):
    with watch_exposure(replace(cluster, owned=False), say=pytest.fail):
        pass


def test_other_machines_are_named_if_they_can_reach_a_port():
    found = open_ports([OPEN, Port(number=15, address="0.0.0.0", answer="open")])
    assert found is not None
    assert found.startswith("2 ports of Ray accept requests without a token (14, 15): other users and other machines")


def test_an_open_folder_is_said(open_path):
    logs_dir = open_path / "logs"
    logs_dir.mkdir()
    logs_dir.chmod(0o777)
    found = open_folder(logs_dir)
    assert found is not None
    assert found.startswith(f"Other users of this machine can write Ray's folder, {open_path}")
    open_path.chmod(0o700)
    assert open_folder(logs_dir) is None
