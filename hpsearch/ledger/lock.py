"""The lock of a sweep: one process at a time runs it. The operating system drops the lock when that process dies.

Over NFS it holds between hosts that share the folder (Linux passes `flock` on as a lock of the whole file), though the
ledger itself is for the processes of one host.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from hpsearch.errors import LedgerError, LinkRefused, SweepInUse
from hpsearch.ledger.records import SweepRecord
from hpsearch.links import IN_SWEEP, check_sweep_folder, open_file, read_file
from hpsearch.paths import home_option, lock_path
from hpsearch.time_of_day import local_now

Task = Literal["sweep", "resume", "clean", "forget", "rename", "rebuild"]
"""What the user asked a process to do, for which it needs the lock."""
_ADVICE: Mapping[Task, str] = {
    "sweep": "Wait for it, choose another name, or stop it: {hpsearch} stop {name}{at}",
    "resume": "Wait for it, or stop it: {hpsearch} stop {name}{at}",
    "clean": "Stop it, then clean it: {hpsearch} stop {name}{at} && {hpsearch} clean {name}{at}",
    "forget": "Stop it, then remove it: {hpsearch} stop {name}{at} && {hpsearch} forget {name}{at}",
    "rename": "Stop it, then rename it: {hpsearch} stop {name}{at} && {hpsearch} rename {name} NEW{at}",
    "rebuild": "Stop it, then rebuild: {hpsearch} stop {name}{at} && {hpsearch} resume --rebuild{at}",
}
"""What the user can do where another process holds the lock."""
TRIES, TRY_S = 6, 0.1
"""Number of attempts to get the lock, and the seconds between two of them."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that runs a sweep."""

    pid: int
    """Process id on `host`."""
    host: str
    """Host name, as that host itself gives it."""

    @property
    def is_here(self) -> bool:
        """Whether the process is on this host."""
        return self.host == socket.gethostname()


@contextmanager
def writer_lock(folder: Path, name: str, *, task: Task = "sweep") -> Iterator[None]:
    """Hold the lock of a sweep for the time of the block, in a folder that contains no links in place of our files.

    Args:
        folder: The sweep's folder; it exists.
        name: The sweep's name, for messages.
        task: What it is needed for, by which the message of an error offers what to do.

    Raises:
        SweepInUse: Another process holds it; the message names it.
        LinkRefused: A part of the folder is a link, see `links.check_sweep_folder`.
        LedgerError: The lock file can't be made.
    """
    path = lock_path(folder)
    check_sweep_folder(folder)
    try:
        file = os.fdopen(open_file(path, os.O_RDWR | os.O_CREAT, parts=IN_SWEEP), "r+")
    except LinkRefused:
        raise
    except FileNotFoundError as error:  # the folder
        raise SweepInUse(_moved(name)) from error
    except OSError as error:
        raise LedgerError(
            f"{path}: the lock can't be made: {error.strerror}. Correct the folder's permissions."
        ) from error
    with file:
        if not _locked(file):
            holder = file.read(200).strip() or "another process"
            advice = _ADVICE[task].format(hpsearch="python -m hpsearch", name=name, at=home_option(folder.parent))
            raise SweepInUse(f"sweep '{name}' is in use by {holder}. {advice}")
        if not _has_path(file, path):
            raise SweepInUse(_moved(name))
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {local_now():%Y-%m-%d %H:%M}")
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def is_held(folder: Path) -> bool:
    """Whether any process, this one included, holds the lock of the sweep in `folder`."""
    try:
        descriptor = open_file(lock_path(folder), os.O_RDONLY | os.O_NONBLOCK, parts=IN_SWEEP)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for an instant: `_locked` tries again
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def was_killed(home: Path, sweep: SweepRecord) -> bool:
    """Whether the process of a sweep was killed: the ledger has it `running`, and no process holds its lock.

    Args:
        home: Folder of the ledger.
        sweep: The sweep's record.
    """
    return sweep.state == "running" and not is_held(home / sweep.folder)


def holder_of(folder: Path) -> Holder | None:
    """The process that holds the lock of the sweep in `folder`; None without one, or before it has written its id."""
    if not is_held(folder):
        return None
    text = read_file(lock_path(folder), parts=IN_SWEEP)[:200].decode(errors="replace")
    found = re.match(r"pid (\d+) on (\S+) since", text)
    return None if found is None else Holder(pid=int(found[1]), host=found[2])


def _moved(name: str) -> str:
    return f"sweep '{name}' was renamed or removed by another process just now. Try again."


def _has_path(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one at a path; it is not if the folder was moved since it was opened."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except OSError:
        return False


def _locked(file: IO[str]) -> bool:
    """Acquire the lock, waiting half a second at most, since `is_held` holds it for an instant; false if it is held."""
    for attempt in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.0 if attempt == TRIES - 1 else TRY_S)
    return False
