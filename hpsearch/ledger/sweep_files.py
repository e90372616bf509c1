"""The folder of a sweep as a whole: whether it is there, how much disk space it takes, and how it is removed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

from hpsearch.errors import LedgerError
from hpsearch.ledger.journal import read_journal
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.links import IN_HOME, IN_SWEEP, is_linked, open_file, opened_folder
from hpsearch.paths import home_option, journal_path, lock_path, shortened, trials_dir
from hpsearch.plain import NAME_PATTERN

MAX_LINE_BYTES = 2**20
"""Bytes of the first line of a journal that are read at most, where the folder of a sweep is looked for."""


def are_gone(folder: Path) -> bool:
    """Whether a sweep's files were removed or moved by hand: its folder has neither a journal nor trials."""
    if is_linked(folder, parts=IN_HOME):
        return False
    return not (os.path.lexists(journal_path(folder)) or os.path.lexists(trials_dir(folder)))


def gone_text(home: Path, sweep: SweepRecord) -> str:
    """What is said about a sweep whose files are gone, and what the user can do."""
    folder, at = shortened(home / sweep.folder), home_option(home)
    moved = moved_to(home, sweep)
    if moved is not None:
        back = f"mv {shlex.quote(str(shortened(moved)))} {shlex.quote(str(folder))}"
        return (
            f"{sweep.name}: its files were moved to {shortened(moved)}. To rename the sweep, move them back first:"
            f" {back} && python -m hpsearch rename {sweep.name} {moved.name}{at}"
        )
    return (
        f"{sweep.name}: its files are gone from {folder}. Put the folder back, or remove the sweep from the ledger too:"
        f" python -m hpsearch forget {sweep.name}{at}"
    )


def moved_to(home: Path, sweep: SweepRecord) -> Path | None:
    """The folder in which the journal of a sweep is that is not in its own; None if there is none."""
    folders = sorted(folder for folder in home.iterdir() if NAME_PATTERN.fullmatch(folder.name))
    return next((folder for folder in folders if _began_at(folder) == sweep.started_at), None)


def _began_at(folder: Path) -> str | None:
    """When the sweep began that the first line of a journal adds; None if it adds none."""
    try:
        with os.fdopen(open_file(journal_path(folder), os.O_RDONLY | os.O_NONBLOCK, parts=IN_SWEEP), "rb") as file:
            (kind, values), *_ = json.loads(file.readline(MAX_LINE_BYTES).partition(b" ")[2])
    except (OSError, ValueError, TypeError):
        return None
    return values.get("started_at") if kind == "sweep" and isinstance(values, dict) else None


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
