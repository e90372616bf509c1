"""What follows from a failed attempt: another attempt, the next trial, or the end of the sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.errors import CAUSE_CLASSES, is_config_fault
from hpsearch.slots.protocol import Failed
from hpsearch.spec.parts import Limits
from hpsearch.text import duration_text, without_numbers

IDENTICAL_FAILURES = 3
"""Identical failures, without a success, after which a sweep gives up."""
COSTLY_S = 600.0
"""Seconds of training in identical failures after which a sweep gives up whatever their number, if they came because
nothing, or not the metric, was reported, and no trial has ever reported the metric."""
INFRA_RETRIES = 3
"""Retries of a trial that the machine has failed, even where `limits.retries` is lower."""
MAX_BEGINS = 12
"""Attempts at one trial that may fail before the first line of the user's code, in all."""
BEGINS_WITHOUT_ONE = 6
"""A sweep gives up after this many of them in a row, times the number of trials that hold a slot."""


@dataclass
class _Identical:
    """Trials that have failed in the same way."""

    count: int = 0
    """Number of these trials."""
    duration_s: float = 0.0
    """Seconds that they have trained, summed over them and their attempts."""


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
        self._identical: dict[tuple[str, str], _Identical] = {}
        """Failed trials by cause and `_kind_of`."""
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

    def note_failure(self, trial: Trial, failure: Failed, *, any_success: bool, any_report: bool) -> str | None:
        """Record a failure that ends the trial.

        A metric that is spelt differently in the spec and in the code ends the sweep at once.

        Args:
            trial: The trial, which has failed.
            failure: Of its last attempt.
            any_success: Whether a trial of the sweep has a result, or one that trains has come further than this one.
            any_report: Whether a trial of the sweep has ever reported the metric.

        Returns:
            Why the sweep should give up, one sentence; None if it should continue.
        """
        if failure.place is not None and failure.place in trial.failure_sites:
            self._permanent_sites.add(failure.place)
        identical = self._note_identical(trial, failure)
        self._num_unknown += CAUSE_CLASSES[failure.cause] == "unknown"
        limit = self._limits.failures
        if limit is not None and failure.cause != "bad_metric":  # which the limit never counts
            count = f"{self._num_unknown} trials failed (limits.failures: {limit}); the last: {failure.evidence}"
            return count if self._num_unknown >= limit else None
        if identical is None or any_success:
            return None
        is_costly = failure.cause == "bad_metric" and identical.duration_s >= COSTLY_S
        is_early = not any_report and (failure.is_misspelling or is_costly)
        if identical.count < IDENTICAL_FAILURES and not is_early:
            return None
        if identical.count == 1:
            why = "others probably would" if failure.is_misspelling else "no trial has reported the metric"
            after = duration_text(trial.duration_s)
            return f"trial {trial.number} failed after {after}, and {why}: {failure.evidence}"
        return f"{identical.count} trials failed in the same way and none succeeded: {failure.evidence}"

    def _note_identical(self, trial: Trial, failure: Failed) -> _Identical | None:
        """The trials that have failed like this one, this one included; None if their number decides nothing."""
        kind = _kind_of(failure, has_reported=trial.epochs > 0)
        if kind is None:
            return None
        identical = self._identical.setdefault((failure.cause, kind), _Identical())
        identical.count += 1
        identical.duration_s += trial.duration_s
        return identical


def _kind_of(failure: Failed, *, has_reported: bool) -> str | None:
    """What is equal for two failures of one cause that one mistake explains; None where a mistake explains none.

    That is the place of an exception, and else the evidence without the numbers that differ from trial to trial. A loss
    that is not finite, memory that is full and a fault of the machine say nothing about the next trial; nor does the
    end of a process that has trained before.
    """
    if failure.cause in ("user_error", "invalid_config"):
        return failure.place or without_numbers(failure.evidence)
    if failure.cause == "bad_metric" or (failure.cause == "killed" and not has_reported):
        return without_numbers(failure.evidence)
    return None
