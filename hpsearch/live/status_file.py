"""What a driver tells other processes besides the ledger: how many trials may run at once, and why none begins.

A file in the sweep's folder that is written when that changes, at most once a second. It counts only as long as the
process that wrote it holds the sweep's lock.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final, get_args

from hpsearch.engine.status import IdleReason, Kind
from hpsearch.ledger.lock import holder_of
from hpsearch.live.progress import DriverStatus
from hpsearch.paths import replace_file, status_path
from hpsearch.slots.process_file import Process, process_from_dict


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is on file."""

    driver: Process
    """Who wrote it."""
    concurrent: int
    """Trials that may run at once."""
    wait: IdleReason | None
    """Why none begins."""
    ends_at: float | None
    """Time of day, seconds since 1970, when `limits.time` ends the sweep; None without such a limit."""

    def outlook(self) -> DriverStatus:
        """The same, now."""
        left = None if self.ends_at is None else max(self.ends_at - time.time(), 0.0)
        return DriverStatus(concurrent=self.concurrent, wait=self.wait, time_left_s=left)


@final
class StatusFile:
    """Writes the notice of one sweep."""

    def __init__(self, folder: Path) -> None:
        self._path = status_path(folder)
        self._driver = Process.of(os.getpid())
        self._written: dict[str, Any] | None = None
        self._lock, self._is_over = threading.Lock(), False

    def tell(self, outlook: DriverStatus) -> None:
        """Write it, if it says something new; a disk that is full is no reason to fail. After `remove`, nothing."""
        left = outlook.time_left_s
        ends_at = None if left is None else round(time.time() + left)
        wait = outlook.wait
        tree = {
            "driver": asdict(self._driver),
            "concurrent": outlook.concurrent,
            "wait": None if wait is None else {"kind": wait.kind, "words": wait.text, "since": wait.since},
            "ends_at": ends_at,
        }
        if tree == self._written:
            return
        with self._lock, suppress(OSError):
            if self._is_over:
                return
            replace_file(self._path, json.dumps(tree))
            self._written = tree

    def remove(self) -> None:
        """The sweep runs no more; the thread that tells may be late, and the file must not come again."""
        with self._lock, suppress(OSError):
            self._is_over = True
            self._path.unlink(missing_ok=True)


def read_notice(folder: Path) -> Notice | None:
    """The notice of the process that holds the sweep's lock; None where there is none, or another one's."""
    holder = holder_of(folder)
    try:
        notice = _notice_of(json.loads(status_path(folder).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_holders = holder is not None and (holder.pid, holder.host) == (notice.driver.pid, notice.driver.host)
    return notice if is_holders else None


def _notice_of(tree: Any) -> Notice:
    wait, ends_at = tree["wait"], tree["ends_at"]
    if wait is not None and wait["kind"] not in get_args(Kind):
        raise ValueError("no reason that is known")
    return Notice(
        driver=process_from_dict(tree["driver"]),
        concurrent=int(tree["concurrent"]),
        wait=None
        if wait is None
        else IdleReason(kind=wait["kind"], text=str(wait["words"]), since=float(wait["since"])),
        ends_at=None if ends_at is None else float(ends_at),
    )
