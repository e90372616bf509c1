"""Checks of Ray: a running one at RAY_ADDRESS, the ports in use, and what killed sweeps left behind."""

from __future__ import annotations

import os
import re
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from hpsearch.doctor.finding import Finding, ok, problem, size_text, warning
from hpsearch.text import counted
from hpsearch.time_of_day import seconds_since_1970

TEMP_DIR = Path("/tmp")
"""Where sweeps make the folders of their Rays."""
RAY_FOLDER, TUNE_FOLDER = "hps-[a-z0-9_]{8}", "hps-tune-[a-z0-9_]{8}"
"""Regular expressions of the names of the folders that a sweep makes for Ray and for Tune."""
RAY_COMMAND = re.compile(r"/ray/(?:core|dashboard|_private|autoscaler)/|^ray::")
"""Matches the command line of every process of a Ray."""
PORTS = {8265: "dashboard", 6379: "Ray's head"}
"""Ports that Ray uses by default, and for what."""
CONNECT_S = 2.0
"""Seconds to wait for a Ray to accept a connection."""
YOUNG_S = 120.0
"""Seconds: a folder that is no older may belong to a sweep whose Ray is just starting."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running process of this user."""

    pid: int
    """Its process id."""
    parent: int
    """Process id of its parent; 1 if that one has ended."""
    command: str
    """Its command line."""


def check_ray() -> Iterator[Finding]:
    """The address, the token, the ports, and the leftovers of killed sweeps."""
    yield _check_address(os.environ.get("RAY_ADDRESS"))
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        what = "RAY_AUTH_MODE=disabled: anyone who can reach this machine can run code in a sweep's Ray"
        yield warning("ray", what, "unset RAY_AUTH_MODE")
    yield from _check_ports()
    processes = list(own_processes())
    yield from _check_open_ports(processes)
    yield from check_leftovers(processes, TEMP_DIR, now=seconds_since_1970())


def check_leftovers(processes: Iterable[Process], temp_dir: Path, *, now: float) -> Iterator[Finding]:
    """What killed sweeps left behind: processes whose driver has ended, and folders without a process.

    Args:
        processes: All processes of this user.
        temp_dir: Where sweeps make the folders of their Rays.
        now: Seconds since 1970.
    """
    by_folder: dict[str, list[Process]] = defaultdict(list)
    for process in processes:
        if (found := re.search(f"/({RAY_FOLDER})(?:/|\\s|$)", process.command)) is not None:
            by_folder[found[1]].append(process)
    yield from _orphans(by_folder)
    kinds = RAY_FOLDER if by_folder else f"{RAY_FOLDER}|{TUNE_FOLDER}"  # one of Tune may belong to a running sweep
    named = [path for path in sorted(temp_dir.glob("hps-*")) if re.fullmatch(kinds, path.name)]
    folders = [path for path in named if path.name not in by_folder and _is_ours(path, now)]
    if folders:
        names = " ".join(str(path) for path in folders[:20])
        size = size_text(sum(map(_size, folders)))
        what = f"killed sweeps left {counted(len(folders), 'folder')} of {size} behind"
        yield warning("leftovers", what, f"rm -r {names}" + (" ..." if len(folders) > 20 else ""))


def own_processes() -> Iterator[Process]:
    """All running processes of this user."""
    for each in psutil.process_iter(["pid", "ppid", "uids", "cmdline"]):
        facts = each.info
        if facts["uids"] is not None and facts["uids"].real == os.getuid() and facts["cmdline"]:
            yield Process(pid=facts["pid"], parent=facts["ppid"], command=" ".join(facts["cmdline"]))


def _orphans(by_folder: Mapping[str, list[Process]]) -> Iterator[Finding]:
    for folder, processes in sorted(by_folder.items()):
        heads = [each for each in processes if "gcs_server" in each.command]
        if not heads or any(each.parent == 1 for each in heads):
            pids = " ".join(str(each.pid) for each in processes)
            what = f"a killed sweep left {counted(len(processes), 'process')} of {folder} behind"
            yield warning("leftovers", what, f"Ray ends them within a minute. If not: kill -9 {pids}")


def _check_address(address: str | None) -> Finding:
    if address in (None, "", "local"):
        return ok("ray", "RAY_ADDRESS is not set: a sweep starts a Ray of its own and stops it at its end")
    if address == "auto":
        return ok("ray", "RAY_ADDRESS=auto: a sweep uses the Ray that runs on this machine")
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    with suppress(OSError, ValueError), socket.create_connection((host, int(port)), timeout=CONNECT_S):
        return ok("ray", f"the Ray at RAY_ADDRESS={address} answers: sweeps run there")
    return problem("ray", f"no Ray answers at RAY_ADDRESS={address}", "Start it, or: unset RAY_ADDRESS")


def _check_ports() -> Iterator[Finding]:
    for port, use in PORTS.items():
        holder = _listener(port)
        if holder is not None:
            yield ok("ports", f"{port} ({use}) is used by {holder}; a sweep's own Ray uses another port")


def _check_open_ports(processes: Iterable[Process]) -> Iterator[Finding]:
    """One finding for the ports of this user's Rays that other machines can reach."""
    rays = {each.pid for each in processes if RAY_COMMAND.search(each.command)}
    listening = [each for each in _connections() if each.pid in rays and each.status == psutil.CONN_LISTEN]
    ports = sorted({each.laddr.port for each in listening if not ip_address(each.laddr.ip).is_loopback})
    if ports:
        shown = ", ".join(map(str, ports[:8])) + (", ..." if len(ports) > 8 else "")
        yield ok("ports", f"{counted(len(ports), 'port')} of your Rays can be reached from other machines: {shown}")


def _connections() -> list[Any]:
    """All TCP sockets of the machine; none if this user may not list them."""
    with suppress(psutil.AccessDenied):
        return list(psutil.net_connections(kind="tcp"))
    return []


def _listener(port: int) -> str | None:
    """The process that listens on a port; None if there is none."""
    for each in _connections():
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port:
            return _name(each.pid)
    return None


def _name(pid: int | None) -> str:
    if pid is None:
        return "another user"
    with suppress(psutil.Error):
        command = [Path(part).name for part in psutil.Process(pid).cmdline()[:2]]
        return f"{' '.join(command)}, pid {pid}"
    return f"pid {pid}"


def _is_ours(path: Path, now: float) -> bool:
    with suppress(OSError):
        found = path.lstat()
        return path.is_dir() and found.st_uid == os.getuid() and now - found.st_mtime > YOUNG_S
    return False


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total
