"""All processes that a trial has started, also those that have left its process group or lost their parent.

A child may leave the process group of its parent (`start_new_session`), and its parent too (a daemon forks twice).
Three things still show which trial it belongs to. The process that runs the user's code is a child subreaper: it
becomes the parent of its orphaned descendants, so that all are below it in the process tree while it lives. After its
death, a program that it started carries a mark in its environment, and a process that it forked without starting a
program carries the same mark among its memory maps.
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
"""Name of the mark: an environment variable, and a memory map, that name the process of the trial."""
PR_SET_CHILD_SUBREAPER = 36
"""Option of prctl(2), which Python has no name for."""
MAX_ROUNDS = 5
"""How often marked processes are searched: one may start another while the first is being killed."""


def claim_descendants() -> None:
    """Make this process the subreaper of its descendants, and mark them, so that `kill_tree` finds them all."""
    mark = _mark_of(Process.of(os.getpid()))
    os.environ[MARK] = mark
    with suppress(OSError, AttributeError):  # without memfd_create the environment alone has the mark
        _marks.append(_map_of(mark))
    become_subreaper()


def become_subreaper() -> None:
    """Make this process the new parent of descendants whose parent ends (PR_SET_CHILD_SUBREAPER; Linux only)."""
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
    """Process ids of all descendants of a process, by default of this one."""
    found: set[int] = set()
    waiting = [os.getpid() if pid is None else pid]
    while waiting:
        new = children_of(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def reap() -> None:
    """Collect the exit statuses of children that have ended, which otherwise stay as zombies.

    To be called between two trials, when no code waits for a child. Code that waits all the same, for example a thread
    of a library, finds that the child has ended, but not its exit status.
    """
    multiprocessing.active_children()  # multiprocessing collects the exit statuses of its own children here
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_tree(process: Process) -> None:
    """Kill a process of this machine with all processes that it has started; it may have ended already.

    Args:
        process: A process that has called `claim_descendants`, or a Ray worker.
    """
    import psutil

    descendants = _descendants(process)
    belongs_to_another = not process.is_alive and psutil.pid_exists(process.pid)  # the process id was reused
    if not belongs_to_another:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # each Ray worker leads its process group
    _kill(descendants)
    for _ in range(MAX_ROUNDS):
        if not (marked := list(_marked(_mark_of(process)))):
            break
        _kill(marked)


def kill_ranks(processes: TrialProcesses) -> None:
    """Kill the ranks of an attempt that run on this machine; for the driver, where no supervisor is left to do it."""
    for rank in processes.ranks:
        if rank.process.is_here:
            kill_tree(rank.process)


_marks: list[mmap.mmap] = []
"""The memory maps that mark this process; kept until it ends."""


def _mark_of(process: Process) -> str:
    return f"{process.pid}-{process.started}"


def _map_of(mark: str) -> mmap.mmap:
    """A page of memory, named in `/proc`, that every forked child inherits even if it closes all its files."""
    file = os.memfd_create(f"{MARK}={mark}", os.MFD_CLOEXEC)
    try:
        os.truncate(file, mmap.PAGESIZE)
        return mmap.mmap(file, mmap.PAGESIZE)
    finally:
        os.close(file)


def _descendants(process: Process) -> list[psutil.Process]:
    """All descendants of a process; psutil does not kill another process that has got the same process id since."""
    import psutil

    if not process.is_alive:
        return []
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        found += psutil.Process(process.pid).children(recursive=True)
    return found


def _marked(mark: str) -> Iterator[psutil.Process]:
    """The running processes with this mark; those of other users can't be read, and are not the trial's."""
    import psutil

    text = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, psutil.Error):
            if text + b"\0" in (folder / "environ").read_bytes() or text + b" " in (folder / "maps").read_bytes():
                yield psutil.Process(int(folder.name))


def _kill(processes: list[psutil.Process]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()
