"""Waiting in tests: for a condition, with an end that no machine reaches however busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 240.0
"""After so long something hangs; below the time-out of a test, so that its line is named."""
LOOK_EVERY_S = 0.05


def until(look: Callable[[], T], *, patience_s: float = PATIENCE_S, every_s: float = LOOK_EVERY_S) -> T:
    """What `look` gives as soon as it is true; the test fails if that is never."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"in {patience_s:g} s it never came true"
        time.sleep(every_s)
    return found
