"""Clocks that tests set: one in place of `time.monotonic`, and the time of day."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hpsearch import time_of_day


class Clock:
    """Seconds that a test moves by itself; called as a clock is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimeOfDay:
    """The time of day as hpsearch reads it in this process and those that it forks; the times of files move with it."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def install(self) -> None:
        """For the rest of this process, or until a test puts `hpsearch.time_of_day.time` back."""
        vars(time_of_day)["time"] = self

    def time(self) -> float:
        """In place of `time.time`."""
        return time.time() + self.offset_s

    def move(self, hours: float, *, files_below: Path) -> None:
        """Move the clock ahead, or back if `hours` is negative.

        The file system dates files by its own clock. So files that are there get as much older instead.
        """
        self.offset_s += 3600 * hours
        for path in [files_below, *files_below.rglob("*")]:
            found = path.lstat()
            os.utime(path, (found.st_atime - 3600 * hours, found.st_mtime - 3600 * hours), follow_symlinks=False)
