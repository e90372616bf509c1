"""Which source files are the user's own, rather than those of Python, of a library or of hpsearch. Imports no torch."""

from __future__ import annotations

import sysconfig
from contextlib import suppress
from pathlib import Path

_OWN = str(Path(__file__).resolve().parents[1])
"""The folder of hpsearch."""
_LIBRARIES = tuple(
    str(Path(path).resolve()) for path in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
)
"""The folders of the standard library and of installed packages."""


def is_user_code(filename: str) -> bool:
    """Whether a source file belongs to the user; a cell of a notebook does.

    Args:
        filename: File name as in `co_filename` of a code object.
    """
    path = filename
    with suppress(OSError):  # a relative path, and the working directory has been deleted
        path = str(Path(filename).resolve())
    return not path.startswith((_OWN, *_LIBRARIES)) and not filename.startswith("<frozen")


def display_path(filename: str, folder: str | None = None) -> str:
    """A path for messages: relative to a folder, by default the working directory, if the file is below it."""
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd() if folder is None else Path(folder).resolve()))
    except (ValueError, OSError):  # it is elsewhere, or the working directory has been deleted
        return filename
