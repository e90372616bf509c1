"""The folder of a sweep as a whole: whether it is there, how much disk space it takes, and how it is removed."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from hpsearch.errors import LedgerError
from hpsearch.ledger.journal import read_journal
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.links import IN_HOME, is_linked, opened_folder
from hpsearch.paths import home_option, journal_path, lock_path, shortened, trials_dir
from hpsearch.plain import NAME_PATTERN


def are_gone(folder: Path) -> bool:
    """Whether a sweep's files were removed or moved by hand: its folder has neither a journal nor trials."""
    if is_linked(folder, parts=IN_HOME):
        return False
    return not (os.path.lexists(journal_path(folder)) or os.path.lexists(trials_dir(folder)))


def gone_text(home: Path, sweep: SweepRecord) -> str:
    """What is said about a sweep whose files are gone, and what the user can do."""
    folder, at = shortened(home / sweep.folder), home_option(home)
    return (
        f"{sweep.name}: its files are gone from {folder}. Put the folder back, or remove the sweep from the ledger too:"
        f" python -m hpsearch forget {sweep.name}{at}"
    )


def check_not_gone(home: Path, sweep: SweepRecord) -> None:
    """Check that a sweep has its files.

    Raises:
        LedgerError: They are gone; the message says what to do.
    """
    if are_gone(home / sweep.folder):
        raise LedgerError(gone_text(home, sweep))


def was_forgotten(folder: Path) -> bool:
    """Whether the journal in a folder says that its sweep was removed, and no sweep began there since."""
    return SweepCopy().apply(read_journal(folder)[0], folder=folder).is_forgotten


def is_left(home: Path, name: str) -> bool:
    """Whether only files are left of a sweep of this name, since its removal was cut short, or it never had a trial."""
    folder = home / name
    is_folder = NAME_PATTERN.fullmatch(name) is not None and folder.is_dir() and not is_linked(folder, parts=IN_HOME)
    return is_folder and was_forgotten(folder)


def num_bytes(folder: Path) -> int:
    """Bytes that the removal of a folder frees: those of files that no other folder shares. No link is followed."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a report that is being written, say
                stat = (Path(root) / name).lstat()
                found += stat.st_size if stat.st_nlink == 1 else 0
    return found


def clear_folder(folder: Path) -> None:
    """Remove all that is in the folder of a sweep, whose lock this process holds, but for its journal and that lock.

    Raises:
        LedgerError: Something can't be removed.
    """
    _remove(folder, but={journal_path(folder).name, lock_path(folder).name})


def remove_folder(folder: Path) -> None:
    """Remove the folder of a sweep, whose lock this process holds; a symbolic link in it is removed, not followed.

    The journal and the lock are removed last: as long as there are other files, the journal says what became of the
    sweep. Where another process takes the lock between the two, it finds an empty folder, which is left to it.

    Raises:
        LedgerError: Something can't be removed.
    """
    clear_folder(folder)
    _remove(folder, but={lock_path(folder).name})
    _remove(folder, but=set())
    try:
        with opened_folder(folder.parent, parts=0) as home:
            os.rmdir(folder.name, dir_fd=home)
    except OSError:  # another process has made its lock there
        return


def _remove(folder: Path, *, but: set[str]) -> None:
    try:
        with opened_folder(folder, parts=IN_HOME) as opened:
            for name in sorted(set(os.listdir(opened)) - but):  # noqa: PTH208 - of a descriptor
                _remove_entry(name, opened)
    except LedgerError:
        raise
    except OSError as error:
        command = f"python -m hpsearch forget {folder.name}{home_option(folder.parent)}"
        raise LedgerError(
            f"{folder}: not everything could be removed: {error}. Correct the permissions there, then: {command}"
        ) from error


def _remove_entry(name: str, folder: int) -> None:
    """Remove a file, a link or a folder with all that is in it; `folder` is opened."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):  # the latter of a folder on macOS
        shutil.rmtree(name, dir_fd=folder)
