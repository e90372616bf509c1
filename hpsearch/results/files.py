"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hpsearch.errors import LedgerError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and put it there in one step; a link in its place is replaced, not followed.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:  # made here: a link that waits in its place is not followed
            file.write(content)
        beside.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"{path}: can't be written: {reason}. Name another place, or make room there.") from error
    finally:
        with suppress(OSError):
            beside.unlink()
