"""Opens, makes and removes what is below a home folder without following symbolic links.

A sweep's folder may come from someone else, and a folder in it may have been replaced by a link. Followed, such a link
would let hpsearch write or remove files that are not its own. The home folder and the folders above it may be links;
below it none is followed, wherever it leads: hpsearch makes none there, and a link to another place in the home would
mix the files of two trials.

Each function opens the folders of a path one after the other, each relative to the one before and with O_NOFOLLOW, so
that a link that appears in the meantime is not followed either. `parts` says how many of the last parts of the path are
below the home folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpsearch.errors import LinkRefused
from hpsearch.paths import (
    checkpoint_dir,
    driver_log_path,
    journal_path,
    lock_path,
    log_path,
    prior_path,
    provenance_path,
    shortened,
    snapshots_dir,
    trials_dir,
)
from hpsearch.text import printable

IN_HOME, IN_SWEEP, IN_TRIAL = 1, 2, 4
"""`parts` of a path HOME/FILE, HOME/NAME/FILE and HOME/NAME/trials/0007/FILE."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPENED = (lock_path, journal_path, provenance_path, prior_path, driver_log_path, snapshots_dir, trials_dir)
"""What is opened in a sweep's folder. Links in place of other files are replaced by files, see `paths.replacing`."""


def check_unlinked(path: Path, *, parts: int) -> Path:
    """Check that no part of a path below the home folder is a link; what does not exist passes.

    Args:
        path: The path.
        parts: How many of its last parts are below the home folder.

    Returns:
        The path.

    Raises:
        LinkRefused: One is; the message names it and its target.
    """
    if (link := _find_link(path, parts)) is not None:
        raise _refused(link)
    return path


def is_linked(path: Path, *, parts: int) -> bool:
    """Whether a part of a path below the home folder is a link; see `check_unlinked`."""
    return _find_link(path, parts) is not None


def check_sweep_folder(folder: Path) -> None:
    """Check the folder of a sweep, and everything in it that a process that runs the sweep opens.

    Takes 50 ms for 1000 trials.

    Args:
        folder: The sweep's folder; it need not exist.

    Raises:
        LinkRefused: A part of it is a link; the message names it and its target.
    """
    check_unlinked(folder, parts=IN_HOME)
    for path_of in _OPENED:
        check_unlinked(path_of(folder), parts=1)
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.scandir(trials_dir(folder)), key=lambda entry: entry.name):
            check_unlinked(Path(entry.path), parts=1)
            if entry.name.isdecimal():
                check_trial_folder(folder, int(entry.name))


def check_trial_folder(folder: Path, number: int) -> None:
    """Check the folder of a trial, and what the processes that train it open there.

    Args:
        folder: The sweep's folder.
        number: The trial's number.

    Raises:
        LinkRefused: A part of it is a link; the message names it and its target.
    """
    for path_of in (log_path, checkpoint_dir):
        check_unlinked(path_of(folder, number), parts=IN_TRIAL)


def open_file(path: Path, flags: int, *, parts: int) -> int:
    """Open a file as `os.open` does; a file that is made can be read by all users, as far as the umask allows.

    Args:
        path: The file.
        flags: As for `os.open`; O_NOFOLLOW and O_CLOEXEC are added.
        parts: How many of the last parts of the path are below the home folder.

    Returns:
        The descriptor, which the caller closes.

    Raises:
        LinkRefused: A part of the path below the home folder is a link.
        OSError: It can't be opened.
    """
    with opened_folder(path.parent, parts=parts - 1) as folder:
        try:
            return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
        except OSError:
            check_unlinked(path, parts=1)
            raise


def read_file(path: Path, *, parts: int) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        parts: How many of the last parts of the path are below the home folder.

    Raises:
        LinkRefused: A part of the path below the home folder is a link.
        OSError: It can't be read, or is a pipe or a device.
    """
    with os.fdopen(open_file(path, os.O_RDONLY | os.O_NONBLOCK, parts=parts), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a file")
        return file.read()


@contextmanager
def opened_folder(path: Path, *, parts: int, make: bool = False) -> Iterator[int]:
    """Open a folder for the time of the block, for functions that take `dir_fd`.

    Args:
        path: The folder.
        parts: How many of the last parts of the path are below the home folder.
        make: Make those that do not exist.

    Yields:
        The descriptor.

    Raises:
        LinkRefused: A part of the path below the home folder is a link.
        OSError: It can't be opened or made.
    """
    folder = _open_folder(path.absolute(), parts, make=make)
    try:
        yield folder
    finally:
        os.close(folder)


def make_folder(path: Path, *, parts: int) -> None:
    """Make a folder, and those of `parts` above it that do not exist; see `opened_folder`."""
    with opened_folder(path, parts=parts, make=True):
        pass


def _open_folder(path: Path, parts: int, *, make: bool) -> int:
    names = path.parts[-parts:] if parts else ()
    opened = os.open(path.parents[len(names) - 1] if names else path, _FOLDER)
    for name in names:
        outer = opened
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=outer)
            opened = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
        except OSError:
            check_unlinked(path, parts=parts)
            raise
        finally:
            os.close(outer)
    return opened


def _find_link(path: Path, parts: int) -> Path | None:
    """The first of the last parts of a path that is a link."""
    path = path.absolute()
    below = (path, *path.parents)[:parts]
    return next((each for each in reversed(below) if os.path.islink(each)), None)  # noqa: PTH114 - never raises


def _refused(link: Path) -> LinkRefused:
    target = os.path.realpath(link)
    return LinkRefused(
        f"{printable(str(shortened(link)))}: this is a symbolic link to {printable(target)}. hpsearch follows no links"
        " below its home folder: replace the link by what it leads to, or remove it. The home folder itself may be a"
        " link."
    )
