"""Files of the user's own that trials imported at run time, though they are not in the sweep's snapshot of its code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger

MAX_NAMED = 5
"""Files that one note names."""


@final
class OutsideCode:
    """Notes each file once, and again where a later trial imported another version of it."""

    def __init__(self, ledger: Ledger, record: SweepRecord) -> None:
        self.notes: list[str] = []
        """What was noted, for the end of the sweep."""
        self._ledger, self._record = ledger, record
        self._seen: dict[str, dict[str, int]] = {}
        """Path to SHA-256 to the first trial that imported it so."""

    def take(self, number: int, files: Mapping[str, str]) -> None:
        """Take in what trial `number` has imported so far: path to SHA-256."""
        new = [path for path in files if path not in self._seen]
        changed = [path for path, digest in files.items() if path not in new and digest not in self._seen[path]]
        for path in changed:
            earlier = next(iter(self._seen[path].values()))
            self._note(
                f"{_shown(path)} changed while the sweep ran: trial {number} imported another one than trial {earlier}"
            )
        for path in [*new, *changed]:
            self._seen.setdefault(path, {})[files[path]] = number
        if new:
            named = ", ".join(map(_shown, new[:MAX_NAMED]))
            more = f" and {len(new) - MAX_NAMED} more" if len(new) > MAX_NAMED else ""
            self._note(
                f"trial {number} imported what is not in the sweep's copy of the code ({named}{more}):"
                " trials that import it are not reused"
            )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self._ledger.add_note(self._record, text)


def _shown(path: str) -> str:
    with suppress(OSError):  # the working directory is gone
        if Path(path).is_relative_to(Path.cwd()):
            return str(Path(path).relative_to(Path.cwd()))
    return path
