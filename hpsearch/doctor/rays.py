"""Ray: one that runs already, who has its ports, what killed sweeps left behind."""

from __future__ import annotations

import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from hpsearch.doctor.finding import Finding, count_text, ok, problem, size_text, warning

TEMP_DIR = Path("/tmp")
RAY_FOLDER, TUNE_FOLDER = "hps-[a-z0-9_]{8}", "hps-tune-[a-z0-9_]{8}"
"""Names, as regular expressions, of the folders that a sweep makes for Ray and for Tune."""
RAY_COMMAND = re.compile(r"/ray/(?:core|dashboard|_private|autoscaler)/|^ray::")
"""In the command line of every process of a Ray."""
PORTS = {8265: "dashboard", 6379: "Ray's head"}
CONNECT_S = 2.0
YOUNG_S = 120.0
"""A folder that is no older may belong to a sweep whose Ray is just coming up."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of a Ray that a sweep has started."""

    pid: int
    parent: int
    """1 where whoever started it is gone."""
    command: str
    """Its command line."""


def look_at_ray() -> Iterator[Finding]:
    """Address, token, ports, leftovers."""
    yield _look_at_address(os.environ.get("RAY_ADDRESS"))
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        what = "RAY_AUTH_MODE=disabled: whoever reaches this machine can run code in a sweep's Ray"
        yield warning("ray", what, "unset RAY_AUTH_MODE")
    yield from _look_at_ports()
    processes = list(own_processes())
    yield from _look_at_open_ports(processes)
    yield from look_at_leftovers(processes, TEMP_DIR, now=time.time())


def look_at_leftovers(processes: Iterable[Process], temp_dir: Path, *, now: float) -> Iterator[Finding]:
    """What sweeps that are over have left: processes whose driver is gone, folders without a process.

    Args:
        processes: Of this user's sweeps.
        temp_dir: Where the sweeps' Rays have their folders.
        now: Seconds since 1970.
    """
    by_folder: dict[str, list[Process]] = defaultdict(list)
    for process in processes:
        if (found := re.search(f"/({RAY_FOLDER})(?:/|\\s|$)", process.command)) is not None:
            by_folder[found[1]].append(process)
    yield from _orphans(by_folder)
    kinds = RAY_FOLDER if by_folder else f"{RAY_FOLDER}|{TUNE_FOLDER}"  # Tune's may be that of a sweep that runs
    named = [path for path in sorted(temp_dir.glob("hps-*")) if re.fullmatch(kinds, path.name)]
    folders = [path for path in named if path.name not in by_folder and _is_ours(path, now)]
    if folders:
        names = " ".join(str(path) for path in folders[:20])
        size = size_text(sum(map(_size, folders)))
        what = f"sweeps that were killed have left {count_text(len(folders), 'folder')} of {size}"
        yield warning("leftovers", what, f"rm -r {names}" + (" ..." if len(folders) > 20 else ""))


def own_processes() -> Iterator[Process]:
    """The processes of this user."""
    for each in psutil.process_iter(["pid", "ppid", "uids", "cmdline"]):
        facts = each.info
        if facts["uids"] is not None and facts["uids"].real == os.getuid() and facts["cmdline"]:
            yield Process(pid=facts["pid"], parent=facts["ppid"], command=" ".join(facts["cmdline"]))


def _orphans(by_folder: Mapping[str, list[Process]]) -> Iterator[Finding]:
    for folder, processes in sorted(by_folder.items()):
        heads = [each for each in processes if "gcs_server" in each.command]
        if not heads or any(each.parent == 1 for each in heads):
            pids = " ".join(str(each.pid) for each in processes)
            what = f"a sweep that was killed has left {count_text(len(processes), 'process')} in {folder}"
            yield warning("leftovers", what, f"Ray ends them within a minute. If it does not: kill -9 {pids}")


def _look_at_address(address: str | None) -> Finding:
    if address in (None, "", "local"):
        return ok("ray", "RAY_ADDRESS is not set: a sweep starts a Ray of its own, which ends with it")
    if address == "auto":
        return ok("ray", "RAY_ADDRESS=auto: a sweep uses the Ray that runs on this machine")
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    with suppress(OSError, ValueError), socket.create_connection((host, int(port)), timeout=CONNECT_S):
        return ok("ray", f"the Ray at RAY_ADDRESS={address} answers: sweeps run there")
    return problem("ray", f"no Ray answers at RAY_ADDRESS={address}", "Start it, or: unset RAY_ADDRESS")


def _look_at_ports() -> Iterator[Finding]:
    for port, whose in PORTS.items():
        holder = _listener(port)
        if holder is not None:
            yield ok("ports", f"{port} ({whose}) is taken by {holder}; a sweep's own Ray takes another")


def _look_at_open_ports(processes: Iterable[Process]) -> Iterator[Finding]:
    """Ports of this user's Rays that other machines can reach."""
    rays = {each.pid for each in processes if RAY_COMMAND.search(each.command)}
    listening = [each for each in _connections() if each.pid in rays and each.status == psutil.CONN_LISTEN]
    ports = sorted({each.laddr.port for each in listening if not ip_address(each.laddr.ip).is_loopback})
    if ports:
        shown = ", ".join(map(str, ports[:8])) + (", ..." if len(ports) > 8 else "")
        yield ok("ports", f"{count_text(len(ports), 'port')} of your Rays can be reached from other machines: {shown}")


def _connections() -> list[Any]:
    """Every TCP socket of the machine; none where this user may not know."""
    with suppress(psutil.AccessDenied):
        return list(psutil.net_connections(kind="tcp"))
    return []


def _listener(port: int) -> str | None:
    """Who listens on a port; None if nobody does."""
    for each in _connections():
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port:
            return _name(each.pid)
    return None


def _name(pid: int | None) -> str:
    if pid is None:
        return "another user"
    with suppress(psutil.Error):
        words = [Path(word).name for word in psutil.Process(pid).cmdline()[:2]]
        return f"{' '.join(words)}, pid {pid}"
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
