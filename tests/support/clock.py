"""A clock that tests set, in place of `time.monotonic`."""

from __future__ import annotations


class Clock:
    """Seconds that a test moves by itself; called as a clock is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
