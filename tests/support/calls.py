"""How much work something is, in a number that no machine changes: calls of functions, those in C included."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable


def calls_of(function: Callable[[], object]) -> int:
    """Calls that are made in this thread until `function` returns; a million take about half a second of CPU.

    A module that is imported on the way counts as well: call the function once before, where that is not wanted.
    """
    profile = cProfile.Profile()
    profile.runcall(function)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
