"""What failed and why: one entry for each attempt that did, and how many there are of each cause; plain data."""

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
from hpsearch.paths import log_path
from hpsearch.text import printable, terminal_text

MAX_TAIL_LINES = 20
MAX_TAIL_BYTES = 4096
"""Of a log that are shown."""

WHAT_FOLLOWS: dict[CauseClass, str] = {
    "config": "never tried again, the search learns to stay away",
    "infra": "tried again, not counted",
    "unknown": "tried again as limits.retries says, then counted",
}


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """One attempt that failed, also of a trial that succeeded later."""

    trial: int
    """The trial's number."""
    attempt: int
    """From 1."""
    cause: Cause
    """Out of the closed list."""
    evidence: str
    """The cause in one sentence."""
    place: str | None
    """`Type at file:line` of an exception."""
    was_retried: bool
    """Whether another attempt followed, or was to follow."""
    state: TrialState
    """How the trial stands now."""
    log: Path
    """The trial's log, of all its attempts."""

    @property
    def cause_class(self) -> CauseClass:
        """What follows from the cause."""
        return CAUSE_CLASSES[self.cause]

    def row(self) -> dict[str, Any]:
        """The columns of the table of failures; reads the end of the log."""
        values = {name: getattr(self, name) for name in ("trial", "attempt", "cause")}
        values |= {"class": self.cause_class, "was_retried": self.was_retried, "state": self.state}
        values |= {"evidence": printable(self.evidence), "place": self.place}
        return values | {"log": str(self.log), "log_tail": log_tail(self.log)}


@dataclass(frozen=True, kw_only=True)
class CauseCount:
    """How often one cause ended an attempt."""

    cause: Cause
    """Out of the closed list."""
    cause_class: CauseClass
    """What follows from it."""
    attempts: int
    """Attempts that failed by it."""
    trials: int
    """Trials that these belong to."""
    final: int
    """Trials that failed by it for good."""


def failed_attempts(
    sweep: SweepRecord, trials: Iterable[TrialRecord], failures: Iterable[FailureRecord], *, home: Path
) -> list[FailedAttempt]:
    """Every attempt that failed, in the order in which they did.

    Args:
        sweep: Whose.
        trials: All of them.
        failures: As the ledger gives them. A trial that failed without one (an early version's) is its own.
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
    """The causes, the most frequent first."""
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
    """The last lines of a log, without what a terminal would obey; empty where there is no such file.

    At most MAX_TAIL_LINES lines and MAX_TAIL_BYTES bytes; a symbolic link, or what is no file, is not read.
    """
    data = b""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
