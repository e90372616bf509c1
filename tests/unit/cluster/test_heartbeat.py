"""A daemon of Ray that listens, one that does not, and one that is only busy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hpsearch.cluster.heartbeat import BEAT_S, Heartbeat, RayDied
from tests.support.clock import Clock


@pytest.fixture
def gcs():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def raylet(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "raylet"))
        server.listen()
        yield server


def addresses(gcs: socket.socket, raylet: socket.socket) -> tuple[str, str]:
    host, port = gcs.getsockname()
    return f"{host}:{port}", raylet.getsockname()


def test_both_daemons_listen(gcs, raylet):
    clock = Clock()
    heartbeat = Heartbeat(*addresses(gcs, raylet), clock=clock)
    for _ in range(3):
        clock.now += BEAT_S
        heartbeat.beat()


@pytest.mark.parametrize("name", ["GCS", "raylet"])
def test_a_dead_daemon_is_named_at_the_next_beat_and_not_looked_for_before(gcs, raylet, name):
    clock = Clock()
    heartbeat = Heartbeat(*addresses(gcs, raylet), clock=clock)
    (gcs if name == "GCS" else raylet).close()
    heartbeat.beat()
    clock.now += BEAT_S
    with pytest.raises(RayDied, match=name):
        heartbeat.beat()


def test_a_removed_socket_file_is_a_dead_raylet(gcs, raylet):
    clock = Clock()
    heartbeat = Heartbeat(*addresses(gcs, raylet), clock=clock)
    Path(raylet.getsockname()).unlink()
    clock.now += BEAT_S
    with pytest.raises(RayDied, match="raylet"):
        heartbeat.beat()


def test_nobody_looks_where_no_address_is_known():
    clock = Clock()
    heartbeat = Heartbeat(None, None, clock=clock)
    clock.now += BEAT_S
    heartbeat.beat()


def test_an_address_of_ipv6_is_understood(raylet):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.socket(socket.AF_INET6) as server:
        try:
            server.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        server.listen()
        clock = Clock()
        heartbeat = Heartbeat(f"[::1]:{server.getsockname()[1]}", raylet.getsockname(), clock=clock)
        clock.now += BEAT_S
        heartbeat.beat()
