"""Every exception that hpsearch raises on purpose; nothing here imports anything but the standard library.

HpsearchError
├── SpecError        the user's spec (or trainable) is wrong; every mistake at once; also a ValueError; exit code 2
├── SweepExists      a sweep of that name is in the ledger already; exit code 2
├── UnknownSweep     no such sweep, or no sweep at all; exit code 2
├── LedgerError      the storage can't be read or written; exit code 5
├── SweepInUse       another process runs this sweep; exit code 6
├── RayGone          the Ray that the sweep ran on died and can't be started again from here; exit code 1
├── InvalidConfig    raised by a trainable: this configuration can't be trained (cause `invalid_config`)
└── Diverged         raised by a trainable: its loss is not finite any more (cause `diverged`)
Interrupted          a KeyboardInterrupt: a signal came before the first trial began; exit code 130 or 143
TrialStopped         a BaseException: raised inside a plain function's `report` when its trial is over
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

MAX_MESSAGE = 200
"""Characters of another library's message that are shown."""


class HpsearchError(Exception):
    """The root: `except hpsearch.HpsearchError` catches all that hpsearch raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a spec, in one sentence: where, what is wrong, what was found, what to write."""

    where: tuple[str | int, ...]
    """Keys from the top of the spec to the mistake, for example `("parameters", "lr", "min")`; empty for the whole."""
    message: str
    """What is wrong, what was found and what to write; ends with a full stop."""
    file: str | None = None
    """The spec's file as the user wrote its path."""
    line: int | None = None
    """Line in `file`, counted from 1."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        keys = ".".join(str(key) for key in self.where)
        return f"{place}{keys}: {self.message}" if keys else f"{place}{self.message}"

    def at(self, *, file: str, line: int | None) -> Problem:
        """The same mistake with its place in a file."""
        return replace(self, file=file, line=line)


class SpecError(HpsearchError, ValueError):
    """The user's mistakes, all of them, found before anything was started or written."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        found = (Problem(where=(), message=problems),) if isinstance(problems, str) else tuple(problems)
        self.problems: tuple[Problem, ...] = found
        super().__init__("\n".join(str(problem) for problem in found))


class SweepExists(HpsearchError):
    """A sweep of that name is in the ledger already."""

    exit_code = 2


class UnknownSweep(HpsearchError):
    """The ledger has no sweep of that name, or none at all."""

    exit_code = 2


class LedgerError(HpsearchError):
    """The ledger can't be opened, read or written; the message says what to do."""

    exit_code = 5


class SweepInUse(HpsearchError):
    """Another process runs this sweep; the message names it."""

    exit_code = 6


class RayGone(HpsearchError):
    """The Ray that the sweep ran on died and can't be started again from here; the sweep can go on later."""


class InvalidConfig(HpsearchError):
    """Raise this in a trainable when a configuration can't be trained at all.

    The trial fails with cause `invalid_config`: it is never tried again and the searcher learns to stay away.

    Example:
        >>> raise InvalidConfig("width 30 does not divide into 4 groups")
        Traceback (most recent call last):
            ...
        hpsearch.errors.InvalidConfig: width 30 does not divide into 4 groups
    """


class Diverged(HpsearchError):
    """Raise it in a trainable whose loss is NaN or infinite: nothing after it is worth its time.

    The trial fails with cause `diverged`: it is not retried, and the searcher learns to stay away. `fit` raises it.
    """


class Interrupted(KeyboardInterrupt):
    """A signal came before the first trial began, so there is nothing to go on with."""

    def __init__(self, exit_code: int) -> None:
        """Remember what the process should exit with: 130 after Ctrl-C, 143 after SIGTERM."""
        super().__init__("Interrupted before a trial began.")
        self.exit_code = exit_code


class TrialStopped(BaseException):
    """The trial is over: raised in a function or script from its next `hpsearch.report`, so that `finally` blocks run.

    A BaseException, because training loops tend to catch `Exception`.
    """


def in_short(error: BaseException) -> str:
    """Kind and first line of what somebody else's code raised.

    Example:
        >>> in_short(RuntimeError("singular matrix"))
        'RuntimeError: singular matrix'
    """
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:MAX_MESSAGE].rstrip(": ")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known word, or an empty text when none is near.

    Example:
        >>> did_you_mean("optunna", ["grid", "optuna"])
        " Did you mean 'optuna'?"
    """
    from difflib import get_close_matches  # here, since the happy path never needs it

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


Cause = Literal[
    "invalid_config", "oom_gpu", "diverged", "bad_metric",
    "gpu_fault", "node_lost", "disk_full",
    "user_error", "killed", "hung", "oom_host", "rank_lost",
]  # fmt: skip


CauseClass = Literal["config", "infra", "unknown"]
CAUSE_CLASSES: Mapping[Cause, CauseClass] = {
    "invalid_config": "config", "oom_gpu": "config", "diverged": "config", "bad_metric": "config",
    "gpu_fault": "infra", "node_lost": "infra", "disk_full": "infra",
    "user_error": "unknown", "killed": "unknown", "hung": "unknown", "oom_host": "unknown", "rank_lost": "unknown",
}  # fmt: skip
"""The class decides what follows: config is never retried and told as infeasible; infra is retried and teaches nothing;
unknown is retried, counted, and told as infeasible once final. Config alone moves the searcher's fence."""
