"""What every stopping rule can do.

A rule lives in the driver, sees losses (lower is better; infinity for a trial that diverged) and is rebuilt after a
restart by hearing the same reports again. It knows nothing of slots, Ray or the ledger. A trial that diverged is over,
and worse than all others: it changes no verdict on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import final


class Decision(Enum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


class StoppingRule(ABC):
    """Decides after each report; not safe for threads."""

    failure: str | None = None
    """What the rule raised, in one sentence; None as long as it is the one that decides."""

    @abstractmethod
    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Trial `number` has finished `epoch` (from 1, rising by one) with `loss`; infinity if it diverged there."""

    @abstractmethod
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be paused or stopped, rising; empty if after none, or after any."""

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """Those of `rungs` that are there for trial `number`."""
        return self.rungs()

    def promote(self, *, at_end: bool = False) -> int | None:
        """The paused trial that should go on now, and counts as running from here; None to start a new one.

        After a restart it may name a trial that runs already (it was promoted, and has not reported since): ask again.

        Args:
            at_end: No trial runs and none is left to start. Whoever is paused after a None is over.
        """
        return None


@final
class NoStopping(StoppingRule):
    """Every trial goes on to its end."""

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Goes on."""
        return Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """None."""
        return ()
