"""A stopping rule that may raise, and a sweep that goes on all the same: from then on nobody is stopped."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar, final

from hpsearch.errors import in_short
from hpsearch.stopping.rule import Decision, StoppingRule

T = TypeVar("T")


@final
class SafeRule(StoppingRule):
    """Another rule's decisions until it raises; then every trial goes on to its end, those that it paused too."""

    def __init__(self, rule: StoppingRule) -> None:
        self._rule = rule
        self._paused: dict[int, None] = {}

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The rule's decision; goes on after it raised."""
        self._paused.pop(number, None)
        if self.failure is not None:
            return Decision.CONTINUE
        try:  # not by `_ask`: a restart comes by here with every report of the sweep
            decision = self._rule.report(number, epoch, loss)
        except Exception as error:
            self._fail(error, f"at epoch {epoch} of trial {number}")
            return Decision.CONTINUE
        if decision is Decision.PAUSE:
            self._paused[number] = None
        return decision

    def rungs(self) -> tuple[int, ...]:
        """The rule's rungs; none after it raised."""
        return self._ask(self._rule.rungs, (), "when it was asked for its rungs")

    def promote(self, *, at_end: bool = False) -> int | None:
        """Whom the rule promotes; after it raised, everybody whom it paused, one after the other."""
        number = self._ask(lambda: self._rule.promote(at_end=at_end), None, "when it was asked for a promotion")
        if self.failure is not None:
            number = next(iter(self._paused), None)
        if number is not None:
            self._paused.pop(number, None)
        return number

    def _ask(self, question: Callable[[], T], otherwise: T, when: str) -> T:
        if self.failure is None:
            try:
                return question()
            except Exception as error:
                self._fail(error, when)
        return otherwise

    def _fail(self, error: Exception, when: str) -> None:
        traceback.print_exc()  # goes to the sweep's log
        self.failure = f"the stopping rule raised {in_short(error)} ({when}); no trial is stopped since"


@final
class FallbackRule(StoppingRule):
    """Another rule's decisions, until a trial turns up that can't be paused: its state is not on disk."""

    def __init__(self, rule: StoppingRule, *, otherwise: Callable[[], StoppingRule]) -> None:
        """Decide by `rule` for now.

        Args:
            rule: Has heard nothing yet; may pause, and may raise.
            otherwise: Makes the rule for the same sweep that stops trials instead.
        """
        self._rule, self._otherwise = SafeRule(rule), otherwise
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
        self._rule = SafeRule(self._otherwise())
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
