"""Rules that wrap another one: `SafeRule` for a rule that may raise, `FallbackRule` for one that may not be obeyed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar, final

from hpsearch.errors import in_short
from hpsearch.stopping.rule import Decision, StoppingRule

T = TypeVar("T")


@final
class SafeRule(StoppingRule):
    """Decides as another rule does, until that one raises; from then on no trial is stopped, and paused ones resume.

    So a defect in a rule costs a sweep its early stopping, not its results. `failure` says what was raised.
    """

    def __init__(self, rule: StoppingRule) -> None:
        """Wrap a rule, which has no report yet."""
        self._rule = rule
        self._paused: dict[int, None] = {}  # trials in the order in which they were paused

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The rule's decision; CONTINUE after it raised."""
        self._paused.pop(number, None)
        if self.failure is not None:
            return Decision.CONTINUE
        try:  # not by `_ask`: after a restart, every report of the sweep is replayed through here
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
        """The rule's promotion; after it raised, each trial that it had paused, one with each call."""
        number = self._ask(lambda: self._rule.promote(at_end=at_end), None, "when it was asked for a promotion")
        if self.failure is not None:
            number = next(iter(self._paused), None)
        if number is not None:
            self._paused.pop(number, None)
        return number

    def _ask(self, question: Callable[[], T], default: T, when: str) -> T:
        """The rule's answer; the default if it raises now, or did before."""
        if self.failure is None:
            try:
                return question()
            except Exception as error:
                self._fail(error, when)
        return default

    def _fail(self, error: Exception, when: str) -> None:
        traceback.print_exc()  # goes to the sweep's log
        self.failure = f"the stopping rule raised {in_short(error)} ({when}); no trial is stopped since"


@final
class FallbackRule(StoppingRule):
    """Decides as a rule that pauses does, until a trial can't be paused; then as a rule that stops trials instead.

    A trial can't be paused if it has no checkpoint on disk. Both rules are wrapped in `SafeRule`.
    """

    def __init__(self, rule: StoppingRule, *, fallback: Callable[[], StoppingRule]) -> None:
        """Wrap a rule.

        Args:
            rule: A rule that pauses trials, without any report yet; it may raise.
            fallback: Makes the rule for the same sweep that stops trials instead of pausing them.
        """
        self._rule, self._fallback = SafeRule(rule), fallback
        self._reports: list[tuple[int, int, float]] = []

    @property
    def failure(self) -> str | None:  # type: ignore[override]
        """What the rule raised, in one sentence; None while it decides."""
        return self._rule.failure

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The rule's decision."""
        self._reports.append((number, epoch, loss))
        return self._rule.report(number, epoch, loss)

    def stop_from_now_on(self) -> Decision:
        """Replace the rule by its fallback, which gets all reports so far; its decision on the last of them."""
        self._rule = SafeRule(self._fallback())
        decision = Decision.CONTINUE
        for report in self._reports:
            decision = self._rule.report(*report)
        return decision

    def rungs(self) -> tuple[int, ...]:
        """The rule's rungs."""
        return self._rule.rungs()

    def promote(self, *, at_end: bool = False) -> int | None:
        """The rule's promotion."""
        return self._rule.promote(at_end=at_end)
