"""The trials of one running sweep: the state that the parts of the engine share.

Only state belongs here. `queue.py` decides which trial is next, `outcomes.py` what follows from an event.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, ValuesView
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import TRAINABLE_STATES

RECHECK_S = 1.0
"""Seconds after which a deferred trial is offered again."""


@final
class Trials(Mapping[int, Trial]):
    """All trials of a sweep by number, and which of them are running, deferred, or due for more training.

    Numbers count from 1 without gaps. Not safe for several threads that write; one that only reads is safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without trials.

        Args:
            clock: Seconds that never go back.
        """
        self.running: set[int] = set()
        """Trials that hold a slot."""
        self.deferred: dict[int, float] = {}
        """Trials that another process is training, each with the clock's time at which to check again."""
        self.to_retry: deque[int] = deque()
        """Trials that get another attempt, in the order in which they were requeued."""
        self.to_extend: dict[int, None] = {}
        """Trials that were done under a lower `limits.epochs` and continue under the present one; an ordered set."""
        self._by_number: dict[int, Trial] = {}
        self._clock = clock

    def __getitem__(self, number: int) -> Trial:
        return self._by_number[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_number)

    def __len__(self) -> int:
        return len(self._by_number)

    def values(self) -> ValuesView[Trial]:
        """The trials in the order in which they were added; the dictionary's own view, which is faster."""
        return self._by_number.values()

    def add(self, trial: Trial) -> None:
        """Register a trial under its number; to register the same one again changes nothing."""
        self._by_number[trial.number] = trial

    def defer(self, number: int) -> None:
        """Offer trial `number` again in RECHECK_S seconds, since another process is training the same trial now."""
        self.deferred[number] = self._clock() + RECHECK_S

    def pop_due(self) -> Trial | None:
        """Remove and return the first deferred trial that is due; None if none is."""
        now = self._clock()
        number = next((number for number, due in self.deferred.items() if due <= now), None)
        if number is None:
            return None
        del self.deferred[number]
        return self[number]

    @property
    def is_idle(self) -> bool:
        """Whether no trial holds a slot and none is deferred."""
        return not self.running and not self.deferred

    @property
    def num_paused(self) -> int:
        """Trials that are paused at a rung."""
        return sum(trial.state == "paused" for trial in self.values())

    @property
    def any_succeeded(self) -> bool:
        """Whether a trial has a result: it is done, stopped, reused or paused at a rung."""
        return any(trial.state in TRAINABLE_STATES for trial in self.values())

    def any_beyond(self, epochs: int) -> bool:
        """Whether a trial that has not failed has finished more epochs than this."""
        return any(trial.epochs > epochs and trial.state != "failed" for trial in self.values())

    @property
    def any_trained(self) -> bool:
        """Whether a trial has finished an epoch in a slot of this sweep, in this run or an earlier one."""
        return any(trial.epochs and trial.ran_in_slot for trial in self.values())
