"""One writer for each sweep: a lock that the operating system drops when its holder dies, however it dies.

Over NFS it holds between hosts that share the folder (Linux passes `flock` on as a lock of the whole file), though the
ledger itself is for the processes of one host.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from hpsearch.errors import LedgerError, SweepInUse
from hpsearch.ledger.records import SweepRecord
from hpsearch.paths import lock_path

TRIES, TRY_S = 6, 0.1


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who runs a sweep."""

    pid: int
    """Process on `host`."""
    host: str
    """Its name for itself."""

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this host."""
        return self.host == socket.gethostname()


@contextmanager
def writer_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of the sweep in `folder` for the time of the block.

    Raises:
        SweepInUse: Another process holds it; the message names it.
        LedgerError: The lock file can't be made.
    """
    path = lock_path(folder)
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+")
    except OSError as error:
        raise LedgerError(
            f"{path}: the lock can't be made: {error.strerror}. Mend the folder's permissions."
        ) from error
    with file:
        if not _locked(file):
            holder = file.read(200).strip() or "another process"
            raise SweepInUse(f"sweep '{name}' is in use by {holder}. Wait for it, or choose another --name.")
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}")
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def is_held(folder: Path) -> bool:
    """Whether a process, this one included, holds the lock of the sweep in `folder`."""
    try:
        descriptor = os.open(lock_path(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for an instant: whoever wants to write tries again
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def was_killed(home: Path, sweep: SweepRecord) -> bool:
    """Whether the sweep's process went without a word: the ledger has it running, and nobody holds its lock."""
    return sweep.state == "running" and not is_held(home / sweep.folder)


def holder_of(folder: Path) -> Holder | None:
    """Who holds the lock of the sweep in `folder`; None if nobody does, or who does has not written its name yet."""
    if not is_held(folder):
        return None
    found = re.match(r"pid (\d+) on (\S+) since", lock_path(folder).read_text(errors="replace")[:200])
    return None if found is None else Holder(pid=int(found[1]), host=found[2])


def _locked(file: IO[str]) -> bool:
    """Try for half a second: a look by `is_held` is no holder."""
    for attempt in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.0 if attempt == TRIES - 1 else TRY_S)
    return False
