"""Every exception that hpsearch raises on purpose, and the causes for which trials fail.

Only the standard library is imported here, so that every other module can import this one.

HpsearchError
├── SpecError        the user's spec (or trainable) is wrong; lists every mistake; also a ValueError; exit code 2
├── SweepExists      a sweep of that name is in the ledger already; exit code 2
├── UnknownSweep     no such sweep, or no sweep at all; exit code 2
├── LedgerError      the storage can't be read or written; exit code 5
│   └── LinkRefused  a file or folder below the home folder is a symbolic link; also an OSError; exit code 5
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

Cause = Literal[
    "invalid_config", "oom_gpu", "diverged", "bad_metric",
    "gpu_fault", "node_lost", "disk_full",
    "user_error", "killed", "hung", "oom_host", "rank_lost",
]  # fmt: skip
"""Why an attempt at a trial failed."""

CauseClass = Literal["config", "infra", "unknown"]
"""What follows from a cause of failure.

- `config`: the configuration's own fault. Never retried; reported to the searcher as infeasible, and the failure model
  learns from it.
- `infra`: the machine's fault. Retried; the searcher learns nothing.
- `unknown`: retried as `limits.retries` says; after that it counts for `limits.failures` and is reported to the
  searcher as infeasible.
"""

CAUSE_CLASSES: Mapping[Cause, CauseClass] = {
    "invalid_config": "config", "oom_gpu": "config", "diverged": "config", "bad_metric": "config",
    "gpu_fault": "infra", "node_lost": "infra", "disk_full": "infra",
    "user_error": "unknown", "killed": "unknown", "hung": "unknown", "oom_host": "unknown", "rank_lost": "unknown",
}  # fmt: skip
"""The class of each cause."""

_CONFIG_FAULTS = frozenset(cause for cause, kind in CAUSE_CLASSES.items() if kind == "config")


def is_config_fault(cause: str | None) -> bool:
    """Whether a failure is the configuration's own fault, so that training it again would fail again.

    Args:
        cause: One of `Cause`. None and unknown texts, as a table from elsewhere may have, are not its fault.

    Example:
        >>> is_config_fault("oom_gpu"), is_config_fault("gpu_fault"), is_config_fault(None)
        (True, False, False)
    """
    return cause in _CONFIG_FAULTS


class HpsearchError(Exception):
    """Base class: `except hpsearch.HpsearchError` catches everything that hpsearch raises on purpose."""

    exit_code = 1
    """Exit code of a command that ends with this error."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a spec: where it is, what is wrong, what was found, what to write."""

    where: tuple[str | int, ...]
    """Keys from the top of the spec to the mistake, for example `("parameters", "lr", "min")`; empty for the whole."""
    message: str
    """What is wrong, what was found and what to write; ends with a full stop."""
    file: str | None = None
    """The spec's file as the user wrote its path."""
    line: int | None = None
    """Line in `file`, counted from 1."""

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        keys = ".".join(str(key) for key in self.where)
        return f"{location}{keys}: {self.message}" if keys else f"{location}{self.message}"

    def at(self, *, file: str, line: int | None) -> Problem:
        """The same mistake with the file and the line where it is."""
        return replace(self, file=file, line=line)


class SpecError(HpsearchError, ValueError):
    """All mistakes of a spec, found before anything was started or written."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        """Collect the mistakes.

        Args:
            problems: At least one; a text is one mistake of the whole spec.
        """
        found = (Problem(where=(), message=problems),) if isinstance(problems, str) else tuple(problems)
        self.problems: tuple[Problem, ...] = found
        """The mistakes; each has `where` (its keys), `message`, `file` and `line`."""
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


class LinkRefused(LedgerError, OSError):
    """A file or folder below the home folder is a symbolic link, which is not followed; the message names both ends."""


class SweepInUse(HpsearchError):
    """Another process runs this sweep; the message names it."""

    exit_code = 6


class RayGone(HpsearchError):
    """The Ray that the sweep ran on died and can't be started again from here; the sweep can be resumed later."""


class InvalidConfig(HpsearchError):
    """Raise it in a trainable whose configuration can't be trained at all.

    The trial fails with cause `invalid_config`: it is not retried, and the search method learns to avoid such
    configurations.

    Example:
        >>> raise InvalidConfig("width 30 does not divide into 4 groups")
        Traceback (most recent call last):
            ...
        hpsearch.errors.InvalidConfig: width 30 does not divide into 4 groups
    """


class Diverged(HpsearchError):
    """Raise it in a trainable whose loss is NaN or infinite: training it further would be a waste of time.

    The trial fails with cause `diverged`: it is not retried, and the search method avoids such configurations.
    `fit` raises it.
    """


class Interrupted(KeyboardInterrupt):
    """A signal came before the first trial began, so there is nothing to resume."""

    def __init__(self, exit_code: int) -> None:
        """Keep what the process should exit with.

        Args:
            exit_code: 130 after Ctrl-C, 143 after SIGTERM.
        """
        super().__init__("Interrupted before a trial began.")
        self.exit_code = exit_code


class TrialStopped(BaseException):
    """Ends a trial: raised by the next `hpsearch.report` of its function or script, so that `finally` blocks run.

    It is a BaseException, because training loops tend to catch `Exception`.
    """


def in_short(error: BaseException) -> str:
    """Type and first line of an exception that other code raised, at most MAX_MESSAGE characters.

    Example:
        >>> in_short(RuntimeError("singular matrix"))
        'RuntimeError: singular matrix'
    """
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:MAX_MESSAGE].rstrip(": ")


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that is most like this one, where upper case counts as lower; None if none is.

    Args:
        word: A word that may be misspelt.
        known: The words that it may be.
        cutoff: Least similarity as `difflib` measures it, from 0 to 1 for equal words.
    """
    from difflib import get_close_matches  # here, since the happy path never needs it

    spelled = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), spelled, n=1, cutoff=cutoff)
    return spelled[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known word, or an empty text when none is near.

    Example:
        >>> did_you_mean("Optunna", ["grid", "optuna"])
        " Did you mean 'optuna'?"
    """
    near = nearest(word, known)
    return "" if near is None else f" Did you mean '{near}'?"
