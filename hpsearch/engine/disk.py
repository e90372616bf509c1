"""Free space on the disk of a sweep: while it is too low, no trial begins and no transaction is committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from hpsearch.engine.status import IdleReasons
from hpsearch.errors import LedgerError

MIB = 2**20
"""Bytes of one MiB."""
COMMIT_BYTES = 4 * MIB
"""Free bytes that a commit needs; a transaction and its copy in the journal are far smaller."""
START_BYTES = 64 * MIB
"""Free bytes that a new trial needs, as long as the size of a trial's files is unknown."""
CHECK_S = 1.0
"""Seconds between two checks while a commit waits."""


@final
class DiskGuard:
    """Checks the free space on the file system of one sweep's folder."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None],
        give_up: Callable[[], bool],
        idle_reasons: IdleReasons | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin with nothing that waits.

        Args:
            folder: A folder on the file system in question.
            say: Gets one sentence when the wait for free space begins, and one when it ends.
            give_up: Whether the sweep is to end, so that a commit no longer waits.
            idle_reasons: Gets how much space is missing while something waits.
            sleep: Waits for a number of seconds.
        """
        self.folder = folder
        """A folder on the file system in question."""
        self._say, self._give_up, self._sleep = say, give_up, sleep
        self._idle_reasons = idle_reasons or IdleReasons()
        self._needed = START_BYTES
        self._is_waiting = False

    def allows_start(self) -> bool:
        """Whether there is enough free space for a trial to begin."""
        return self._has(self._needed, "no trial begins")

    def wait_to_commit(self) -> None:
        """Return as soon as there is enough free space for a transaction.

        Raises:
            LedgerError: The sweep is to end, and there is still too little.
        """
        while not self._has(COMMIT_BYTES, "the whole sweep waits"):
            if self._give_up():
                raise LedgerError(
                    f"{self.folder}: the disk is full, so the end of the sweep could not be recorded. Free space, then"
                    f" continue with: python -m hpsearch resume {self.folder.name}"
                )
            self._sleep(CHECK_S)

    def raise_minimum(self, trial_dir: Path) -> None:
        """Require START_BYTES and twice the size of this trial's files for the next trial, since the disk was full.

        The present free space is no measure: the failure may be reported long after it, when there is space again.
        """
        own = sum(path.stat().st_size for path in trial_dir.rglob("*") if path.is_file())
        self._needed = max(self._needed, START_BYTES + 2 * own)

    def _has(self, needed: int, what_waits: str) -> bool:
        """Whether `needed` bytes are free; if not, the user is informed once what waits."""
        missing = needed - self._free()
        if missing > 0:
            text = f"disk full: {-(-missing // MIB)} MiB short in {self.folder}; {what_waits} until there is space"
            self._idle_reasons.set("disk", "disk", text)
            if not self._is_waiting:
                self._is_waiting = True
                self._say(f"{text}.")
        elif self._is_waiting and needed >= self._needed:
            self._is_waiting = False
            self._idle_reasons.clear("disk")
            self._say("There is space on the disk again: the sweep continues.")
        return missing <= 0

    def _free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize
