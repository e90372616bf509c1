"""Verbs for a sweep that runs elsewhere: read a trial's log as it grows, stop the sweep."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Name, app
from hpsearch.cli.printing import open_ledger, terminal_text
from hpsearch.errors import SweepInUse, UnknownSweep

LOOK_S = 0.2
"""Between two looks at a log, or at whether a sweep has ended."""
PART_BYTES = 2**20
"""Of a log that are in memory at once: some are larger than that."""
STOP_TIMEOUT_S = 45.0
"""Running epochs have 15 s, and the processes of a sweep some seconds more."""


@app.command(epilog="Example: hpsearch logs resnet 7 -f")
def logs(
    words: Annotated[
        list[str], typer.Argument(metavar="[NAME] TRIAL", help="The sweep; default the newest. The trial.")
    ],
    follow: Annotated[bool, typer.Option("-f", help="Go on until the trial, or the sweep, is over.")] = False,
    home: Home = None,
) -> None:
    """Print what a trial has printed."""
    from hpsearch.ledger.lock import is_held
    from hpsearch.ledger.records import UNFINISHED_STATES
    from hpsearch.paths import log_path

    *names, word = words
    if len(names) > 1 or not word.isdecimal():
        raise typer.BadParameter(f"expected [NAME] TRIAL, got {' '.join(words)!r}. Write for example: resnet 7.")
    number = int(word)
    with open_ledger(home) as ledger:
        record = ledger.sweep(names[0] if names else None)
        folder = ledger.home / record.folder
        path = log_path(folder, number)

        def may_grow() -> bool:
            states = {trial.number: trial.state for trial in ledger.trials(record)}
            if number not in states and not path.exists():
                raise UnknownSweep(f"sweep '{record.name}' has no trial {number}. See `hpsearch show {record.name}`.")
            return states.get(number, "queued") in UNFINISHED_STATES and is_held(folder)

        _print_growing(path, may_grow, follow=follow)


@app.command(epilog="Example: hpsearch stop resnet")
def stop(
    name: Name = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the running epochs.")] = False,
    home: Home = None,
) -> None:
    """Stop a sweep that runs on this machine, as Ctrl-C would: it can go on later."""
    from hpsearch.ledger.lock import holder_of, is_held
    from hpsearch.paths import home_option

    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        folder = ledger.home / record.folder
        at = home_option(ledger.home)
    holder = holder_of(folder)
    if holder is None and not is_held(folder):
        print(f"{record.name} does not run.")
        return
    if holder is None or not holder.is_here:
        where = "is just beginning. Try again" if holder is None else f"runs on {holder.host}. Stop it there"
        raise SweepInUse(f"sweep '{record.name}' {where}: hpsearch stop {record.name}.")
    _interrupt(holder.pid, twice=now)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_held(folder):
        if time.monotonic() > deadline:
            raise SweepInUse(f"sweep '{record.name}' has not ended in {STOP_TIMEOUT_S:g} s. Try hpsearch stop --now.")
        time.sleep(LOOK_S)
    print(f"{record.name} has stopped. Go on with it: python -m hpsearch resume {record.name}{at}")


def _interrupt(pid: int, *, twice: bool) -> None:
    try:
        os.kill(pid, signal.SIGINT)
        if twice:
            os.kill(pid, signal.SIGTERM)  # two of a kind are one, to a process that had no time to take in the first
    except ProcessLookupError:  # it came to its end by itself
        return
    except PermissionError:
        raise SweepInUse(f"process {pid} is another user's. Ask them to stop it.") from None


def _print_growing(path: Path, may_grow: Callable[[], bool], *, follow: bool) -> None:
    """Print a file; with `follow`, also what is added to it while it may grow."""
    position, decoder = 0, codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        goes_on = may_grow() and follow  # before the file is read, so that its last words are not missed
        for added in _parts(path, position):
            position += len(added)
            text = decoder.decode(added)
            print(terminal_text(text) if sys.stdout.isatty() else text, end="", flush=True)
        if not goes_on:
            return
        time.sleep(LOOK_S)


def _parts(path: Path, position: int) -> Iterator[bytes]:
    """What stands in a file from a position on, a part at a time; nothing of one that is not there, or is a link."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError:
        return
    with file:
        file.seek(position)
        while added := file.read(PART_BYTES):
            yield added
