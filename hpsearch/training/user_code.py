"""Which files are the user's own, rather than Python's, a library's or hpsearch's; torch-free."""

from __future__ import annotations

import sysconfig
from contextlib import suppress
from pathlib import Path

_OWN = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple(
    str(Path(path).resolve()) for path in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
)


def is_user_code(filename: str) -> bool:
    """Whether source of this name was written by the user; a notebook's cell was."""
    path = filename
    with suppress(OSError):  # a relative path, in a working directory that is gone
        path = str(Path(filename).resolve())
    return not path.startswith((_OWN, *_LIBRARIES)) and not filename.startswith("<frozen")


def display_path(filename: str) -> str:
    """A file as a message names it: relative to the working directory where it lies below."""
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):  # it lies elsewhere, or the working directory is gone
        return filename
