"""What follows from a failed attempt: another attempt, the next trial, or the end of the sweep."""

from __future__ import annotations

from collections import Counter
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.errors import CAUSE_CLASSES, is_config_fault
from hpsearch.slots.protocol import Failed
from hpsearch.spec.parts import Limits

IDENTICAL_FAILURES = 3
"""Identical failures, without a success, after which a sweep gives up."""
INFRA_RETRIES = 3
"""Retries of a trial that the machine has failed, even where `limits.retries` is lower."""
MAX_BEGINS = 12
"""Attempts at one trial that may fail before the first line of the user's code, in all."""
BEGINS_WITHOUT_ONE = 6
"""A sweep gives up after this many of them in a row, times the number of trials that hold a slot."""


@final
class FailurePolicy:
    """Decides on retries and on giving up, from the failures that a sweep has had so far."""

    def __init__(self, limits: Limits) -> None:
        """Begin without failures.

        Args:
            limits: Sets `retries`, `failures` and `trial_time`.
        """
        self._limits = limits
        self._permanent_sites: set[str] = set()
        """Exceptions, with file and line, that have ended two attempts at one trial: no trial is retried for them."""
        self._identical: Counter[str] = Counter()
        """Failed trials by exception and line, for causes that a mistake in the code explains."""
        self._num_unknown = 0
        """Failed trials that count against `limits.failures`."""
        self._without_begin = 0
        """Attempts in a row, of all trials, that could not begin."""

    def may_retry(self, trial: Trial, failure: Failed) -> bool:
        """Whether the trial gets another attempt.

        It does not where the configuration is the cause, where its time or its retries are used up, or where the same
        exception at the same line has ended an earlier attempt at it, or two attempts at another trial.
        """
        limit = self._limits.trial_time_s
        is_infra = CAUSE_CLASSES[failure.cause] == "infra"
        failures = trial.machine_failures if is_infra else trial.failures
        allowed = max(self._limits.retries, INFRA_RETRIES) if is_infra else self._limits.retries
        is_out_of_time = limit is not None and trial.duration_s >= limit
        if is_config_fault(failure.cause) or is_out_of_time or failures >= allowed:
            return False
        return failure.place is None or failure.place not in trial.failure_sites | self._permanent_sites

    def note_begin(self) -> None:
        """Record that an attempt has reached the user's code."""
        self._without_begin = 0

    def note_no_begin(self, failure: Failed, *, num_running: int, any_trains: bool) -> str | None:
        """Record an attempt that failed before the first line of the user's code; it counts against no trial.

        Args:
            failure: The failure.
            num_running: Trials that hold a slot, this one included.
            any_trains: Whether one of them has finished an epoch in its present attempt.

        Returns:
            Why the sweep should give up, one sentence; None if it should continue.
        """
        self._without_begin += 1
        if any_trains or self._without_begin < BEGINS_WITHOUT_ONE * max(num_running, 1):
            return None
        return f"{self._without_begin} attempts in a row could not begin, whatever the trial: {failure.evidence}"

    def note_retry(self, trial: Trial, failure: Failed) -> None:
        """Record a failure that is followed by another attempt at the trial."""
        is_infra = CAUSE_CLASSES[failure.cause] == "infra"
        trial.machine_failures += is_infra
        trial.failures += not is_infra
        trial.failure_sites |= {failure.place} if failure.place else set()

    def note_failure(self, trial: Trial, failure: Failed, *, any_success: bool) -> str | None:
        """Record a failure that ends the trial.

        Args:
            trial: The trial, which has failed.
            failure: Of its last attempt.
            any_success: Whether a trial of the sweep has a result.

        Returns:
            Why the sweep should give up, one sentence; None if it should continue.
        """
        if failure.place is not None and failure.place in trial.failure_sites:
            self._permanent_sites.add(failure.place)
        if failure.cause in ("user_error", "invalid_config"):
            self._identical[failure.place or failure.evidence] += 1
        self._num_unknown += CAUSE_CLASSES[failure.cause] == "unknown"
        limit = self._limits.failures
        if limit is not None:
            count = f"{self._num_unknown} trials failed (limits.failures: {limit}); the last: {failure.evidence}"
            return count if self._num_unknown >= limit else None
        if any_success or max(self._identical.values(), default=0) < IDENTICAL_FAILURES:
            return None
        return f"{IDENTICAL_FAILURES} trials failed in the same way and none succeeded: {failure.evidence}"
