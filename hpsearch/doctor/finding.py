"""A line of the doctor's report, and how sizes are written in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB, MIB = 2**30, 2**20
"""Bytes of a GiB and of a MiB."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """The check that found it, one word."""
    state: Literal["ok", "warning", "problem"]
    """A problem keeps a sweep from running as it should; with a warning it runs, but slower or not for long."""
    text: str
    """What was found, in one sentence without a full stop."""
    advice: str | None = None
    """What to do, or the command that does it; None if there is nothing to do."""


def ok(check: str, text: str) -> Finding:
    """A finding that needs no action."""
    return Finding(check=check, state="ok", text=text)


def warning(check: str, text: str, advice: str | None = None) -> Finding:
    """A finding with which a sweep runs, but slower, with fewer devices, or perhaps not to its end."""
    return Finding(check=check, state="warning", text=text, advice=advice)


def problem(check: str, text: str, advice: str | None = None) -> Finding:
    """A finding with which a sweep can't run, or gives wrong results."""
    return Finding(check=check, state="problem", text=text, advice=advice)


def size_text(num_bytes: float) -> str:
    """A number of bytes in MiB, GiB or TiB, the unit that suits its size.

    Example:
        >>> size_text(3.5 * 2**30), size_text(64 * 2**20), size_text(2**62)
        ('3.5 GiB', '64 MiB', '4194304 TiB')
    """
    if num_bytes >= 1024 * GIB:
        return f"{num_bytes / GIB / 1024:.0f} TiB"
    return f"{num_bytes / GIB:.1f} GiB" if num_bytes >= GIB else f"{num_bytes / MIB:.0f} MiB"
