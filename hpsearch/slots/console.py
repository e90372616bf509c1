"""What a trial prints goes to its log: Python's streams and the file descriptors below them."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


class TrialLog:
    """The open `log.txt` of one attempt; the ranks of a trial append to the same file."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.fdopen(
            os.open(path, flags, 0o644), "a", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        self._saved = (os.dup(1), os.dup(2))
        faulthandler.enable(file=self._file)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Everything that this process and its children print lands in the log."""
        sys.stdout.flush()
        sys.stderr.flush()
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)
        try:
            with redirect_stdout(self._file), redirect_stderr(self._file):
                yield
        finally:
            self._file.flush()
            for number, saved in zip((1, 2), self._saved, strict=True):
                os.dup2(saved, number)

    def note(self, text: str) -> None:
        """One line of our own."""
        print(f"hpsearch: {text}", file=self._file)

    def close(self) -> None:
        """Let go of the file; the fault handler goes back to stderr."""
        faulthandler.enable()
        for saved in self._saved:
            os.close(saved)
        self._file.close()
