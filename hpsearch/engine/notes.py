"""Notes on a sweep for its user: each is written to the ledger when it arises, and repeated when the sweep ends.

There are two kinds: files of the user's own that trials import although the sweep's copy of the code lacks them, and
set-up that takes much of a trial's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger

MAX_NAMED = 5
"""Files that one note names."""
SETUP_SHARE = 0.1
"""Part of the trials' time; set-up that takes more than this is worth a note."""
MIN_SETUP_S = 1.0
"""Mean seconds of set-up of a trial below which there is little to gain."""
MIN_TRIALS = 3
"""Trials whose set-up is measured before a note is written."""


@final
class Notes:
    """The notes of one sweep."""

    def __init__(self, ledger: Ledger, record: SweepRecord) -> None:
        """Begin without notes.

        Args:
            ledger: Where they are written.
            record: The sweep in it.
        """
        self.texts: list[str] = []
        """All notes of this run of the sweep, one sentence each, without a full stop."""
        self._ledger, self._record = ledger, record

    def add(self, text: str) -> None:
        """Write a note to the ledger and keep it for the end of the sweep."""
        self.texts.append(text)
        self._ledger.add_note(self._record, text)


@final
class OutsideCode:
    """Notes imports of files that the sweep's snapshot of the code lacks.

    Each file is noted once, and again when a later trial imports another version of it.
    """

    def __init__(self, notes: Notes) -> None:
        """Begin without imports.

        Args:
            notes: Where notes are added.
        """
        self._notes = notes
        self._seen: dict[str, dict[str, int]] = {}
        """Path to SHA-256 to the first trial that imported the file in this version."""

    def add(self, number: int, files: Mapping[str, str]) -> None:
        """Record what trial `number` has imported so far.

        Args:
            number: The trial's number.
            files: Absolute path to SHA-256 of the file's content.
        """
        new = [path for path in files if path not in self._seen]
        changed = [path for path, digest in files.items() if path not in new and digest not in self._seen[path]]
        for path in changed:
            earlier = next(iter(self._seen[path].values()))
            self._notes.add(
                f"{_shown(path)} changed while the sweep ran:"
                f" trial {number} imported another version of it than trial {earlier}"
            )
        for path in [*new, *changed]:
            self._seen.setdefault(path, {})[files[path]] = number
        if new:
            named = ", ".join(map(_shown, new[:MAX_NAMED]))
            more = f" and {len(new) - MAX_NAMED} more" if len(new) > MAX_NAMED else ""
            self._notes.add(
                f"trial {number} imported what is not in the sweep's copy of the code ({named}{more}):"
                " trials that import it are not reused"
            )


@final
class SetupCost:
    """Adds up what trials spend on their set-up, before they train, and notes once if it is much."""

    def __init__(self, notes: Notes) -> None:
        """Begin without attempts.

        Args:
            notes: Where the note is added.
        """
        self._notes, self._is_noted = notes, False
        self._num_trials, self._setup_s, self._trained_s = 0, 0.0, 0.0

    def add(self, setup_s: float | None, trained_s: float) -> None:
        """Record an attempt that has ended.

        Args:
            setup_s: Seconds that its first epoch took longer than its later ones; None where there are no later ones,
                and where one process trains trial after trial.
            trained_s: Seconds of the whole attempt.
        """
        if setup_s is None or self._is_noted:
            return
        self._num_trials += 1
        self._setup_s += setup_s
        self._trained_s += trained_s
        least_s = max(SETUP_SHARE * self._trained_s, MIN_SETUP_S * self._num_trials)
        if self._num_trials < MIN_TRIALS or self._setup_s < least_s:
            return
        self._is_noted = True
        setup_s, trained_s = self._setup_s / self._num_trials, self._trained_s / self._num_trials
        self._notes.add(
            f"set-up takes {setup_s:.1f} s of {trained_s:.1f} s a trial: hpsearch.shared_data loads data once for all"
            " trials, and isolation: slot imports once for all"
        )


def _shown(path: str) -> str:
    """The path, relative to the working directory where it is below it."""
    with suppress(OSError):  # the working directory is gone
        if Path(path).is_relative_to(Path.cwd()):
            return str(Path(path).relative_to(Path.cwd()))
    return path
