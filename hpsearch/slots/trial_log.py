"""The log of a trial: a file that gets all output of its processes, which is redirected at the file descriptors.

In a process that runs many trials Python's `sys.stdout` and `sys.stderr` stay the same objects, so that a logging
handler of one trial still works in the next; only the descriptors 1 and 2 are redirected to another file.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from hpsearch.links import IN_TRIAL, make_folder, open_file
from hpsearch.training.output import flush_streams

LOG_TAIL_BYTES = 16_384
"""Bytes at the end of a log that are read for evidence of how an attempt ended."""


def open_log(path: Path, *, parts: int = IN_TRIAL) -> TextIO:
    """Open a log to append to, in a folder that is made if needed.

    Args:
        path: The file.
        parts: See `links.open_file`.

    Raises:
        LinkRefused: The file or a folder of the sweep that it is in is a link.
        OSError: The file can't be opened.
    """
    make_folder(path.parent, parts=parts - 1)
    file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, parts=parts)
    return os.fdopen(file, "a", buffering=1, encoding="utf-8", errors="backslashreplace")


def log_size(path: Path) -> int:
    """The size of a log in bytes, 0 without a file: what earlier attempts wrote is no evidence for the next one."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def log_tail(path: Path, *, start: int) -> str:
    """The end of what was written to a log after its first `start` bytes; empty where it can't be read."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY | os.O_NONBLOCK, parts=IN_TRIAL), "rb") as file:
            file.seek(max(file.seek(0, 2) - LOG_TAIL_BYTES, start))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def replace_standard_streams() -> None:
    """Set `sys.stdout` and `sys.stderr` to line-buffered streams on descriptors 1 and 2.

    To be called once in a process, before any code of the user's runs.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)


class TrialLog:
    """The open log of one attempt; all ranks of a trial append to the same file.

    Args:
        path: The file.

    Raises:
        OSError: The file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_log(path)
        self._saved = (os.dup(1), os.dup(2))
        faulthandler.enable(file=self._file)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Within the block, all output of this process and its children goes to the log."""
        self._redirect((self._file.fileno(), self._file.fileno()))
        try:
            yield
        finally:
            self._redirect(self._saved)

    def close(self) -> None:
        """Close the file; Python's fault handler writes to stderr again."""
        faulthandler.enable(2)
        for saved in self._saved:
            os.close(saved)
        with suppress(OSError):  # the disk has no room for what is left in the buffer
            self._file.close()

    def _redirect(self, targets: tuple[int, int]) -> None:
        flush_streams()
        for number, target in zip((1, 2), targets, strict=True):
            os.dup2(target, number)
