"""The display for a terminal: one screen, drawn again once a second by a thread of its own.

It has a thread since the driver may be busy for seconds while a search method computes, and the screen shows that.
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
from hpsearch.live.frame import Extras, frame
from hpsearch.live.progress import SweepProgress

MAX_HEIGHT = 40
"""Lines of the screen at most: more can't be read at a glance."""
TICK_S = 1.0
"""Seconds between two rounds of a `Ticker`."""
MAX_FAILURES = 3
"""Exceptions in a row after which a `Ticker` no longer calls a task."""


@final
class ProgressView:
    """A sweep's progress as an object that rich can render: as much as fits on the console."""

    def __init__(self, progress: SweepProgress, extras: Callable[[], Extras] = Extras) -> None:
        """Prepare; nothing is rendered yet.

        Args:
            progress: Progress of the sweep.
            extras: Returns the present notes and columns besides those of the progress.
        """
        self._progress, self._extras = progress, extras

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bars = ASCII_BARS if options.ascii_only else BARS
        height = min(console.size.height - 1, MAX_HEIGHT)  # the cursor's line
        lines = frame(self._progress, width=options.max_width, height=height, bars=bars, extras=self._extras())
        for line, style in lines:
            yield Text(line, style=style, no_wrap=True, overflow="crop", end="\n")


@final
class Screen:
    """A context manager: the view is on the screen for the duration of the block, then it is erased."""

    def __init__(self, view: ProgressView, console: Console) -> None:
        """Prepare; nothing is drawn yet.

        Args:
            view: What is drawn.
            console: A terminal.
        """
        self._live = Live(view, console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def draw(self) -> None:
        """Draw the view as it is now; may be called from any thread."""
        self._live.refresh()


@final
class Ticker:
    """A context manager: runs tasks once a second in a thread, for the duration of the block.

    A task may raise now and then, since it reads what the main thread is changing. After MAX_FAILURES exceptions in a
    row it is no longer called, and the last exception is written to the sweep's log.
    """

    def __init__(self, tasks: Iterable[Callable[[], None]], *, every_s: float = TICK_S) -> None:
        """Prepare; nothing runs yet.

        Args:
            tasks: Called one after the other, first at once, then every `every_s` seconds.
            every_s: Seconds between two rounds.
        """
        self._failures = dict.fromkeys(tasks, 0)
        self._every_s = every_s
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpsearch-ticker", daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ends.set()
        self._thread.join(timeout=2 * self._every_s)  # a task may hang, in a dead Ray say

    def _run(self) -> None:
        while True:
            for task in list(self._failures):
                self._run_task(task)
            if self._ends.wait(self._every_s):
                return

    def _run_task(self, task: Callable[[], None]) -> None:
        try:
            task()
            self._failures[task] = 0
        except Exception:
            self._failures[task] += 1
            if self._failures[task] < MAX_FAILURES:
                return
            with suppress(OSError):  # the log's disk is full
                traceback.print_exc()
            del self._failures[task]


@final
class SafeConsole(Console):
    """A console whose reader may close the pipe: `| head`, or a `tee` that was killed."""

    def on_broken_pipe(self) -> None:
        """Print nothing more; by default rich ends the process, and the sweep with it."""
        discard_output(self.file)


def discard_output(stream: IO[str]) -> None:
    """Redirect a stream whose reader is gone to the null device, with what its buffer still holds."""
    null_fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_fd, stream.fileno())
    os.close(null_fd)
