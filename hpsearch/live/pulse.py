"""A thread that does small things once a second while the main thread runs a sweep."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import final

PULSE_S = 1.0
IN_A_ROW = 3


@final
class Pulse:
    """A context manager; what raises IN_A_ROW times is written to the sweep's log, once, and not done again.

    It may raise now and then: it looks at what the main thread is changing.
    """

    def __init__(self, tasks: Iterable[Callable[[], None]], *, every_s: float = PULSE_S) -> None:
        """Prepare.

        Args:
            tasks: Done one after the other, at once and then every `every_s` seconds; the last time at the end.
            every_s: Seconds between two rounds.
        """
        self._failures = dict.fromkeys(tasks, 0)
        self._every_s = every_s
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
            for task in list(self._failures):
                self._do(task)
            if self._ends.wait(self._every_s):
                return

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
            self._failures[task] = 0
        except Exception:
            self._failures[task] += 1
            if self._failures[task] < IN_A_ROW:
                return
            with suppress(OSError):  # the log's disk is full
                traceback.print_exc()
            del self._failures[task]
