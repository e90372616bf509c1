"""Whether a sweep comes to its end before nothing is left to do, and why."""

from __future__ import annotations

from typing import final

from hpsearch.engine.status import Waiting
from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.records import SweepState


@final
class Ending:
    """Of one running sweep."""

    def __init__(self, waiting: Waiting) -> None:
        """The sweep goes on until nothing is left to do.

        Args:
            waiting: Is told the reason, since no trial begins any more.
        """
        self.state: SweepState = "done"
        self.reason: str | None = None
        """One sentence; None as long as the sweep goes on."""
        self.mistake: SpecError | None = None
        """What the user has to mend, if the sweep ends for that."""
        self._waiting = waiting

    def give_up(self, problem: Problem) -> None:
        """End the sweep for what the user has to mend."""
        self.mistake = self.mistake or SpecError([problem])
        self.stop("gave_up", problem.message)

    def stop(self, state: SweepState, reason: str) -> None:
        """Start nothing more; what runs is interrupted after its next report. The first reason stays."""
        if self.reason is None:
            self.state, self.reason = state, reason
            self._waiting.tell("engine", "stopping", f"the sweep ends: {reason}")
