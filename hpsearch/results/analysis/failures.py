"""Lists failed attempts with their causes, and counts them by cause; data for tables."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.errors import CAUSE_CLASSES, Cause, CauseClass
from hpsearch.ledger.records import FailureRecord, SweepRecord, TrialRecord, TrialState
from hpsearch.links import IN_TRIAL, open_file
from hpsearch.paths import log_path
from hpsearch.text import printable, terminal_text

MAX_TAIL_LINES = 20
"""Lines at the end of a log that are shown at most."""
MAX_TAIL_BYTES = 4096
"""Bytes at the end of a log that are shown at most."""

WHAT_FOLLOWS: dict[CauseClass, str] = {
    "config": "not retried, the search learns to avoid such configurations",
    "infra": "retried, not counted",
    "unknown": "retried as limits.retries says, then counted",
}
"""What hpsearch does after a failure of each class, as tables say it."""


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """An attempt that failed, also of a trial that succeeded later."""

    trial: int
    """The trial's number."""
    attempt: int
    """Counted from 1."""
    cause: Cause
    """Why it failed."""
    evidence: str
    """What led to the cause, in one sentence."""
    place: str | None
    """Where an exception was raised, as `Type at file:line`; None for other failures."""
    was_retried: bool
    """Whether another attempt followed, or was to follow."""
    state: TrialState
    """State of the trial now."""
    log: Path
    """The trial's log, with the output of all its attempts."""

    @property
    def cause_class(self) -> CauseClass:
        """The class of the cause, which decides what happens next."""
        return CAUSE_CLASSES[self.cause]

    def row(self) -> dict[str, Any]:
        """One row of the table of failures, see `columns.FAILURES`; reads the end of the log."""
        values = {name: getattr(self, name) for name in ("trial", "attempt", "cause")}
        values |= {"class": self.cause_class, "was_retried": self.was_retried, "state": self.state}
        values |= {"evidence": printable(self.evidence), "place": self.place}
        return values | {"log": str(self.log), "log_tail": log_tail(self.log)}


@dataclass(frozen=True, kw_only=True)
class CauseCount:
    """How many attempts failed by one cause."""

    cause: Cause
    """The cause."""
    cause_class: CauseClass
    """Its class."""
    attempts: int
    """Attempts that failed by it."""
    trials: int
    """Trials with such an attempt."""
    final: int
    """Trials that failed for good by it."""


def failed_attempts(
    sweep: SweepRecord, trials: Iterable[TrialRecord], failures: Iterable[FailureRecord], *, home: Path
) -> list[FailedAttempt]:
    """The failed attempts of a sweep, in the order in which they failed.

    Args:
        sweep: The sweep.
        trials: All its trials.
        failures: As the ledger gives them. A failed trial without one, as early versions left it, gives an attempt too.
        home: Folder of the ledger.
    """
    by_number = {trial.number: trial for trial in trials}
    known = [failure for failure in failures if failure.number in by_number]
    silent = by_number.keys() - {failure.number for failure in known}
    known += [_of_trial(by_number[number]) for number in sorted(silent) if by_number[number].state == "failed"]
    return [
        FailedAttempt(
            trial=failure.number,
            attempt=failure.attempt,
            cause=failure.cause,
            evidence=failure.evidence,
            place=failure.place,
            was_retried=failure.was_retried,
            state=by_number[failure.number].state,
            log=log_path(home / sweep.folder, failure.number),
        )
        for failure in known
    ]


def count_by_cause(attempts: Iterable[FailedAttempt]) -> list[CauseCount]:
    """Counts of each cause, the most frequent first."""
    attempts = list(attempts)
    counts = Counter(attempt.cause for attempt in attempts)
    return [
        CauseCount(
            cause=cause,
            cause_class=CAUSE_CLASSES[cause],
            attempts=count,
            trials=len({each.trial for each in attempts if each.cause == cause}),
            final=sum(each.cause == cause and each.state == "failed" and not each.was_retried for each in attempts),
        )
        for cause, count in counts.most_common()
    ]


def log_tail(path: Path) -> str:
    """The last lines of a log, without control characters; empty if it can't be read.

    At most MAX_TAIL_LINES lines and MAX_TAIL_BYTES bytes. Symbolic links, and all but regular files, are not read.
    """
    data = b""
    with suppress(OSError):
        number = open_file(path, os.O_RDONLY | os.O_NONBLOCK, parts=IN_TRIAL)
        with os.fdopen(number, "rb") as file:
            size = os.fstat(number).st_size
            if stat.S_ISREG(os.fstat(number).st_mode):
                file.seek(max(size - MAX_TAIL_BYTES, 0))
                data = file.read(MAX_TAIL_BYTES)
    text = data.decode("utf-8", errors="replace")
    if len(data) == MAX_TAIL_BYTES:
        text = text.partition("\n")[2] or text  # the first line was cut
    return "\n".join(terminal_text(text).rstrip().splitlines()[-MAX_TAIL_LINES:])


def _of_trial(trial: TrialRecord) -> FailureRecord:
    assert trial.cause is not None
    evidence = trial.evidence or ""
    return FailureRecord(
        number=trial.number, attempt=trial.attempts, cause=trial.cause, evidence=evidence, place=None, was_retried=False
    )
