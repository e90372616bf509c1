"""Files for the user, written as a whole or not at all, and whether those of a sweep are up to date.

A CSV file has no place to say which state of the ledger it shows, so `outputs.json` says it for the tables and the
report: for each file the journal's last change when the ledger was read (`journal.last_change`), and the SHA-256 of
what was written. A file is up to date if both are still the same. No time of a file is compared: clocks step back, and
copies of a folder have new times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.ledger.journal import last_change
from hpsearch.links import IN_SWEEP, read_file
from hpsearch.paths import history_path, outputs_path, replacing, report_path, trials_csv_path, trials_parquet_path


def replace_file(path: Path, content: bytes) -> str:
    """Write a file for the user in one step; see `paths.replacing`.

    Args:
        path: Where it shall be; an existing file is replaced.
        content: The whole content.

    Returns:
        The SHA-256 of the content.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    return replace_by(path, lambda beside: beside.write_bytes(content))


def replace_by(path: Path, write: Callable[[Path], Any]) -> str:
    """Let a function write a file for the user in one step; see `paths.replacing`.

    Args:
        path: Where it shall be; an existing file is replaced.
        write: Called with the path to write to.

    Returns:
        The SHA-256 of what was written; another process may have replaced the file since.

    Raises:
        LedgerError: It can't be written; the message says why.
    """
    try:
        with replacing(path) as beside:
            write(beside)
            digest = _digest(beside.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"{path}: can't be written: {reason}. Name another file, or free space there.") from error
    return digest


def output_paths(sweep_dir: Path) -> tuple[Path, ...]:
    """The files that a sweep that ended leaves beside the ledger: its tables and its report."""
    return tuple(path(sweep_dir) for path in (trials_csv_path, trials_parquet_path, history_path, report_path))


def are_up_to_date(sweep_dir: Path) -> bool:
    """Whether each of `output_paths` shows the last change of the sweep's ledger, and is as hpsearch wrote it.

    In doubt (no journal, a file that was cut, edited or replaced by a link) they are out of date. It takes some
    milliseconds, most of them for the 5 MB of an interactive report.
    """
    change, recorded = last_change(sweep_dir), _recorded(sweep_dir)
    if change is None:
        return False
    try:
        shown = {
            path.name: _record(change, _digest(read_file(path, parts=IN_SWEEP))) for path in output_paths(sweep_dir)
        }
    except OSError:  # one is missing, or is a link
        return False
    return all(recorded.get(name) == record for name, record in shown.items())


def record_outputs(sweep_dir: Path, digests: Mapping[Path, str], *, change: str | None) -> None:
    """Record which state of the ledger some of `output_paths` show; to be called after they were written.

    Several processes may write them at once. A file counts as up to date only if it has the content
    that one of them wrote and recorded with its state of the ledger.

    Args:
        sweep_dir: The sweep's folder.
        digests: Files to the SHA-256 of what was written, as `replace_by` returns it.
        change: The journal's last change before the ledger was read; None if that is unknown, so that nothing is
            recorded, and the files count as out of date.

    Raises:
        LedgerError: It can't be written.
    """
    if change is None:
        return
    new = {path.name: _record(change, digest) for path, digest in digests.items()}
    replace_file(outputs_path(sweep_dir), json.dumps(_recorded(sweep_dir) | new, indent=2).encode())


def _recorded(sweep_dir: Path) -> dict[str, Any]:
    try:
        read = json.loads(read_file(outputs_path(sweep_dir), parts=IN_SWEEP))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _record(change: str, digest: str) -> dict[str, str]:
    return {"change": change, "sha256": digest}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
