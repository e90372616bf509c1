"""Stopping rules: which trial goes on after a report, which waits, which is over.

A rule lives in the driver, sees losses (lower is better; infinity for a trial that diverged) and is rebuilt after a
restart by hearing the same reports again. It knows nothing of slots, Ray or the ledger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum


class Decision(Enum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


class StoppingRule(ABC):
    """Decides after each report; not safe for threads."""

    @abstractmethod
    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Trial `number` has finished `epoch` (from 1, rising by one) with `loss`; infinity if it diverged there."""

    @abstractmethod
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be stopped, rising; empty if none is ever stopped."""

    def promote(self) -> int | None:
        """The paused trial that should go on now, and counts as running from here; None to start a new one."""
        return None
