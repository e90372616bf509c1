"""Why no trial begins: whoever knows a reason tells it here, whoever shows a sweep asks here.

Three know one: the engine (the search method, rungs, other sweeps), the disk's room, and the bridge to Ray (places).
Each has one reason at a time. Told by the driver's main thread, read by the thread that draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final, get_args

from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.records import SweepState

Kind = Literal["stopping", "disk", "searcher", "place", "elsewhere", "rung", "begun"]
"""The weightiest first: one that holds up the whole sweep hides one that holds up a trial."""
Source = Literal["engine", "room", "ray"]


@dataclass(frozen=True, kw_only=True)
class IdleReason:
    """One reason."""

    kind: Kind
    """stopping: the sweep comes to its end. disk: it is full. searcher: the search method thinks. place: Ray has none
    free, or has not started it yet. elsewhere: another sweep trains the same now. rung: paused trials wait for those
    that run. begun: there is no trial left to begin."""
    words: str
    """One sentence without a full stop."""
    since: float
    """Time of day, seconds since 1970."""


@final
class IdleReasons:
    """The reasons of now."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Nothing waits.

        Args:
            clock: Time of day in seconds since 1970.
        """
        self._clock = clock
        self._waits: dict[Source, IdleReason] = {}

    def set(self, source: Source, kind: Kind, words: str) -> None:
        """`source` has this reason now, and no other; the time counts from when it first had one of this kind."""
        known = self._waits.get(source)
        since = known.since if known is not None and known.kind == kind else self._clock()
        if known is None or (known.kind, known.words) != (kind, words):
            self._waits = {**self._waits, source: IdleReason(kind=kind, words=words, since=since)}

    def clear(self, source: Source) -> None:
        """`source` has none any more."""
        if source in self._waits:
            self._waits = {key: wait for key, wait in self._waits.items() if key != source}

    @property
    def current(self) -> IdleReason | None:
        """The weightiest reason; None if nothing waits."""
        return min(self._waits.values(), key=lambda wait: get_args(Kind).index(wait.kind), default=None)


@final
class StopState:
    """Of one running sweep."""

    def __init__(self, idle_reasons: IdleReasons) -> None:
        """The sweep goes on until nothing is left to do.

        Args:
            idle_reasons: Is told the reason, since no trial begins any more.
        """
        self.state: SweepState = "done"
        self.reason: str | None = None
        """One sentence; None as long as the sweep goes on."""
        self.mistake: SpecError | None = None
        """What the user has to mend, if the sweep ends for that."""
        self._idle_reasons = idle_reasons

    def give_up(self, problem: Problem) -> None:
        """End the sweep for what the user has to mend."""
        self.mistake = self.mistake or SpecError([problem])
        self.stop("gave_up", problem.message)

    def stop(self, state: SweepState, reason: str) -> None:
        """Start nothing more; what runs is interrupted after its next report. The first reason stays."""
        if self.reason is None:
            self.state, self.reason = state, reason
            self._idle_reasons.set("engine", "stopping", f"the sweep ends: {reason}")
