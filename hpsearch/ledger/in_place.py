"""Notices that a file or folder which this process writes was removed, moved or replaced, say by `rm -rf sweeps`.

The operating system lets a process write to a file that no longer has a name, without an error: a sweep would train to
its end, and its results would be gone. SQLite finds a moved ledger only when it closes the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from hpsearch.errors import LedgerError
from hpsearch.paths import JOURNAL_NAME, home_option


@final
class FilesInPlace:
    """The files and folders of one home folder that this process writes, with the device and inode of each.

    They are checked in the order in which they were added. SQLite's locks need inodes that stay the same, too.
    """

    def __init__(self, ledger: Path) -> None:
        """Begin with nothing.

        Args:
            ledger: The ledger's file, for messages; it is not yet watched.
        """
        self._ledger = ledger
        self._known: dict[Path, tuple[int, int]] = {}

    def watch(self, *paths: Path) -> None:
        """Remember which files have these paths now; a path without a file is left out."""
        for path in paths:
            if (found := _identity(path)) is not None:
                self._known[path] = found

    def release(self, folder: Path) -> None:
        """Forget a folder and what is below it: this process moves or removes it itself."""
        self._known = {path: known for path, known in self._known.items() if not path.is_relative_to(folder)}

    def check(self) -> None:
        """Check that every path still leads to the same file; takes about 2 µs for each on a local disk.

        Raises:
            LedgerError: One does not; the message says which, what is left and what to do.
            OSError: A folder can't be read.
        """
        for path, known in self._known.items():
            found = _identity(path)
            if found != known:
                raise LedgerError(self._message(path, "was removed or moved" if found is None else "was replaced"))

    def _message(self, path: Path, change: str) -> str:
        home = self._ledger.parent
        if path == home:
            advice = "If it was moved, resume there: python -m hpsearch resume --home FOLDER"
        elif path == self._ledger:
            advice = how_to_restore(self._ledger)
        else:
            advice = f"The ledger has what was recorded so far: python -m hpsearch resume{home_option(home)}"
        return f"{path}: {change} while the sweep ran, so the sweep was ended. {advice}"


def how_to_restore(ledger: Path) -> str:
    """What to do about a ledger that is gone, as a sentence for a message."""
    command = f"python -m hpsearch resume --rebuild{home_option(ledger.parent)}"
    return f"Put it back, or rebuild it from the journals of its sweeps: {command}"


def check_not_lost(ledger: Path) -> None:
    """Check that a home folder without a ledger has never had one, so that a new one takes the place of none.

    Raises:
        LedgerError: There are journals of sweeps, or a write-ahead log, which SQLite would add to the new ledger.
    """
    log = ledger.with_name(f"{ledger.name}-wal")
    if (log.exists() and log.stat().st_size > 0) or any(ledger.parent.glob(f"*/{JOURNAL_NAME}")):
        raise LedgerError(f"{ledger}: the ledger is gone, but not its sweeps. {how_to_restore(ledger)}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
