"""Waiting in tests: for a condition, with a limit that no machine reaches, however busy it is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 240.0
"""After this time something hangs; less than the time limit of a test, so that the failure names the line."""
POLL_INTERVAL_S = 0.05


def until(
    look: Callable[[], T],
    *,
    patience_s: float = PATIENCE_S,
    every_s: float = POLL_INTERVAL_S,
    ignore: tuple[type[Exception], ...] = (),
    process: subprocess.Popen[Any] | None = None,
    output: Callable[[], str] = str,
) -> T:
    """Call `look` until its result is true, and return that result.

    Args:
        look: The condition; called at least once.
        patience_s: The test fails if the condition is not true after this time.
        every_s: Pause between two calls.
        ignore: Exceptions of `look` that mean "not yet".
        process: The process that shall make the condition true; the test fails at once if it ends before.
        output: Called for the message of a failure: what the process has printed.

    Raises:
        AssertionError: The time is over, or the process has ended.
    """
    deadline = time.monotonic() + patience_s
    while True:
        has_ended = process is not None and process.poll() is not None
        try:
            if found := look():
                return found
        except ignore:
            pass
        assert not has_ended, f"the process ended before the condition was true: {output()}"
        assert time.monotonic() < deadline, f"the condition was not true within {patience_s:g} s: {output()}"
        time.sleep(every_s)


def becomes_true(look: Callable[[], object], *, within_s: float) -> bool:
    """Whether a condition is true at some moment of the next `within_s` seconds; returns as soon as it is."""
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True
