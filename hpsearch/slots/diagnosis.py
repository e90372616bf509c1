"""Why an attempt failed: one cause and one sentence of evidence, from an exception or a lost process.

Reports that can't be used are in `report_check.py`.

torch is used only where it is imported already, so that the supervisor can use this module without it.
"""

from __future__ import annotations

import dis
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hpsearch.errors import Cause, Diverged, InvalidConfig
from hpsearch.slots.protocol import Failed
from hpsearch.trainable.argument_errors import argparse_message
from hpsearch.training.user_code import display_path, is_user_code

MAX_EVIDENCE = 500
"""Most characters of an exception's message that are kept."""
GPU_FAULTS = (
    "uncorrectable ecc",
    "unspecified launch failure",
    "gpu has fallen off the bus",
    "nvlink",
    "no cuda-capable device",
    "hardware error",
    "device not ready",
    "unknown error",
)
"""Parts of CUDA's messages that mean that the device, not the program, is at fault."""
PEER_ERRORS = (
    "connection closed by peer",
    "connection reset by peer",
    "gloo",
    "nccl",
    "timed out waiting",
    "recv",
    "broken pipe",
)
"""Parts of the messages that a rank raises when another rank has failed first."""
WATCHDOG = "watchdog caught collective operation timeout"
"""Part of the message that PyTorch prints before it aborts a process whose NCCL operation has timed out."""
FATAL_SIGNALS = {
    "Terminated": int(signal.SIGTERM),
    "Segmentation fault": int(signal.SIGSEGV),
    "Aborted": int(signal.SIGABRT),
    "Bus error": int(signal.SIGBUS),
    "Illegal instruction": int(signal.SIGILL),
    "Floating-point exception": int(signal.SIGFPE),
    "Floating point exception": int(signal.SIGFPE),
}
"""Signal numbers by the name that Python's fault handler prints, or `resident/termination.py`."""


def failure_of(error: BaseException) -> Failed:
    """The failure that an exception of a trainable amounts to."""
    where = user_location(_with_user_code(error).__traceback__)
    cause = _cause_of(error)
    place = None if cause == "killed" else f"{type(error).__name__} at {where}"
    return Failed(cause=cause, evidence=f"{message_of(error)} ({where})", place=place)


def has_returned(error: BaseException) -> bool:
    """Whether an exception only ends the trainable by itself: `sys.exit()` or `sys.exit(0)`, not by a signal."""
    return isinstance(error, SystemExit) and not error.code and _ending_signal(error) is None


def _ending_signal(error: BaseException) -> int | None:
    """The signal whose handler has raised an exception that ends the program; None where it was no signal.

    Training code often sets a handler of SIGTERM that saves its state and calls `sys.exit(0)`.
    """
    if isinstance(error, KeyboardInterrupt):
        return int(signal.SIGINT)
    if not isinstance(error, SystemExit):
        return None
    running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return next((int(n) for n, each in handlers.items() if getattr(each, "__code__", None) in running), None)


