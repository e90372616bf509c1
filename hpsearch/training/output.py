"""Output of hpsearch to the trial's log, in a process whose `sys.stdout` and `sys.stderr` belong to the user's code.

Training code may close these two streams, set them to None, or replace them by objects that raise. Nothing of that is a
mistake, so nothing here raises. The log itself is file descriptor 2.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress


def flush_streams() -> None:
    """Flush `sys.stdout` and `sys.stderr`, as far as that is possible."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, None, replaced by an object without `flush`, or the disk is full
            stream.flush()


def write_log(text: str) -> None:
    """Write text to the log, after what the streams hold; without effect where the disk is full."""
    flush_streams()
    with suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))


def log_exception() -> None:
    """Write the exception that is being handled to the log, with its traceback."""
    write_log(traceback.format_exc())
