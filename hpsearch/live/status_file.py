"""The status file of a running sweep, in which its driver writes for other processes what the ledger does not hold.

It says how many trials may run at once, why no trial begins, and when the time limit ends the sweep. It is in the
sweep's folder and written when one of these changes, at most once a second. It is valid only as long as the process
that wrote it holds the sweep's lock.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final, get_args

from hpsearch.engine.status import IdleKind, IdleReason
from hpsearch.ledger.lock import holder_of
from hpsearch.links import IN_SWEEP, read_file
from hpsearch.live.progress import DriverStatus
from hpsearch.paths import replace_file, status_path
from hpsearch.slots.process_file import Process, process_from_dict
from hpsearch.time_of_day import seconds_since_1970


@dataclass(frozen=True, kw_only=True)
class StatusRecord:
    """What a status file contains."""

    driver: Process
    """The process that wrote it."""
    concurrent: int
    """Trials that may run at once."""
    idle_reason: IdleReason | None
    """Why no trial begins; None while trials begin."""
    ends_at: float | None
    """Time of day in seconds since 1970 at which `limits.time` ends the sweep.

    None without that limit, and until a trial trains.
    """

    def status(self) -> DriverStatus:
        """The driver's status, with the time that is left now."""
        left = None if self.ends_at is None else max(self.ends_at - seconds_since_1970(), 0.0)
        return DriverStatus(concurrent=self.concurrent, idle_reason=self.idle_reason, time_left_s=left)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, as JSON can hold it."""
        reason = self.idle_reason
        return {
            "driver": asdict(self.driver),
            "concurrent": self.concurrent,
            "wait": None if reason is None else {"kind": reason.kind, "words": reason.text, "since": reason.since},
            "ends_at": self.ends_at,
        }

    @classmethod
    def from_dict(cls, tree: Any) -> StatusRecord:
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: It is not the content of a status file, or that of another version.
        """
        reason, ends_at = tree["wait"], tree["ends_at"]
        if reason is not None and reason["kind"] not in get_args(IdleKind):
            raise ValueError(f"unknown kind of reason: {reason['kind']!r}")
        return cls(
            driver=process_from_dict(tree["driver"]),
            concurrent=int(tree["concurrent"]),
            idle_reason=None
            if reason is None
            else IdleReason(kind=reason["kind"], text=str(reason["words"]), since=float(reason["since"])),
            ends_at=None if ends_at is None else float(ends_at),
        )


@final
class StatusFile:
    """Writes the status file of one sweep."""

    def __init__(self, folder: Path) -> None:
        """Prepare; nothing is written yet.

        Args:
            folder: The sweep's folder.
        """
        self._path = status_path(folder)
        self._driver = Process.of(os.getpid())
        self._written: dict[str, Any] | None = None
        self._lock, self._is_removed = threading.Lock(), False

    def write(self, status: DriverStatus) -> None:
        """Write the status if it has changed. Errors of the disk are ignored; after `remove`, nothing is written."""
        left = status.time_left_s
        record = StatusRecord(
            driver=self._driver,
            concurrent=status.concurrent,
            idle_reason=status.idle_reason,
            ends_at=None if left is None else round(seconds_since_1970() + left),
        ).to_dict()
        if record == self._written:
            return
        with self._lock, suppress(OSError):
            if self._is_removed:
                return
            replace_file(self._path, json.dumps(record))
            self._written = record

    def remove(self) -> None:
        """Remove the file for good: the thread that writes it may be late, and must not write it again."""
        with self._lock, suppress(OSError):
            self._is_removed = True
            self._path.unlink(missing_ok=True)


def read_status(folder: Path) -> StatusRecord | None:
    """The status written by the process that holds the sweep's lock; None if there is none, or it is another's."""
    holder = holder_of(folder)
    try:
        record = StatusRecord.from_dict(json.loads(read_file(status_path(folder), parts=IN_SWEEP)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_holders = holder is not None and (holder.pid, holder.host) == (record.driver.pid, record.driver.host)
    return record if is_holders else None
