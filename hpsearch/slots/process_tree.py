"""The processes that a trial has started, however far they went away from it.

A child may leave the process group of its parent (`start_new_session`), and its parent too (a daemon forks twice).
Three things still show whose it is. The process that runs the user's code adopts the orphans among its descendants, so
that all are below it while it lives. After its death, a program that it started has its mark in the environment, and
what it forked without starting a program has the same mark among its maps of memory.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.slots.process_file import Process, TrialProcesses

if TYPE_CHECKING:
    import psutil

MARK = "HPSEARCH_RANK"
"""Environment variable that names the process by which a program was started; and a map of memory of that name."""
PR_SET_CHILD_SUBREAPER = 36
"""Of `prctl`, which Python has no name for."""
MAX_ROUNDS = 5
"""How often marked programs are looked for: one may start another while the first is being ended."""


def claim_descendants() -> None:
    """Make this process the one that its orphaned descendants belong to, and mark what it starts."""
    mark = _mark_of(Process.of(os.getpid()))
    os.environ[MARK] = mark
    with suppress(OSError, AttributeError):  # where the system has no such thing, the environment alone tells
        _marks.append(_map_of(mark))
    become_subreaper()


def become_subreaper() -> None:
    """Make this process the parent of those of its descendants that lose theirs."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> set[int]:
    """Process ids of the children of a process of this machine, zombies included."""
    found: set[int] = set()
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found |= set(map(int, (task / "children").read_text().split()))
    except OSError:  # a kernel without these lists, or a thread that has just ended
        import psutil

        with suppress(psutil.Error):
            found |= {child.pid for child in psutil.Process(pid).children()}
    return found


def descendants_of(pid: int | None = None) -> set[int]:
    """Process ids of all below a process, this one by default."""
    found: set[int] = set()
    waiting = [os.getpid() if pid is None else pid]
    while waiting:
        new = children_of(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def reap() -> None:
    """Take leave of adopted processes that have ended: each keeps its number until its parent has asked for it.

    To be called between two trials, when nobody waits for a child. Whoever does all the same, a library's thread say,
    hears that it has ended, but not how.
    """
    multiprocessing.active_children()  # processes of this module learn how they have ended
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_tree(process: Process) -> None:
    """End a rank of this machine at once, with all that it has started; it may be dead already."""
    import psutil

    below = _below(process)
    if process.is_alive or not psutil.pid_exists(process.pid):  # else its number is another's by now
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # each Ray worker leads its process group
    _end(below)
    for _ in range(MAX_ROUNDS):
        if not (marked := list(_marked(_mark_of(process)))):
            break
        _end(marked)


def kill_ranks(roster: TrialProcesses) -> None:
    """End those ranks of an attempt that are of this machine, where no supervisor lives to do it."""
    for rank in roster.ranks:
        if rank.process.is_here:
            kill_tree(rank.process)


_marks: list[mmap.mmap] = []
"""Held for as long as this process lives."""


def _mark_of(process: Process) -> str:
    return f"{process.pid}-{process.started}"


def _map_of(mark: str) -> mmap.mmap:
    """A page of memory that every forked child inherits, whatever files it closes, with a name in `/proc`."""
    file = os.memfd_create(f"{MARK}={mark}", os.MFD_CLOEXEC)
    try:
        os.truncate(file, mmap.PAGESIZE)
        return mmap.mmap(file, mmap.PAGESIZE)
    finally:
        os.close(file)


def _below(process: Process) -> list[psutil.Process]:
    import psutil

    if not process.is_alive:
        return []
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        found += psutil.Process(process.pid).children(recursive=True)
    return found


def _marked(mark: str) -> Iterator[psutil.Process]:
    """The living processes with this mark; those of other users can't be read, and are not ours."""
    import psutil

    text = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, psutil.Error):
            if text + b"\0" in (folder / "environ").read_bytes() or text + b" " in (folder / "maps").read_bytes():
                yield psutil.Process(int(folder.name))


def _end(processes: list[psutil.Process]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()
