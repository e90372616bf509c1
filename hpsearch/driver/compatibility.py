"""Checks whether a sweep of the ledger can resume with the present spec and code, and whether it is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpsearch.errors import SpecError, SweepExists
from hpsearch.ledger.agreement import check_spec
from hpsearch.ledger.fingerprint import Code, changed_files
from hpsearch.ledger.records import ENDED_SWEEP_STATES, FINISHED_STATES, SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.paths import trials_dir
from hpsearch.spec.sweep import Sweep, merge_spec


def check_folder_is_free(folder: Path) -> None:
    """Check that the folder of a new sweep has no trials of another one, whose checkpoints would be taken for its own.

    Raises:
        SweepExists: The folder has such trials.
    """
    if any(trials_dir(folder).glob("*")):
        raise SweepExists(
            f"{folder} holds the files of a sweep that the ledger does not know. Rebuild the ledger from it"
            " by `python -m hpsearch resume --rebuild`, move the folder, or choose another --name."
        )


def stored_sweep(record: SweepRecord, home: Path, *, overrides: Mapping[str, Any] = MappingProxyType({})) -> Sweep:
    """The sweep as the ledger has it, with other values.

    Args:
        record: The sweep in the ledger.
        home: Folder of the ledger.
        overrides: As for `merge_spec`.

    Raises:
        LedgerError: Its spec can't be used, and is not the one in its journal.
        SpecError: The overrides are wrong, or the spec was written by another version.
    """
    try:
        return Sweep.from_stored(merge_spec(record.spec, overrides))
    except SpecError:
        check_spec(home / record.folder, record.spec)
        raise


def check_compatible(record: SweepRecord, sweep: Sweep, code: Code | None, *, accept_changes: bool) -> None:
    """Check that a sweep resumes with the spec and the code that it began with; limits, notes and Ray may change.

    Args:
        record: The sweep in the ledger.
        sweep: The sweep as it is requested.
        code: The trainable's code now; None where it is unknown, so that it isn't compared.
        accept_changes: Whether other code is allowed.

    Raises:
        SweepExists: Spec or code differ; the message lists each difference.
    """
    begun = Sweep.from_stored(record.spec)
    old, new = (
        {key: value for key, value in tree.items() if key not in ("limits", "notes", "ray")}
        for tree in (begun.to_dict(), sweep.continuing(begun).to_dict())
    )
    changes = [f"  {key}: {before!r} -> {after!r}" for key, before, after in _differences(old, new)]
    if changes:
        raise SweepExists(
            f"sweep '{record.name}' is in the ledger with another spec:\n"
            + "\n".join(changes)
            + "\nUndo the change to resume the sweep, or choose another --name."
        )
    changed = changed_files(record.code, code) if record.code is not None and code is not None else []
    if changed and not accept_changes:
        raise SweepExists(
            f"the code of sweep '{record.name}' has changed since it began: {'; '.join(changed)}. Choose another --name"
            " for the new code, or resume with both in one table by --accept-changes."
        )


def is_finished(record: SweepRecord, sweep: Sweep, ledger: Ledger) -> bool:
    """Whether nothing is left to do, as far as that is known without replaying the sweep.

    Args:
        record: The sweep in the ledger.
        sweep: The same sweep with the limits that are requested.
        ledger: The open ledger.
    """
    states = ledger.count_states(record)
    ended = record.state in ENDED_SWEEP_STATES and states.keys() <= set(FINISHED_STATES)
    ended = ended and not record.ended_by_time_limit  # which stops paused trials that may continue in a new span
    return ended and states.total() >= sweep.max_trials and Sweep.from_stored(record.spec).limits == sweep.limits


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two trees differ; None where a key is missing."""
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
