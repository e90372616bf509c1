"""The processes that a rank has started, however far they went away from it.

A child may leave the process group of its parent (`start_new_session`), and its parent too (a daemon forks twice). Two
things still tell whose it is. A rank adopts the orphans among its descendants, so that all are below it while it lives;
and every program that it starts inherits a mark in the environment, which is there after its death.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.slots.roster import Process, Roster

if TYPE_CHECKING:
    import psutil

MARK = "HPSEARCH_RANK"
"""Environment variable that names the rank by which a program was started."""
PR_SET_CHILD_SUBREAPER = 36
"""Of `prctl`, which Python has no name for."""
MAX_ROUNDS = 5
"""How often marked programs are looked for: one may start another while the first is being ended."""


def adopt() -> None:
    """Make this process the one that its orphaned descendants belong to, and mark what it starts."""
    os.environ[MARK] = _mark_of(Process.of(os.getpid()))
    with suppress(OSError, AttributeError):  # where the system has no such thing, the mark alone tells
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury() -> None:
    """Take leave of adopted processes that have ended: each keeps its number until its parent has asked for it.

    To be called between two trials, when nobody waits for a child. Whoever does all the same, a library's thread say,
    hears that it has ended, but not how.
    """
    multiprocessing.active_children()  # processes of this module learn how they have ended
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_family(process: Process) -> None:
    """End a rank of this machine at once, with all that it has started; it may be dead already.

    What a rank that was killed had forked into another session, without starting a program, is not found.
    """
    import psutil

    below = _below(process)
    if process.lives or not psutil.pid_exists(process.pid):  # else its number is another's by now
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # each Ray worker leads its process group
    _end(below)
    for _ in range(MAX_ROUNDS):
        if not (marked := list(_marked(_mark_of(process)))):
            break
        _end(marked)


def end_ranks(roster: Roster) -> None:
    """End those ranks of an attempt that are of this machine, where no supervisor lives to do it."""
    for rank in roster.ranks:
        if rank.process.is_here:
            end_family(rank.process)


def _mark_of(process: Process) -> str:
    return f"{process.pid}-{process.started}"


def _below(process: Process) -> list[psutil.Process]:
    import psutil

    if not process.lives:
        return []
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        found += psutil.Process(process.pid).children(recursive=True)
    return found


def _marked(mark: str) -> Iterator[psutil.Process]:
    """The living programs with this mark; those of other users can't be read, and are not ours."""
    import psutil

    words = f"{MARK}={mark}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, psutil.Error):
            if words in (folder / "environ").read_bytes():
                yield psutil.Process(int(folder.name))


def _end(processes: list[psutil.Process]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()
