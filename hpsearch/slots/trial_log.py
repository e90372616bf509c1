"""What a trial prints goes to its log: everything that this process and its children write to their descriptors.

Python's streams stay the same objects for the life of a rank, so that a logging handler that one trial has set up still
works in the next; only the descriptors below them lead to another file.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

LOG_TAIL_BYTES = 16_384
"""Of a log, read as evidence of how an attempt ended."""


def open_log(path: Path) -> TextIO:
    """Open a log to append to; a symbolic link in its place is refused.

    Raises:
        OSError: It can't be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "a", buffering=1, encoding="utf-8", errors="backslashreplace")


def log_size(path: Path) -> int:
    """Bytes that a log has now: what earlier attempts wrote is no evidence for the next."""
    return path.stat().st_size if path.exists() else 0


def log_tail(path: Path, *, start: int) -> str:
    """The end of what was written to a log after its first `start` bytes; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - LOG_TAIL_BYTES, start))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def replace_standard_streams() -> None:
    """Put plain line-buffered streams on descriptors 1 and 2; once in a rank, before any code of the user's runs."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)


class TrialLog:
    """The open `log.txt` of one attempt; the ranks of a trial append to the same file."""

    def __init__(self, path: Path) -> None:
        """Open the log; raises OSError where it can't be."""
        self._file = open_log(path)
        self._saved = (os.dup(1), os.dup(2))
        faulthandler.enable(file=self._file)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Everything that this process and its children print lands in the log."""
        self._lead((self._file.fileno(), self._file.fileno()))
        try:
            yield
        finally:
            self._lead(self._saved)

    def note(self, text: str) -> None:
        """One line of our own."""
        print(f"hpsearch: {text}", file=self._file)

    def close(self) -> None:
        """Let go of the file; the fault handler goes back to stderr."""
        faulthandler.enable()
        for saved in self._saved:
            os.close(saved)
        with suppress(OSError):  # what is left in its buffer has no room on the disk
            self._file.close()

    def _lead(self, targets: tuple[int, int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the disk is full
                stream.flush()
        for number, target in zip((1, 2), targets, strict=True):
            os.dup2(target, number)
