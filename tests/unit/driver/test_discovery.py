"""What a running sweep puts where others look for it, and that it is gone afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpsearch.cluster.connect import Cluster
from hpsearch.cluster.heartbeat import Heartbeat
from hpsearch.driver.discovery import advertise
from hpsearch.ledger.lock import writer_lock
from hpsearch.paths import targets_dir


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the sweep `net`."""
    folder = tmp_path / "sweeps" / "net"
    (folder / "trials" / "0001").mkdir(parents=True)
    (folder / "trials" / "0001" / "log.txt").write_text("epoch 1")
    return folder


def cluster(tmp_path: Path, *, owned: bool = True, address: str | None = "10.0.0.1:8080") -> Cluster:
    logs_dir = tmp_path / "logs"
    logs_dir.mkdir(exist_ok=True)
    return Cluster(
        nodes=(), ships_code=False, dashboard_url=None, metrics_address=address, logs_dir=logs_dir, owned=owned,
        heartbeat=Heartbeat(None, None),
    )  # fmt: skip


def test_prometheus_and_the_dashboard_find_a_sweep_as_long_as_it_runs(folder, tmp_path):
    path = targets_dir(folder.parent) / "net.json"
    with advertise(cluster(tmp_path), name="net", folder=folder):
        assert json.loads(path.read_text()) == [{"targets": ["10.0.0.1:8080"], "labels": {}}]
        assert (tmp_path / "logs" / "sweep-net" / "0001" / "log.txt").read_text() == "epoch 1"
    assert list(path.parent.iterdir()) == []


def test_a_ray_of_somebody_else_gets_no_logs(folder, tmp_path):
    with advertise(cluster(tmp_path, owned=False), name="net", folder=folder):
        assert list((tmp_path / "logs").iterdir()) == []
        assert (targets_dir(folder.parent) / "net.json").exists()


def test_a_ray_without_metrics_leaves_no_file(folder, tmp_path):
    with advertise(cluster(tmp_path, address=None), name="net", folder=folder):
        assert not targets_dir(folder.parent).exists()


def test_the_file_of_a_killed_sweep_goes_and_that_of_a_running_one_stays(folder, tmp_path):
    targets = targets_dir(folder.parent)
    targets.mkdir()
    for name in ("killed", "runs"):
        (targets / f"{name}.json").write_text("[]")
    (folder.parent / "runs").mkdir()
    with writer_lock(folder.parent / "runs", "runs"), advertise(cluster(tmp_path), name="net", folder=folder):
        assert {path.stem for path in targets.iterdir()} == {"runs", "net"}


def test_a_link_that_somebody_planted_is_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "net.json").write_text("mine")
    targets_dir(folder.parent).symlink_to(elsewhere)
    with advertise(cluster(tmp_path), name="net", folder=folder):
        assert (elsewhere / "net.json").read_text() == "mine"
    assert (elsewhere / "net.json").read_text() == "mine"


def test_what_can_not_be_written_is_left_out(folder, tmp_path):
    targets_dir(folder.parent).write_text("not a folder")
    with advertise(cluster(tmp_path), name="net", folder=folder):
        assert (tmp_path / "logs" / "sweep-net").exists()
