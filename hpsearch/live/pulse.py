"""A thread that does small things once a second while the main thread runs a sweep."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import final

PULSE_S = 1.0


@final
class Pulse:
    """A context manager; what raises is written to the sweep's log, once, and not done again."""

    def __init__(self, tasks: Iterable[Callable[[], None]], *, every_s: float = PULSE_S) -> None:
        """Prepare.

        Args:
            tasks: Done one after the other, at once and then every `every_s` seconds; the last time at the end.
            every_s: Seconds between two rounds.
        """
        self._tasks, self._every_s = list(tasks), every_s
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hpsearch-pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ends.set()
        self._thread.join(timeout=2 * self._every_s)  # one that hangs, in a dead Ray say, is left behind

    def _beat(self) -> None:
        while True:
            for task in list(self._tasks):
                self._do(task)
            if self._ends.wait(self._every_s):
                return

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:
            with suppress(OSError):  # the log's disk is full
                traceback.print_exc()
            self._tasks.remove(task)
