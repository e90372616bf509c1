"""A stopping rule that remembers what it heard, so that one that stops can take over from one that pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from hpsearch.stopping.fallback import Guarded
from hpsearch.stopping.rule import Decision, StoppingRule


@final
class Replaceable(StoppingRule):
    """Another rule's decisions, until a trial turns up that can't be paused: its state is not on disk."""

    def __init__(self, rule: StoppingRule, *, otherwise: Callable[[], StoppingRule]) -> None:
        """Decide by `rule` for now.

        Args:
            rule: Has heard nothing yet; may pause, and may raise.
            otherwise: Makes the rule for the same sweep that stops trials instead.
        """
        self._rule, self._otherwise = Guarded(rule), otherwise
        self._heard: list[tuple[int, int, float]] = []

    @property
    def failure(self) -> str | None:  # type: ignore[override]
        """What the rule raised."""
        return self._rule.failure

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The rule's decision."""
        self._heard.append((number, epoch, loss))
        return self._rule.report(number, epoch, loss)

    def stop_from_now_on(self) -> Decision:
        """The other rule takes over and hears everything; what it says of the last report."""
        self._rule = Guarded(self._otherwise())
        decision = Decision.CONTINUE
        for heard in self._heard:
            decision = self._rule.report(*heard)
        return decision

    def rungs(self) -> tuple[int, ...]:
        """The rule's rungs."""
        return self._rule.rungs()

    def promote(self, *, at_end: bool = False) -> int | None:
        """Whom the rule promotes."""
        return self._rule.promote(at_end=at_end)
