"""What follows from a failure: another attempt, the next trial, or the end of the sweep."""

from __future__ import annotations

from collections import Counter
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.errors import CAUSE_CLASSES, is_config_fault
from hpsearch.slots.protocol import Failed
from hpsearch.spec.parts import Limits

IDENTICAL_FAILURES = 3
"""A sweep gives up after so many identical failures without a success."""
INFRA_RETRIES = 3
"""Further attempts at a trial whose machine failed it, whatever `limits.retries` says."""


@final
class FailurePolicy:
    """Remembers the failures of one sweep."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._hopeless: set[str] = set()
        self._identical: Counter[str] = Counter()
        self._counted = 0

    def may_retry(self, trial: Trial, failure: Failed) -> bool:
        """Whether the trial is tried again; the same exception at the same line only once in a whole sweep."""
        limit = self._limits.trial_time_s
        is_infra = CAUSE_CLASSES[failure.cause] == "infra"
        allowed = max(self._limits.retries, INFRA_RETRIES) if is_infra else self._limits.retries
        is_out_of_time = limit is not None and trial.duration_s >= limit
        if is_config_fault(failure.cause) or is_out_of_time or trial.failures >= allowed:
            return False
        return failure.place is None or failure.place not in trial.failure_sites | self._hopeless

    def retried(self, trial: Trial, failure: Failed) -> None:
        """The trial will be tried again."""
        trial.failures += 1
        trial.failure_sites |= {failure.place} if failure.place else set()

    def failed(self, trial: Trial, failure: Failed, *, any_success: bool) -> str | None:
        """The trial has failed for good; why the sweep should give up, None if it should go on."""
        if failure.place is not None and failure.place in trial.failure_sites:
            self._hopeless.add(failure.place)
        if failure.cause in ("user_error", "invalid_config"):
            self._identical[failure.place or failure.evidence] += 1
        self._counted += CAUSE_CLASSES[failure.cause] == "unknown"
        limit = self._limits.failures
        if limit is not None:
            counts = f"{self._counted} trials failed (limits.failures: {limit}); the last: {failure.evidence}"
            return counts if self._counted >= limit else None
        if any_success or max(self._identical.values(), default=0) < IDENTICAL_FAILURES:
            return None
        return f"{IDENTICAL_FAILURES} trials failed in the same way and none succeeded: {failure.evidence}"
