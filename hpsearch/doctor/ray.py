"""Checks of Ray: a running one at RAY_ADDRESS, the ports in use, and what killed sweeps left behind."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from hpsearch.cluster.open_ports import Port, Process, own_processes, ray_ports, tcp_sockets
from hpsearch.cluster.private_files import access_of_others, token_path
from hpsearch.doctor.finding import Finding, ok, problem, size_text, warning
from hpsearch.text import counted
from hpsearch.time_of_day import seconds_since_1970

TEMP_DIR = Path("/tmp")
"""Where sweeps make the folders of their Rays."""
RAY_FOLDER, TUNE_FOLDER = "hps-[a-z0-9_]{8}", "hps-tune-[a-z0-9_]{8}"
"""Regular expressions of the names of the folders that a sweep makes for Ray and for Tune."""
PORTS = {8265: "dashboard", 6379: "Ray's head"}
"""Ports that Ray uses by default, and for what."""
CONNECT_S = 2.0
"""Seconds to wait for a Ray to accept a connection."""
YOUNG_S = 120.0
"""Seconds: a folder that is no older may belong to a sweep whose Ray is just starting."""


def check_ray() -> Iterator[Finding]:
    """The address, the ports, the token, the folders of running Rays, and the leftovers of killed sweeps."""
    yield _check_address(os.environ.get("RAY_ADDRESS"))
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        what = "RAY_AUTH_MODE=disabled: anyone who can reach this machine can run code in a sweep's Ray"
        yield warning("ray", what, "unset RAY_AUTH_MODE")
    yield from _check_ports()
    processes = list(own_processes())
    yield from check_open_ports(ray_ports(processes))
    yield from check_token()
    yield from check_session_dirs(processes)
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


def check_open_ports(ports: Sequence[Port]) -> Iterator[Finding]:
    """What the ports of this user's Rays answer without a token, and which of them other machines can reach.

    Args:
        ports: The ports of all Rays of this user.
    """
    if remote := [port for port in ports if port.is_remote]:
        yield ok("ports", f"{_ports(remote)} of your Rays can be reached from other machines: {_numbers(remote)}")
    if refusing := [port for port in ports if port.answer == "refused"]:
        yield ok("ports", f"{_ports(refusing)} of your Rays refused a request without a token")
    if metrics := [port for port in ports if port.answer == "metrics"]:
        what = f"Ray's metrics are served without a token on {_numbers(metrics)}: they name the parameters of trials"
        yield warning("ports", what, "Ray has no lock for them. If that matters, close these ports with a firewall.")
    if accepting := [port for port in ports if port.answer == "open"]:
        what = f"{_ports(accepting)} of your Rays answered a request without a token: {_numbers(accepting)}"
        yield warning("ports", what, "Others can run code as you. Start these Rays again without RAY_AUTH_MODE.")
    if silent := [port for port in ports if port.answer == "unknown"]:
        yield warning("ports", f"{_ports(silent)} of your Rays gave no answer that is known: {_numbers(silent)}")


def _ports(ports: Sequence[Port]) -> str:
    return counted(len(ports), "port")


def _numbers(ports: Sequence[Port]) -> str:
    numbers = sorted({port.number for port in ports})
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def check_token() -> Iterator[Finding]:
    """Whether other users can read Ray's token, with which one runs code as this user."""
    path = token_path()
    if path is None or not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if access_of_others(path) != "none":
        yield warning("token", f"other users can read Ray's token, {path}, of mode {mode:04o}", f"chmod 600 {path}")
    elif mode & 0o077:
        what = f"Ray's token, {path}, has mode {mode:04o}: only a folder above it keeps other users out"
        yield warning("token", what, f"chmod 600 {path}")
    else:
        yield ok("token", f"only you can read Ray's token, {path}")


def check_session_dirs(processes: Iterable[Process]) -> Iterator[Finding]:
    """Whether other users can read or write the folders of this user's Rays that run.

    Args:
        processes: All processes of this user.
    """
    commands = [each.command for each in processes if "gcs_server" in each.command]
    for session in sorted({found[1] for text in commands if (found := re.search(r"--session-dir=(\S+)", text))}):
        with suppress(OSError):
            access = access_of_others(Path(session))
            if access == "none":
                yield ok("ray", f"only you can enter {session}, the folder of a Ray")
            else:
                what = f"other users can {access} {session}, the folder of a Ray with its logs and sockets"
                yield warning("ray", what, f"chmod 700 {Path(session).parent}")


def _listener(port: int) -> str | None:
    """The process that listens on a port; None if there is none."""
    for each in tcp_sockets():
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
