"""One writer for each sweep: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hpsearch.errors import LedgerError, SweepInUse


@contextmanager
def writer_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of the sweep in `folder` for the time of the block.

    Raises:
        SweepInUse: Another process holds it; the message names it.
        LedgerError: The lock file can't be made.
    """
    path = folder / "lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+")
    except OSError as error:
        raise LedgerError(
            f"{path}: the lock can't be made: {error.strerror}. Mend the folder's permissions."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read(200).strip() or "another process"
            raise SweepInUse(f"sweep '{name}' is in use by {holder}. Wait for it, or choose another --name.") from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}")
        file.flush()
        yield
        file.seek(0)
        file.truncate()
