"""From an exception, a lost process or a bad report to one cause and one sentence of evidence.

torch is looked up only where it is imported already, so that the supervisor can use this module too.
"""

from __future__ import annotations

import errno
import math
import numbers
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from hpsearch.errors import Cause, Diverged, InvalidConfig
from hpsearch.slots.protocol import Failed
from hpsearch.text import writable
from hpsearch.training.user_code import display_path, is_user_code

MAX_EVIDENCE = 500
"""Characters of an exception's message that are kept."""
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
"""What CUDA says when the device, not the program, is at fault."""
PEER_ERRORS = (
    "connection closed by peer",
    "connection reset by peer",
    "gloo",
    "nccl",
    "timed out waiting",
    "recv",
    "broken pipe",
)
"""What a rank says when another rank failed first."""
FATAL_SIGNALS = {
    "Segmentation fault": int(signal.SIGSEGV),
    "Aborted": int(signal.SIGABRT),
    "Bus error": int(signal.SIGBUS),
    "Illegal instruction": int(signal.SIGILL),
    "Floating-point exception": int(signal.SIGFPE),
    "Floating point exception": int(signal.SIGFPE),
}
"""What Python's fault handler calls them."""


def failure_of(error: BaseException) -> Failed:
    """The cause of an exception that came out of a trainable."""
    where = user_location(_users_own(error).__traceback__)
    return Failed(
        cause=_cause_of(error), evidence=f"{_message(error)} ({where})", place=f"{type(error).__name__} at {where}"
    )


def is_secondary(error: BaseException) -> bool:
    """Whether this exception only says that another rank failed first."""
    return isinstance(error, RuntimeError | OSError) and any(words in _said(error) for words in PEER_ERRORS)


def is_fatal_to_process(error: BaseException) -> bool:
    """Whether the process can't be trusted with another trial: a CUDA error other than out of memory stays for good."""
    torch = sys.modules.get("torch")
    if torch is None or isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or "cuda error" in _said(error)


def user_location(trace: TracebackType | None) -> str:
    """`file:line in function` of the innermost frame in the user's own code; of any code if there is none."""
    frames = traceback.extract_tb(trace)
    if not frames:
        return "an unknown place"
    own = [frame for frame in frames if is_user_code(frame.filename)]
    frame = (own or frames)[-1]
    return f"{display_path(frame.filename)}:{frame.lineno} in {frame.name}"


def _users_own(error: BaseException) -> BaseException:
    """The error itself, or the nearest one behind it that came through the user's own code.

    A generator's StopIteration, say, arrives as a RuntimeError of whoever asked for the next row.
    """
    return next((each for each in _and_behind(error) if _is_through_users_code(each)), error)


def _is_through_users_code(error: BaseException) -> bool:
    return any(is_user_code(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))


def _and_behind(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it, each once: `raise error from error` makes it its own cause."""
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        yield behind
        seen.add(id(behind))
        behind = behind.__cause__ or behind.__context__


def exit_evidence(*, rank: int, pid: int, log_tail: str, status: int | None = None) -> str:
    """One sentence on a process of a trial that is gone.

    Args:
        rank: The rank that it was.
        pid: Its process id.
        log_tail: The end of the trial's log, where the C library and Python's fault handler may have left a word.
        status: As `os.waitpid` gives it; None where another process than ours was its parent.
    """
    fatal = re.findall(r"Fatal Python error: (.+)", log_tail)
    who = f"rank {rank} (process {pid})"
    if status is not None:
        return f"{who} {exit_text(status)}{'; its stack is in the log' if fatal else ''}"
    if not fatal:
        return f"{who} was killed or left without a word: signal 9 and os._exit leave no trace"
    number = FATAL_SIGNALS.get(fatal[-1].strip())
    return f"{who} was killed by signal {number} ({fatal[-1].strip()}); its stack is in the log"


def exit_text(status: int) -> str:
    """How a process ended, of the status that `os.waitpid` gives.

    Example:
        >>> exit_text(9), exit_text(3 << 8)
        ('was killed by signal 9 (Killed)', 'left with exit code 3')
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.strsignal(number)
        return f"was killed by signal {number}{f' ({name})' if name else ''}"
    return f"left with exit code {os.WEXITSTATUS(status)}"


def check_metrics(row: object, *, objective: str) -> dict[str, float] | Failed:
    """The numbers of a report, or why it can't be used.

    Args:
        row: What the trainable yielded. Numbers of any kind are taken: bool, numpy scalars, 0-d tensors; nested maps
            are flattened with `/`; what is not a number is left out.
        objective: Name of the metric that must be among them, and finite.
    """
    if not isinstance(row, Mapping):
        return Failed(cause="bad_metric", evidence=f"reported {_shown(row)}, needed a dict with {objective}")
    metrics = {name: number for name, value in _flat(row).items() if (number := as_number(value)) is not None}
    if objective not in metrics:
        known = _flat(row)
        found = (
            f"{objective} = {_shown(known[objective])}, which is no number"
            if objective in known
            else f"[{', '.join(known)}]"
        )
        return Failed(cause="bad_metric", evidence=f"reported {found}, needed {objective}")
    if not math.isfinite(metrics[objective]):
        return Failed(cause="diverged", evidence=f"{objective} is {metrics[objective]}")
    return {writable(name): value for name, value in metrics.items() if math.isfinite(value)}


def as_number(value: object) -> float | None:
    """A float of anything that is one number; None of anything else."""
    if isinstance(value, numbers.Real):  # bool, int, float, numpy scalars
        try:
            return float(value)
        except OverflowError:
            return math.inf  # an int beyond any float: as good as diverged
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # 0-d tensors and arrays
        item = value.item()
        return float(item) if isinstance(item, numbers.Real) else None
    return None


def _cause_of(error: BaseException) -> Cause:
    torch: Any = sys.modules.get("torch")
    if isinstance(error, InvalidConfig):
        return "invalid_config"
    if isinstance(error, Diverged):
        return "diverged"
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "oom_gpu"
    if isinstance(error, MemoryError):
        return "oom_host"
    if _is_disk_full(error):
        return "disk_full"
    if is_fatal_to_process(error) and any(words in _said(error) for words in GPU_FAULTS):
        return "gpu_fault"
    return "user_error"


def _is_disk_full(error: BaseException) -> bool:
    """Also where it hides behind another error: torch's writer answers a full disk with "unexpected pos"."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return any(isinstance(each, OSError) and each.errno in full for each in _and_behind(error))


def _flat(row: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return _exit_message(error)
    text = " ".join(_text(error).split())
    return f"{type(error).__name__}: {text[:MAX_EVIDENCE]}" if text else type(error).__name__


def _said(error: BaseException) -> str:
    return _text(error).lower()


def _text(error: BaseException) -> str:
    """What it says; nothing where the user's own class fails to say it."""
    try:
        return str(error)
    except Exception:
        return ""


def _exit_message(error: SystemExit) -> str:
    """How `sys.exit` was called, and argparse's message where that made it leave."""
    if not isinstance(error.code, int):
        return f"it left with: {' '.join(str(error.code).split())[:MAX_EVIDENCE]}"
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    messages = (
        frame.f_locals.get("message")
        for frame in frames
        if frame.f_globals.get("__name__") == "argparse" and frame.f_code.co_name == "error"
    )
    said = next((f": {message}" for message in messages), "")
    return f"it left with exit code {error.code}{said[:MAX_EVIDENCE]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