def is_secondary(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, only says that another rank did not answer or is gone.

    PyTorch raises a `DistError` for NCCL and its stores, and a plain RuntimeError of C++ code for gloo, which only its
    message distinguishes. What a `raise` statement of Python has raised is neither, whatever its message.
    """
    return any(_is_of_collective(each) for each in _chain(error))


def _is_of_collective(error: BaseException) -> bool:
    known = getattr(sys.modules.get("torch.distributed"), "DistError", None)
    if known is not None and isinstance(error, known):
        return True
    text = _lower_text(error)
    return isinstance(error, RuntimeError) and any(part in text for part in PEER_ERRORS) and not _by_statement(error)


def _by_statement(error: BaseException) -> bool:
    """Whether an exception comes from a `raise` statement of Python, and not from C++ code."""
    last = next(reversed(list(_tracebacks(error.__traceback__))), None)
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _tracebacks(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def is_timeout(failure: Failed) -> bool:
    """Whether the failure of a collective operation is that the rank had waited too long for another one.

    The messages of gloo, of NCCL and of PyTorch's stores say so; there is no type for it.
    """
    text = failure.evidence.lower()
    return "timed out" in text or "timeout" in text


def is_abort_of_watchdog(status: int, log_tail: str) -> bool:
    """Whether PyTorch has ended a process because a collective operation of NCCL had waited too long for other ranks.

    Args:
        status: Its exit status, as `os.waitpid` gives it.
        log_tail: The end of the trial's log.
    """
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT and WATCHDOG in log_tail.lower()


def is_fatal_to_process(error: BaseException) -> bool:
    """Whether an exception makes its process unusable: a CUDA error, except out of memory, breaks the CUDA context."""
    torch = sys.modules.get("torch")
    if torch is None or isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or "cuda error" in _lower_text(error)


def user_location(trace: TracebackType | None) -> str:
    """`file:line in function` of the innermost frame in the user's code, or of any code if none is the user's."""
    frames = traceback.extract_tb(trace)
    if not frames:
        return "an unknown location"
    own = [frame for frame in frames if is_user_code(frame.filename)]
    frame = (own or frames)[-1]
    return f"{display_path(frame.filename)}:{frame.lineno} in {frame.name}"


def _with_user_code(error: BaseException) -> BaseException:
    """The first error in the chain of causes whose traceback has the user's code in it; else the error itself.

    A StopIteration in a generator, for example, arrives as a RuntimeError of the code that asked for the next item.
    """
    return next((each for each in _chain(error) if _has_user_frame(each)), error)


def _has_user_frame(error: BaseException) -> bool:
    return any(is_user_code(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on; each once, since an error may be its own cause."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


def exit_evidence(*, rank: int, pid: int, log_tail: str, status: int | None = None) -> str:
    """One sentence on how a process of a trial ended.

    Args:
        rank: Its rank.
        pid: Its process id.
        log_tail: The end of the trial's log, where Python's fault handler may have written a message.
        status: Its exit status, as `os.waitpid` gives it; None where it is not known.
    """
    fatal = re.findall(r"Fatal Python error: (.+)", log_tail)
    process = f"rank {rank} (process {pid})"
    if status is not None:
        return f"{process} {exit_text(status)}{'; its stack is in the log' if fatal else ''}"
    if not fatal:
        why = "under `isolation: slot` signal 9 and os._exit leave no trace"
        return f"{process} was killed or exited without a message: {why}"
    number = FATAL_SIGNALS.get(fatal[-1].strip())
    return f"{process} was killed by signal {number} ({fatal[-1].strip()}); its stack is in the log"


def exit_text(status: int) -> str:
    """How a process ended, from its exit status as `os.waitpid` gives it.

    Example:
        >>> exit_text(9), exit_text(3 << 8)
        ('was killed by signal 9 (Killed)', 'exited with code 3')
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.strsignal(number)
        return f"was killed by signal {number}{f' ({name})' if name else ''}"
    return f"exited with code {os.WEXITSTATUS(status)}"


def _cause_of(error: BaseException) -> Cause:
    torch: Any = sys.modules.get("torch")
    if isinstance(error, InvalidConfig):
        return "invalid_config"
    if isinstance(error, Diverged):
        return "diverged"
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "oom_gpu"
    if _ending_signal(error) is not None:
        return "killed"
    if isinstance(error, MemoryError):
        return "oom_host"
    if _is_disk_full(error):
        return "disk_full"
    if is_fatal_to_process(error) and any(part in _lower_text(error) for part in GPU_FAULTS):
        return "gpu_fault"
    return "user_error"


def _is_disk_full(error: BaseException) -> bool:
    """Whether a full disk is the error or a cause of it: torch's writer raises "unexpected pos" in that case."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return any(isinstance(each, OSError) and each.errno in full for each in _chain(error))


def message_of(error: BaseException) -> str:
    """The name and the text of an exception in one line; for an exit, what it was called with or argparse's message."""
    number = _ending_signal(error)
    if number is not None:
        return f"signal {number} ({signal.strsignal(number)}) ended it"
    if isinstance(error, SystemExit):
        return _exit_message(error)
    text = " ".join(_text(error).split())
    return f"{type(error).__name__}: {text[:MAX_EVIDENCE]}{_place_of_file(error)}" if text else type(error).__name__


def _place_of_file(error: BaseException) -> str:
    """What to do about a relative path that names no file in the working directory, but one beside the code."""
    name = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not isinstance(name, str) or Path(name).is_absolute():
        return ""
    files = (Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))
    with suppress(OSError):  # the working directory has been deleted, or a folder can't be read
        found = next((file for file in files if is_user_code(str(file)) and (file.parent / name).exists()), None)
        if found is not None:
            return (
                f", looked for in the working directory {Path.cwd()}; it is beside {found.name}: write"
                f" Path(__file__).parent / {name!r}, or start the sweep in {found.parent}"
            )
    return ""


def _lower_text(error: BaseException) -> str:
    return _text(error).lower()


def _text(error: BaseException) -> str:
    """The message of an error; empty where the `__str__` of a user's class raises."""
    try:
        return str(error)
    except Exception:
        return ""


def _exit_message(error: SystemExit) -> str:
    """What `sys.exit` was called with, and the message of argparse where that has called it."""
    if not isinstance(error.code, int):
        return f"it exited with: {' '.join(str(error.code).split())[:MAX_EVIDENCE]}"
    message = argparse_message(error)
    detail = "" if message is None else ": " + "; ".join([message, *getattr(error, "__notes__", ())])
    return f"it exited with code {error.code}{detail[:MAX_EVIDENCE]}"
