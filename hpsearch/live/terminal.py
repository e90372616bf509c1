"""For a terminal: one screen that is drawn anew once a second, by a thread of its own, while the driver works.

A thread, since the driver is busy for seconds where a search method thinks, and one wants to see just that.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO, final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from hpsearch.live.cells import ASCII_BARS, BARS
from hpsearch.live.frame import Beside, frame
from hpsearch.live.progress import SweepProgress

MAX_HEIGHT = 40
"""Lines of the largest picture: nobody reads more at a glance."""


@final
class Picture:
    """A progress as rich draws it: as much as fits on the console that it is drawn on."""

    def __init__(self, progress: SweepProgress, beside: Callable[[], Beside] = Beside) -> None:
        self._progress, self._beside = progress, beside

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bars = ASCII_BARS if options.ascii_only else BARS
        height = min(console.size.height - 1, MAX_HEIGHT)  # the cursor's line
        lines = frame(self._progress, width=options.max_width, height=height, bars=bars, beside=self._beside())
        for line, style in lines:
            yield Text(line, style=style, no_wrap=True, overflow="crop", end="\n")


@final
class Screen:
    """A context manager: the picture is there for the time of the block."""

    def __init__(self, picture: Picture, console: Console) -> None:
        self._live = Live(picture, console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def draw(self) -> None:
        """Draw it anew; from any thread."""
        self._live.refresh()


PULSE_S = 1.0
IN_A_ROW = 3


@final
class Ticker:
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

    def __enter__(self) -> Ticker:
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


@final
class SafeConsole(Console):
    """A console whose reader may leave: `| head`, a `tee` that was killed."""

    def on_broken_pipe(self) -> None:
        """Say no more; rich would end the process, and the sweep with it."""
        hush(self.file)


def hush(stream: IO[str]) -> None:
    """Have a stream that nobody reads lead nowhere, with what its buffer still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
