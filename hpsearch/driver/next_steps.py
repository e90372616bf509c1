"""What a user can do next, written as they would type it: a command of a shell, or a call in Python."""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import final

from hpsearch.paths import home_option

MAX_STEM = 56
"""Characters of a name to which a number is appended at most, so that the whole is a name too."""


class NextSteps(ABC):
    """Writes the requests that a message offers."""

    accept_changes: str
    """The option that resumes a sweep whose code has changed."""

    @abstractmethod
    def sweep_as(self, name: str) -> str:
        """The same request for a sweep of another name."""

    @abstractmethod
    def begin_again(self, name: str) -> str:
        """Remove a sweep of this name, and make the same request again."""

    @abstractmethod
    def resume(self, name: str, *, retry_failed: bool = False, accept_changes: bool = True) -> str:
        """Resume a sweep.

        Args:
            name: The sweep's name.
            retry_failed: Whether failed trials are tried again.
            accept_changes: Whether its code may have changed.
        """


@final
class ShellCommands(NextSteps):
    """Commands for a shell."""

    accept_changes = "--accept-changes"

    def __init__(self, home: Path, *, sweep: Sequence[str] = (), resume: Sequence[str] = ()) -> None:
        """Keep what the user has typed.

        Args:
            home: Folder of the ledger.
            sweep: Arguments and options for the verb `sweep`, without `--name` and `--home`.
            resume: Options for the verb `resume`, without `--home` and those that are added here.
        """
        self._at, self._sweep, self._resume = home_option(home), sweep, resume

    def sweep_as(self, name: str) -> str:
        """As `NextSteps.sweep_as`."""
        return f"python -m hpsearch sweep {shlex.join([*self._sweep, '--name', name])}{self._at}"

    def begin_again(self, name: str) -> str:
        """As `NextSteps.begin_again`."""
        return f"python -m hpsearch forget {name}{self._at} && {self.sweep_as(name)}"

    def resume(self, name: str, *, retry_failed: bool = False, accept_changes: bool = True) -> str:
        """As `NextSteps.resume`."""
        changes, retry = [self.accept_changes] * accept_changes, ["--retry-failed"] * retry_failed
        return f"python -m hpsearch resume {shlex.join([name, *self._resume, *changes, *retry])}{self._at}"


@final
class PythonCalls(NextSteps):
    """Calls for Python."""

    accept_changes = "accept_changes=True"

    def __init__(self, home: Path, function: object = None) -> None:
        """Keep what the user has passed.

        Args:
            home: Folder of the ledger.
            function: The trainable, if it is a function.
        """
        self._at = home_option(home)
        self._home = f", home={str(home)!r}" if self._at else ""
        name = getattr(function, "__name__", "...")
        self._function = () if function is None else (f"function={name if name.isidentifier() else '...'}",)

    def sweep_as(self, name: str) -> str:
        """As `NextSteps.sweep_as`."""
        return f"the same call with name={name!r}"

    def begin_again(self, name: str) -> str:
        """As `NextSteps.begin_again`."""
        return f"the same call after this command: python -m hpsearch forget {name}{self._at}"

    def resume(self, name: str, *, retry_failed: bool = False, accept_changes: bool = True) -> str:
        """As `NextSteps.resume`."""
        changes, retry = [self.accept_changes] * accept_changes, ["retry_failed=True"] * retry_failed
        arguments = ", ".join([*self._function, *changes, *retry])
        return f"hpsearch.load({name!r}{self._home}).resume({arguments})"


def numbered_names(name: str) -> Iterator[str]:
    """Names for further sweeps, without an end.

    Example:
        >>> [next(numbered_names(name)) for name in ("net", "net-2", "net~1")]
        ['net-2', 'net-3', 'net-2']
    """
    name = name.partition("~")[0]  # of one that was kept when another sweep got its name
    found = re.fullmatch(r"(.+)-([1-9]\d{0,5})", name)
    stem, first = (found[1], int(found[2]) + 1) if found else (name, 2)
    return (f"{stem[:MAX_STEM]}-{number}" for number in count(first))
