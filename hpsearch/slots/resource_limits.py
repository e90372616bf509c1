"""The resource limits of this process (`ulimit`): what they were, and how they are restored."""

from __future__ import annotations

import resource
from contextlib import suppress

Limits = tuple[tuple[int, int], ...]
"""Soft and hard limit for each of LIMITS."""
LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))
"""All resource limits that this system has."""


def read_limits() -> Limits:
    """The present limits of this process."""
    return tuple(map(resource.getrlimit, LIMITS))


def restore_limits(limits: Limits) -> bool:
    """Restore limits that were read before; returns False if some can't be, since only root raises a hard limit.

    Each of those gets the highest soft limit that its hard limit allows, and at most its own.
    """
    for number, wanted in zip(LIMITS, limits, strict=True):
        if resource.getrlimit(number) == wanted:
            continue
        with suppress(OSError, ValueError):
            resource.setrlimit(number, wanted)
            continue
        with suppress(OSError, ValueError):
            resource.setrlimit(number, _within(wanted[0], resource.getrlimit(number)[1]))
    return read_limits() == limits


def _within(soft: int, hard: int) -> tuple[int, int]:
    unlimited = resource.RLIM_INFINITY
    return (hard if soft == unlimited or (hard != unlimited and soft > hard) else soft), hard
