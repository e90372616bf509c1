"""The time of day, for people to read.

A clock steps back and ahead: it is corrected, or a virtual machine was paused. So nothing about data is decided by the
time of day. What lasts is measured with `time.monotonic`, and what came first is known from the order of rows and of
the journal's lines. docs/decisions/0057-the-time-of-day.md lists every use.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def seconds_since_1970() -> float:
    """The time of day, in seconds since 1970."""
    return time.time()


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(seconds_since_1970(), UTC)


def local_now() -> datetime:
    """The time of day in the time zone of this machine, which the value does not name."""
    return datetime.fromtimestamp(seconds_since_1970())
