"""For a terminal: one screen that is drawn anew once a second, by a thread of its own, while the driver works.

A thread, since the driver is busy for seconds where a search method thinks, and one wants to see just that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from hpsearch.live.cells import ASCII_BARS, BARS
from hpsearch.live.frame import Beside, frame
from hpsearch.live.progress import Standing

MAX_HEIGHT = 40
"""Lines of the largest picture: nobody reads more at a glance."""


@final
class Picture:
    """A standing as rich draws it: as much as fits on the console that it is drawn on."""

    def __init__(self, standing: Standing, beside: Callable[[], Beside] = Beside) -> None:
        self._standing, self._beside = standing, beside

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bars = ASCII_BARS if options.ascii_only else BARS
        height = min(console.size.height - 1, MAX_HEIGHT)  # the cursor's line
        lines = frame(self._standing, width=options.max_width, height=height, bars=bars, beside=self._beside())
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
