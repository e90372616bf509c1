"""Ports are probed as anyone could reach them: without a token."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from subprocess import PIPE, Popen
from typing import Any

import grpc  # type: ignore[import-untyped]
import psutil
import pytest

from hpsearch.cluster import open_ports
from hpsearch.cluster.open_ports import METHODS, Process, own_processes, probe, ray_ports

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@contextmanager
def http_server(status: int, body: bytes, content: str = "text/html") -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def grpc_server(answer: Callable[[Any], bytes], *, method: str) -> Iterator[int]:
    """A server of Ray's in miniature: it has one method, under Ray's name."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            if details.method != f"/ray.rpc.{method}":
                return None
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(context))

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def refuse(context: Any) -> bytes:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
    return b""


@pytest.mark.parametrize(
    ("status", "content", "answer"),
    [
        (401, "text/plain; charset=utf-8", "refused"),
        (403, "text/plain; charset=utf-8", "refused"),
        (200, "text/plain; version=0.0.4; charset=utf-8", "metrics"),
        (200, "text/html", "open"),
        (200, "text/plain; charset=utf-8", "open"),
        (404, "text/html", "open"),
    ],
)
def test_the_answer_of_an_http_server_is_known(status, content, answer):
    with http_server(status, b"", content) as port:  # at its start, Ray serves no metric yet
        assert probe("127.0.0.1", port) == answer
        assert probe("127.0.0.1", port, grpc_only=True) == "unknown"


@pytest.mark.parametrize("method", METHODS)
def test_each_grpc_server_of_ray_is_recognised(method):
    with grpc_server(refuse, method=method) as port:
        assert probe("127.0.0.1", port) == "refused"
    with grpc_server(lambda _: b"", method=method) as port:
        assert probe("127.0.0.1", port, grpc_only=True) == "open"


def test_a_server_of_another_kind_is_unknown():
    with grpc_server(refuse, method="Other/Method") as port:
        assert probe("127.0.0.1", port) == "unknown"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert probe("127.0.0.1", port) == "unknown"


@pytest.mark.parametrize("begin", [b"", b"HT", b"HTTP/1.0 200 OK\r\n"])
def test_an_answer_that_is_cut_is_unknown(begin, monkeypatch):
    monkeypatch.setattr(open_ports, "ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.sendall(begin)
                connection.recv(1024)

        with ThreadPoolExecutor(1) as thread:
            answered = thread.submit(answer)
            assert probe("127.0.0.1", server.getsockname()[1]) == "unknown"
            answered.result()


def test_a_server_that_says_nothing_is_left_in_time(monkeypatch):
    monkeypatch.setattr(open_ports, "ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert probe("127.0.0.1", silent.getsockname()[1]) == "unknown"


def test_only_the_ports_of_one_drivers_ray_are_probed():
    with http_server(401, b"") as ours, Popen([sys.executable, "-c", LISTEN], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        processes = [
            Process(pid=os.getpid(), parent=70, command="/x/ray/core/src/ray/gcs/gcs_server"),
            Process(pid=70, parent=1, command="python -m hpsearch run"),
            Process(pid=other.pid, parent=90, command="ray::trial 1"),
            Process(pid=80, parent=90, command="/x/ray/core/src/ray/gcs/gcs_server"),
            Process(pid=90, parent=1, command="python -m hpsearch run"),
        ]
        found = {port.number: port for port in ray_ports(processes, driver=70)}  # this process may have other ports
        assert (found[ours].answer, found[ours].is_remote) == ("refused", False)
        assert theirs not in found
        other.terminate()


def test_other_servers_of_a_driver_are_not_reported():
    with http_server(200, b"a notebook") as port:
        processes = [Process(pid=2, parent=os.getpid(), command="/x/ray/core/src/ray/gcs/gcs_server")]
        assert port not in {each.number for each in ray_ports(processes)}


def test_the_processes_of_this_user_are_found():
    assert os.getpid() in {each.pid for each in own_processes()}


def test_a_user_who_may_not_list_sockets_gets_none(monkeypatch):
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert open_ports.tcp_sockets() == []
