"""Where ranks meet."""

from __future__ import annotations

import socket

import pytest

from hpsearch.training.parallel import host_store


def test_the_port_where_ranks_will_meet_is_taken_as_soon_as_it_is_known() -> None:
    store = host_store("127.0.0.1")
    with socket.socket() as another_program, pytest.raises(OSError, match="in use"):
        another_program.bind(("", store.port))


def test_ranks_of_one_node_meet_where_no_other_address_leads() -> None:
    store = host_store("127.0.0.1")
    with socket.create_connection(("127.0.0.1", store.port), timeout=10):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", store.port), timeout=10)
