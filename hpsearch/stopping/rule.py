"""The interface of stopping rules, and the rule that never stops a trial.

A rule runs in the driver. It sees losses (lower is better; infinity for a trial that diverged) and does not depend on
slots, Ray or the ledger. After a restart, a new rule gets the same reports in the same order and makes the same
decisions. A diverged trial is over, and worse than all others: it changes no decision on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import final


class Decision(Enum):
    """What happens to a trial after a report."""

    CONTINUE = "continue"
    """It trains its next epoch."""
    STOP = "stop"
    """It is over."""
    PAUSE = "pause"
    """It keeps its checkpoint and frees its slot, until `promote` returns it."""


class StoppingRule(ABC):
    """Decides after each report whether a trial continues; not safe for use by several threads."""

    failure: str | None = None
    """What the rule raised, in one sentence; None while the rule decides."""

    @abstractmethod
    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """Decide on a trial that has finished an epoch.

        Args:
            number: The trial's number, from 1.
            epoch: The epoch that it finished; from 1, rising by one with each report of the trial.
            loss: Its loss there; infinity if it diverged.
        """

    @abstractmethod
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial may be paused or stopped, rising; empty if after none, or after any."""

    def rungs_of(self, number: int) -> tuple[int, ...]:
        """Those of `rungs` at which trial `number` is compared."""
        return self.rungs()

    def promote(self, *, at_end: bool = False) -> int | None:
        """The paused trial to resume now, which counts as running from here; None to start a new trial instead.

        After a restart it may return a trial that runs already (promoted before, without a report since): call again.

        Args:
            at_end: Whether no trial runs and none is left to start. Trials that are still paused after a None are over.
        """
        return None


@final
class NoStopping(StoppingRule):
    """Lets every trial run to its last epoch (`early_terminate: none`)."""

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """CONTINUE, whatever the loss."""
        return Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """Always empty."""
        return ()
