"""Room on the disk of the results: while there is too little, no trial begins and nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from hpsearch.engine.status import IdleReasons
from hpsearch.errors import LedgerError

MIB = 2**20
COMMIT_BYTES = 4 * MIB
"""Free space without which nothing is committed: a transaction and its copy in the journal are far smaller."""
START_BYTES = 64 * MIB
"""Free space without which no trial begins, as long as nothing is known of the size of its files."""
LOOK_S = 1.0
"""Seconds between two looks while everything waits."""


@final
class DiskGuard:
    """Watches the file system of one sweep's folder."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None],
        give_up: Callable[[], bool],
        idle_reasons: IdleReasons | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin to watch.

        Args:
            folder: On the file system that counts.
            say: Told once when the waiting begins and once when it ends.
            give_up: Whether the sweep is to end, so that waiting for room is over.
            idle_reasons: Is told how much is short as long as something waits.
            sleep: Seconds to wait.
        """
        self._folder, self._say, self._give_up, self._sleep = folder, say, give_up, sleep
        self._idle_reasons = idle_reasons or IdleReasons()
        self._needed = START_BYTES
        self._is_waiting = False

    def allows_start(self) -> bool:
        """Whether a trial may begin."""
        return self._has(self._needed, "no trial begins")

    def wait_to_commit(self) -> None:
        """Come back when there is room for a transaction.

        Raises:
            LedgerError: The sweep is to end, and there is still none.
        """
        while not self._has(COMMIT_BYTES, "everything waits"):
            if self._give_up():
                raise LedgerError(
                    f"{self._folder}: the disk is full, so that the end of the sweep is not on record. Free space, then"
                    f" go on with: python -m hpsearch resume {self._folder.name}"
                )
            self._sleep(LOOK_S)

    def ran_out(self, trial_dir: Path) -> None:
        """A trial could not write its files: the next one begins when there is room for twice as many.

        What is free now says nothing: the failure may be heard of long after it, when there is room again.
        """
        own = sum(path.stat().st_size for path in trial_dir.rglob("*") if path.is_file())
        self._needed = max(self._needed, START_BYTES + 2 * own)

    def _has(self, needed: int, what_waits: str) -> bool:
        short = needed - self._free()
        if short > 0:
            words = f"disk full: {-(-short // MIB)} MiB short in {self._folder}; {what_waits} until there is room"
            self._idle_reasons.set("room", "disk", words)
            if not self._is_waiting:
                self._is_waiting = True
                self._say(f"{words}.")
        elif self._is_waiting and needed >= self._needed:
            self._is_waiting = False
            self._idle_reasons.clear("room")
            self._say("There is room on the disk again: the sweep goes on.")
        return short <= 0

    def _free(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize
