"""Ranks that the others wait for in vain: the state of their processes, and the line of the user's code they are at.

Only processes of this machine can be examined. Those of other machines are named without either.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hpsearch.slots.process_file import Process
from hpsearch.slots.trial_log import log_size, log_tail
from hpsearch.training.user_code import display_path, is_user_code

STOPPED = "T"
"""State of a process that a signal, in most cases SIGSTOP, has stopped."""
STATES = {
    STOPPED: "its process is stopped by a signal (SIGSTOP)",
    "t": "its process is stopped by a debugger",
    "D": "its process waits for a disk or a device",
}
"""What a state of a process means, for those states in which no code runs."""
ABORT_S = 2.0
"""Most seconds to wait until an aborted process has written its stack and ended."""
FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)
"""One line of a stack as Python's fault handler writes it."""


def process_state(pid: int) -> str | None:
    """The state of a process of this machine, one letter as `ps` shows it; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def is_stopped(process: Process) -> bool:
    """Whether a process of this machine is stopped by a signal."""
    return process_state(process.pid) == STOPPED and process.is_alive


def abort_late_ranks(processes: Mapping[int, Process], *, log: Path, working_dir: str, in_actor: bool) -> str:
    """End the processes of ranks that the others wait for, with their stacks in the log of the trial.

    If some of them are stopped, these alone are named, because the others may wait for them too.

    Args:
        processes: Process of each late rank.
        log: The log of the trial.
        working_dir: Folder that paths are shown relative to.
        in_actor: Whether the processes are Ray's actors. A thread of Ray's takes the signal there, so that one that is
            stopped would train on before it wrote its stack; it is only described.

    Returns:
        One clause for each rank that is named: `rank 1 (process 812): its process is stopped by a signal (SIGSTOP), at
        train.py:14 in train`.
    """
    stopped = {rank: process for rank, process in processes.items() if is_stopped(process)}
    return ", ".join(
        f"rank {rank} (process {process.pid}): {_abort(process, log=log, working_dir=working_dir, in_actor=in_actor)}"
        for rank, process in (stopped or processes).items()
    )


def _abort(process: Process, *, log: Path, working_dir: str, in_actor: bool) -> str:
    """Abort a process; returns its state before, and the line of the user's code that it was at."""
    if not process.is_here:
        return "its process is on another machine"
    state = STATES.get(process_state(process.pid) or "", "its process runs")
    if in_actor and is_stopped(process):
        return state
    start = log_size(log)
    if process.is_alive:
        with suppress(OSError, ValueError):
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))  # no core dump
        with suppress(ProcessLookupError, PermissionError):
            _signal_main_thread(process.pid, signal.SIGABRT)  # Python's fault handler writes all stacks to the log
            os.kill(process.pid, signal.SIGCONT)
    deadline = time.monotonic() + ABORT_S
    while process_state(process.pid) not in (None, "Z", "X") and time.monotonic() < deadline:
        time.sleep(0.02)
    place = _user_frame(log_tail(log, start=start), working_dir)
    return state if place is None else f"{state}, at {place}; its stack is in the log"


def _signal_main_thread(pid: int, number: int) -> None:
    """Send a signal that the main thread handles before it runs on; another thread would let it leave its line."""
    tgkill = getattr(ctypes.CDLL(None), "tgkill", None)  # in glibc since 2.30
    if tgkill is None or tgkill(pid, pid, number) != 0:
        os.kill(pid, number)


def _user_frame(stacks: str, working_dir: str) -> str | None:
    """`file:line in function` of the innermost frame of the user's code in the current thread, or in any thread."""
    _, found, current = stacks.partition("\nCurrent thread ")
    for text in (current.partition("\n\n")[0] if found else "", stacks):
        frames: Sequence[re.Match[str]] = list(FRAME.finditer(text))
        frame = next((each for each in frames if is_user_code(each["file"])), None)
        if frame is not None:
            return f"{display_path(frame['file'], working_dir)}:{frame['line']} in {frame['function']}"
    return None
