"""Verbs for a sweep that another process runs: read a trial's log as it grows, stop the sweep."""

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
"""Seconds between two checks of a log, or of whether a sweep has ended."""
PART_BYTES = 2**20
"""Bytes of a log that are read at once, since a log may not fit into memory."""
STOP_TIMEOUT_S = 45.0
"""Seconds that a sweep has to stop: 15 s for running epochs, the rest for its processes."""


@app.command(epilog="Example: python -m hpsearch logs resnet 7 -f")
def logs(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="[NAME] TRIAL", help="Name of the sweep (default: the newest); number of the trial."),
    ],
    follow: Annotated[bool, typer.Option("-f", help="Print new output until the trial or the sweep ends.")] = False,
    home: Home = None,
) -> None:
    """Print the log of a trial."""
    from hpsearch.ledger.lock import is_held
    from hpsearch.ledger.records import UNFINISHED_STATES
    from hpsearch.ledger.sweep_files import check_not_gone
    from hpsearch.paths import home_option, log_path

    *names, trial = arguments
    if len(names) > 1 or not trial.isdecimal():
        raise typer.BadParameter(f"expected [NAME] TRIAL, got {' '.join(arguments)!r}. Write for example: resnet 7.")
    number = int(trial)
    with open_ledger(home) as ledger:
        record = ledger.sweep(names[0] if names else None)
        folder = ledger.home / record.folder
        path = log_path(folder, number)
        check_not_gone(ledger.home, record)

        def may_grow() -> bool:
            states = {trial.number: trial.state for trial in ledger.trials(record)}
            if number not in states and not path.exists():
                at = home_option(ledger.home)
                raise UnknownSweep(
                    f"sweep '{record.name}' has no trial {number}. See `python -m hpsearch show {record.name}{at}`."
                )
            return states.get(number, "queued") in UNFINISHED_STATES and is_held(folder)

        _print_growing(path, may_grow, follow=follow)


@app.command(epilog="Example: python -m hpsearch stop resnet")
def stop(
    name: Name = None,
    now: Annotated[bool, typer.Option("--now", help="Stop at once, without waiting for running epochs.")] = False,
    home: Home = None,
) -> None:
    """Stop a sweep that runs on this machine, as Ctrl-C would. It can be resumed later."""
    from hpsearch.ledger.lock import holder_of, is_held
    from hpsearch.paths import home_option

    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        folder = ledger.home / record.folder
        at = home_option(ledger.home)
    holder = holder_of(folder)
    if holder is None and not is_held(folder):
        print(f"{record.name} is not running.")
        return
    if holder is None or not holder.is_here:
        where = "is just starting. Try again" if holder is None else f"runs on {holder.host}. Stop it there"
        raise SweepInUse(f"sweep '{record.name}' {where}: python -m hpsearch stop {record.name}{at}")
    _interrupt(holder.pid, twice=now)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_held(folder):
        if time.monotonic() > deadline:
            raise SweepInUse(
                f"sweep '{record.name}' did not stop within {STOP_TIMEOUT_S:g} s."
                f" Try: python -m hpsearch stop {record.name} --now{at}"
            )
        time.sleep(LOOK_S)
    print(f"{record.name} has stopped. Resume it: python -m hpsearch resume {record.name}{at}")


def _interrupt(pid: int, *, twice: bool) -> None:
    try:
        os.kill(pid, signal.SIGINT)
        if twice:
            os.kill(pid, signal.SIGTERM)  # two signals of one kind may be delivered as one
    except ProcessLookupError:  # it has ended
        return
    except PermissionError:
        raise SweepInUse(f"process {pid} is another user's. Ask them to stop it.") from None


def _print_growing(path: Path, may_grow: Callable[[], bool], *, follow: bool) -> None:
    """Print a file; with `follow`, also what is added to it while it may grow."""
    position, decoder = 0, codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        continues = may_grow() and follow  # before the file is read, so that its last lines are not missed
        for added in _parts(path, position):
            position += len(added)
            text = decoder.decode(added)
            print(terminal_text(text) if sys.stdout.isatty() else text, end="", flush=True)
        if not continues:
            return
        time.sleep(LOOK_S)


def _parts(path: Path, position: int) -> Iterator[bytes]:
    """The content of a file from a position on, in parts; nothing if the file does not exist."""
    from hpsearch.links import IN_TRIAL, open_file

    try:
        file = os.fdopen(open_file(path, os.O_RDONLY | os.O_NONBLOCK, parts=IN_TRIAL), "rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(position)
        while added := file.read(PART_BYTES):
            yield added
