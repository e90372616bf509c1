"""Files, pipes and sockets that trials leave open, counted so that the next trial finds as many free as the first."""

from __future__ import annotations

import resource
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import final

OPEN = Path("/proc/self/fd")
"""Has an entry for each open descriptor of this process."""
MAX_GROWTH = 32
"""Descriptors that may be open beyond those that the first trial has left: caches, and connections of Ray."""


@final
class OpenFiles:
    """The number of open descriptors of this process when it was made.

    What the first trial leaves open may be a cache for all trials, so it is accepted up to half of what was free. They
    are not closed here, since they may belong to Ray, or to an object that closes them later.
    """

    def __init__(self) -> None:
        self._clean = _num_open()
        self._accepted: int | None = None
        """Open descriptors after the first trial."""

    def find(self) -> list[str]:
        """A sentence if trials have left too many descriptors open; to be called after each trial."""
        num_open = _num_open()
        half_of_free = (self._clean + resource.getrlimit(resource.RLIMIT_NOFILE)[0]) // 2
        if self._accepted is None:
            self._accepted = num_open
        if num_open <= min(self._accepted + MAX_GROWTH, half_of_free):
            return []
        return [f"{num_open - self._clean} files, pipes or sockets are still open{_example()}"]


def _num_open() -> int:
    """The number of open descriptors; the limit if not one is free to count them, and 0 on systems without /proc."""
    try:
        return len(list(OPEN.iterdir()))
    except FileNotFoundError:
        return 0
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _example() -> str:
    """What the most descriptors are open for, as a part of a sentence: what leaks is opened again and again."""
    targets: Counter[str] = Counter()
    with suppress(OSError):
        for each in OPEN.iterdir():
            with suppress(OSError):  # it is the folder itself, or was closed by another thread
                targets[str(each.readlink())] += 1
    most = targets.most_common(1)
    return f", most of them {most[0][0]}" if most and most[0][1] > 1 else ""
