"""A message for the user of a sweep in which a trial has trained for long and no trial has reported anything yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

from hpsearch.engine.registry import Trials
from hpsearch.spec.parts import Metric
from hpsearch.text import duration_text

SILENCE_S = 600.0
"""Seconds of training without a report after which the user is asked whether the trainable reports at all."""
CHECK_EVERY_S = 5.0
"""Seconds between two looks at the trials."""


@final
class SilenceWatch:
    """Says once that a trial has not reported for SILENCE_S, unless a trial of the sweep has ever reported."""

    def __init__(
        self, metric: Metric, trials: Trials, *, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin; no trial has been seen yet.

        Args:
            metric: What is to be reported.
            trials: The sweep's trials, read at each look.
            say: Shows a message to the user; called once at most.
            clock: Seconds that never go back.
        """
        self._metric, self._trials, self._say, self._clock = metric, trials, say, clock
        self._since: dict[tuple[int, int], float] = {}
        """Attempts that run, as (number of the trial, attempt), and when they were first seen in a slot."""
        self._checked_at: float | None = None
        self._is_over = False

    def tick(self) -> None:
        """Look at the trials if the last look is at least CHECK_EVERY_S seconds old; to be called often."""
        now = self._clock()
        if self._is_over or (self._checked_at is not None and now - self._checked_at < CHECK_EVERY_S):
            return
        self._checked_at = now
        self._is_over = self._trials.any_trained
        if self._is_over:
            return
        running = [self._trials[number] for number in sorted(self._trials.running)]
        keys = [(trial.number, trial.attempts) for trial in running if trial.slot is not None]
        self._since = {key: self._since.get(key, now) for key in keys}
        longest = min(self._since, key=self._since.__getitem__, default=None)
        if longest is not None and now - self._since[longest] >= SILENCE_S:
            self._is_over = True
            self._say(
                f"Trial {longest[0]} has trained for {duration_text(now - self._since[longest])} without a report."
                f" If an epoch is shorter than that: call {self._metric.report_call} once an epoch."
            )
