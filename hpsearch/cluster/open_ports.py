"""Finds the TCP ports of Rays that run on this machine, and whether they refuse requests without Ray's token.

Imports neither Ray nor gRPC, so that `hpsearch doctor` works where these are broken.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

import psutil

Answer = Literal["refused", "metrics", "open", "unknown"]
"""What a port answers without a token: a refusal, Ray's metrics, anything else, or nothing that we know."""
RAY_COMMAND = re.compile(r"/ray/(?:core|dashboard|_private|autoscaler)/|^ray::")
"""Matches the command line of every process of a Ray."""
ANSWER_S = 3.0
"""Seconds to wait for a port's answer."""
METHODS = (
    "CoreWorkerService/NumPendingTasks",
    "NodeManagerService/GetNodeStats",
    "NodeInfoGcsService/CheckAlive",
    "ReporterService/HealthCheck",
    "ObjectManagerService/Pull",
)
"""A method of each gRPC server of Ray that changes nothing when it is called with an empty message."""
UNIMPLEMENTED, UNAUTHENTICATED = 12, 16
"""Status codes of gRPC."""
GRPC_STATUS = re.compile(rb"grpc-status(?:\x01(\d)|\x02(\d\d))")
"""Matches the status of a call among the headers that a server sends, each text after its length."""
METRICS_TYPE = re.compile(rb"^content-type: text/plain; version=", re.IGNORECASE | re.MULTILINE)
"""Matches the header of an answer in the format of Prometheus."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running process of this user."""

    pid: int
    """Its process id."""
    parent: int
    """Process id of its parent; 1 if that one has ended."""
    command: str
    """Its command line."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A TCP port on which a process of a Ray listens."""

    number: int
    """The port."""
    address: str
    """IP address that it listens on."""
    answer: Answer
    """What it answers to a request without a token."""

    @property
    def is_remote(self) -> bool:
        """Whether other machines can reach it, unless a firewall is in between."""
        return not ip_address(self.address).is_loopback


def own_processes() -> Iterator[Process]:
    """All running processes of this user."""
    for each in psutil.process_iter(["pid", "ppid", "uids", "cmdline"]):
        facts = each.info
        if facts["uids"] is not None and facts["uids"].real == os.getuid() and facts["cmdline"]:
            yield Process(pid=facts["pid"], parent=facts["ppid"], command=" ".join(facts["cmdline"]))


def ray_ports(processes: Iterable[Process], *, driver: int | None = None) -> list[Port]:
    """Probe the ports of Rays; takes milliseconds, and ANSWER_S seconds where a process hangs.

    Args:
        processes: The processes to look at; those that belong to no Ray are left out.
        driver: Process id of a driver, of whose Ray alone the ports are probed; None for those of every Ray.

    Returns:
        The ports of Ray's processes and of the drivers, by number. Ports of a driver that do not belong to Ray, for
        example those of Jupyter, are left out.
    """
    rays, drivers = _pids(processes, driver)
    found = [each for each in tcp_sockets() if each.status == psutil.CONN_LISTEN and each.pid in rays | drivers]
    listening = sorted({(each.laddr.port, each.laddr.ip, each.pid) for each in found})
    with ThreadPoolExecutor(16, thread_name_prefix="ray-ports") as threads:
        answers = threads.map(lambda each: probe(each[1], each[0], grpc_only=each[2] in drivers), listening)
        ports = [
            (Port(number=number, address=address, answer=answer), pid)
            for (number, address, pid), answer in zip(listening, answers, strict=True)
        ]
    return [port for port, pid in ports if pid in rays or port.answer != "unknown"]


def _pids(processes: Iterable[Process], driver: int | None) -> tuple[set[int], set[int]]:
    """Process ids of Ray's processes, and of the drivers that have started a Ray."""
    processes = list(processes)
    rays = [each for each in processes if RAY_COMMAND.search(each.command)]
    drivers = {each.parent for each in rays if "gcs_server" in each.command and each.parent != 1}
    if driver is not None:
        parents = {each.pid: each.parent for each in processes}
        rays = [each for each in rays if driver in _ancestors(each.pid, parents)]
        drivers &= {driver}
    return {each.pid for each in rays} - drivers, drivers


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        yield pid


def tcp_sockets() -> list[Any]:
    """All TCP sockets of the machine, as psutil describes them; none if this user may not list them."""
    with suppress(psutil.AccessDenied):
        return list(psutil.net_connections(kind="tcp"))
    return []


def probe(address: str, port: int, *, grpc_only: bool = False) -> Answer:
    """Send requests without a token to a port of this machine.

    Args:
        address: IP address that it listens on.
        port: Its number.
        grpc_only: Whether only the answers of a gRPC server count.
    """
    host = "localhost" if ip_address(address).is_unspecified else address
    with suppress(OSError):
        answer = _exchange(
            host, port, b"GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n", _is_http_known
        )
        if not answer.startswith(b"HTTP/"):
            return _grpc_answer(host, port)
        return "unknown" if grpc_only else _http_answer(answer)
    return "unknown"


def _is_http_known(answer: bytes) -> bool:
    """Whether the beginning of an answer suffices: it is not HTTP, or it has all headers."""
    return not b"HTTP/".startswith(answer[:5]) or b"\r\n\r\n" in answer


def _http_answer(answer: bytes) -> Answer:
    """What an HTTP server answered; metrics are recognised by their type, since at its start Ray has none to serve."""
    headers, end, _ = answer.partition(b"\r\n\r\n")
    if not end:
        return "unknown"
    if headers.split(maxsplit=2)[1] in (b"401", b"403"):
        return "refused"
    return "metrics" if METRICS_TYPE.search(headers) else "open"


def _grpc_answer(host: str, port: int) -> Answer:
    for method in METHODS:
        found = GRPC_STATUS.search(_exchange(host, port, _grpc_call(method), GRPC_STATUS.search))
        status = None if found is None else int(found[1] or found[2])
        if status == UNAUTHENTICATED:
            return "refused"
        if status is not None and status != UNIMPLEMENTED:
            return "open"
    return "unknown"


def _grpc_call(method: str) -> bytes:
    """What a gRPC client sends to call a method of Ray with an empty message: four frames of HTTP/2 (RFC 9113)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/ray.rpc.{method}",
        ":authority": "probe",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    texts = (text.encode() for pair in headers.items() for text in pair)
    lengths = [bytes([len(text)]) + text for text in texts]  # no Huffman code, and less than 127 bytes
    block = b"".join(b"\0" + name + value for name, value in zip(lengths[::2], lengths[1::2], strict=True))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return preface + _frame(4, 0, 0, b"") + _frame(1, 4, 1, block) + _frame(0, 1, 1, b"\0\0\0\0\0")


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def _exchange(host: str, port: int, request: bytes, is_enough: Callable[[bytes], object]) -> bytes:
    """Send a request and return what is received until the end, until it is enough, or until ANSWER_S seconds pass."""
    received, deadline = b"", time.monotonic() + ANSWER_S
    with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
        connection.sendall(request)
        with suppress(OSError):
            while time.monotonic() < deadline and (data := connection.recv(2**16)):
                received += data
                if is_enough(received):
                    break
    return received
