"""The verb that shows a running sweep from another terminal, without importing Ray, torch or pandas."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hpsearch.cli.app import Home, Name, app
from hpsearch.cli.printing import open_ledger, print_json

if TYPE_CHECKING:
    from hpsearch.live.follower import LedgerFollower
    from hpsearch.live.usage import Measurement, Meter

LOOK_S = 1.0
"""Seconds between two frames."""
FIRST_LOOK_S = 0.5
"""Seconds over which CPU usage is measured for a single frame."""


@app.command(epilog="Example: python -m hpsearch watch resnet")
def watch(
    name: Name = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one frame as JSON and exit.")] = False,
    home: Home = None,
) -> None:
    """Show a sweep that runs in another terminal, and what its trials use of this machine, until it ends."""
    from hpsearch.live.follower import LedgerFollower
    from hpsearch.live.usage import Meter

    with open_ledger(home) as ledger, suppress(KeyboardInterrupt):
        follower, meter = LedgerFollower(ledger, ledger.sweep(name)), Meter()
        if once or as_json:
            _look(follower, meter)
            time.sleep(FIRST_LOOK_S if follower.is_running else 0.0)
            _print_frame(follower, _look(follower, meter), as_json=as_json)
        elif not follower.is_running or not sys.stdout.isatty():
            _follow_in_lines(follower)
        else:
            _follow_on_screen(follower, meter)


def _look(follower: LedgerFollower, meter: Meter) -> Measurement:
    follower.refresh()
    return meter.measure(follower.processes, None if follower.recorded is None else follower.recorded.driver)


def _print_frame(follower: LedgerFollower, measured: Measurement, *, as_json: bool) -> None:
    from hpsearch.live.frame import frame, screen_size
    from hpsearch.live.watch_view import usage_extras, watch_dict

    if as_json:
        print_json(watch_dict(follower, measured))
        return
    width, height = screen_size()
    for line, _ in frame(follower.progress, width=width, height=height - 1, extras=usage_extras(follower, measured)):
        print(line)


def _follow_in_lines(follower: LedgerFollower) -> None:
    """Print a line for each trial that ends, as a sweep itself does in a pipe."""
    from hpsearch.live.lines import Lines

    lines = Lines(follower.progress, lambda line: print(line, flush=True))
    while follower.is_running:
        time.sleep(LOOK_S)
        follower.refresh(lines.on_end)
    _print_end(follower)


def _follow_on_screen(follower: LedgerFollower, meter: Meter) -> None:
    from rich.console import Console

    from hpsearch.live.terminal import ProgressView, Screen
    from hpsearch.live.watch_view import usage_extras

    measured = _look(follower, meter)
    picture = ProgressView(follower.progress, lambda: usage_extras(follower, measured))
    with Screen(picture, Console(highlight=False)) as screen:
        while follower.is_running:
            screen.draw()
            time.sleep(LOOK_S)
            measured = _look(follower, meter)
    _print_end(follower)


def _print_end(follower: LedgerFollower) -> None:
    from hpsearch.live.progress import headline
    from hpsearch.text import printable

    print(printable(f"{follower.record.name} {follower.state_text}"))
    print(headline(follower.progress))
