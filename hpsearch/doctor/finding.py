"""What the doctor finds: one sentence, how bad it is, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """What was looked at, one word."""
    state: Literal["ok", "warning", "problem"]
    """A problem keeps sweeps from running, or from ending well."""
    text: str
    """What was found."""
    advice: str | None = None
    """What to do; None where there is nothing to do."""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", text=text)


def warning(check: str, text: str, advice: str | None = None) -> Finding:
    """Sweeps run, but slower, with less, or not for long."""
    return Finding(check=check, state="warning", text=text, advice=advice)


def problem(check: str, text: str, advice: str | None = None) -> Finding:
    """A sweep can't run, or not as it should."""
    return Finding(check=check, state="problem", text=text, advice=advice)


def count_text(number: int, what: str) -> str:
    """A number of things.

    Example:
        >>> count_text(1, "process"), count_text(2, "process"), count_text(0, "folder")
        ('1 process', '2 processes', '0 folders')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


def size_text(num_bytes: float) -> str:
    """A size in the unit that a person would choose.

    Example:
        >>> size_text(3.5 * 2**30), size_text(64 * 2**20), size_text(2**62)
        ('3.5 GiB', '64 MiB', '4194304 TiB')
    """
    if num_bytes >= 1024 * GIB:
        return f"{num_bytes / GIB / 1024:.0f} TiB"
    return f"{num_bytes / GIB:.1f} GiB" if num_bytes >= GIB else f"{num_bytes / MIB:.0f} MiB"
