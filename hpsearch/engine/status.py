"""Whether a sweep ends, and why no trial begins at the moment.

Only state that displays read belongs here: `StopState` is set once and for all, `IdleReasons` changes all the time. The
driver's main thread writes both, and the thread that draws the display reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final, get_args

from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.records import SweepState
from hpsearch.time_of_day import seconds_since_1970

IdleKind = Literal["stopping", "disk", "searcher", "place", "elsewhere", "rung", "begun"]
"""Kinds of reasons, the most important first: what holds up the whole sweep hides what holds up one trial.

stopping: the sweep is ending. disk: it is full. searcher: the search method is computing a configuration. place: Ray
has no free resources, or is still starting the slot. elsewhere: another sweep is training the same trial. rung: paused
trials wait for those that run. begun: there is no trial left to begin.
"""
Source = Literal["engine", "disk", "ray"]
"""Parts of the driver that know such reasons; each has at most one at a time."""


@dataclass(frozen=True, kw_only=True)
class IdleReason:
    """One reason why no trial begins."""

    kind: IdleKind
    """Its kind, by which reasons are ranked."""
    text: str
    """One sentence without a full stop."""
    since: float
    """Time of day in seconds since 1970 at which `source` first gave a reason of this kind."""


@final
class IdleReasons:
    """The present reasons why no trial begins, at most one from each source."""

    def __init__(self, clock: Callable[[], float] = seconds_since_1970) -> None:
        """Begin without a reason.

        Args:
            clock: Time of day in seconds since 1970.
        """
        self._clock = clock
        self._reasons: dict[Source, IdleReason] = {}

    def set(self, source: Source, kind: IdleKind, text: str) -> None:
        """Replace the reason of `source`; its time is kept if the reason before was of the same kind.

        Args:
            source: The part of the driver that knows the reason.
            kind: The kind of reason.
            text: One sentence without a full stop.
        """
        known = self._reasons.get(source)
        since = known.since if known is not None and known.kind == kind else self._clock()
        if known is None or (known.kind, known.text) != (kind, text):
            self._reasons = {**self._reasons, source: IdleReason(kind=kind, text=text, since=since)}

    def clear(self, source: Source) -> None:
        """Remove the reason of `source`, if it has one."""
        if source in self._reasons:
            self._reasons = {key: reason for key, reason in self._reasons.items() if key != source}

    @property
    def current(self) -> IdleReason | None:
        """The most important reason; None if there is none."""
        return min(self._reasons.values(), key=lambda reason: get_args(IdleKind).index(reason.kind), default=None)


@final
class StopState:
    """Whether a running sweep is to end, in which state, and why."""

    def __init__(self, idle_reasons: IdleReasons) -> None:
        """Begin with a sweep that runs until nothing is left to do.

        Args:
            idle_reasons: Gets the reason of the end, since no trial begins any more.
        """
        self.state: SweepState = "done"
        """State that the sweep will have in the ledger."""
        self.reason: str | None = None
        """Why it ends, one sentence without a full stop; None as long as it runs."""
        self.mistake: SpecError | None = None
        """What the user has to correct, if the sweep ends for that."""
        self._idle_reasons = idle_reasons

    def give_up(self, problem: Problem) -> None:
        """End the sweep because of a mistake that the user has to correct; the first one is kept."""
        self.mistake = self.mistake or SpecError([problem])
        self.stop("gave_up", problem.message)

    def stop(self, state: SweepState, reason: str) -> None:
        """Begin no more trials, and interrupt each running one after its next report; the first reason is kept.

        Args:
            state: The state that the sweep will have in the ledger.
            reason: Why it ends, one sentence without a full stop.
        """
        if self.reason is None:
            self.state, self.reason = state, reason
            self._idle_reasons.set("engine", "stopping", f"the sweep ends: {reason}")
