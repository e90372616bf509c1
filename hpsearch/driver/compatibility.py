"""Whether the sweep that the ledger has under a name is the one that is asked for, and whether it is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import SweepExists
from hpsearch.ledger.fingerprint import Code, changed_files
from hpsearch.ledger.records import ENDED_SWEEP_STATES, FINISHED_STATES, SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.paths import trials_dir
from hpsearch.spec.sweep import Sweep


def check_folder_is_free(folder: Path) -> None:
    """A new sweep must not find checkpoints of another one in its folder."""
    if any(trials_dir(folder).glob("*")):
        raise SweepExists(
            f"{folder} holds the files of a sweep that the ledger does not know. Make the ledger anew from"
            " it by `python -m hpsearch resume --rebuild`, move it, or choose another --name."
        )


def check_compatible(record: SweepRecord, sweep: Sweep, code: Code | None, *, accept_changes: bool) -> None:
    """A sweep goes on only with the spec and the code that it began with; its limits may change."""
    begun = Sweep.from_stored(record.spec)
    old, new = (
        {key: value for key, value in tree.items() if key not in ("limits", "notes")}
        for tree in (begun.to_dict(), sweep.continuing(begun).to_dict())
    )
    changes = [f"  {key}: {before!r} -> {after!r}" for key, before, after in _differences(old, new)]
    if changes:
        raise SweepExists(
            f"sweep '{record.name}' is in the ledger with another spec:\n"
            + "\n".join(changes)
            + "\nUndo the change to go on with it, or choose another --name."
        )
    changed = changed_files(record.code, code) if record.code is not None and code is not None else []
    if changed and not accept_changes:
        raise SweepExists(
            f"the code of sweep '{record.name}' is not what it was when it began: {'; '.join(changed)}. Choose another"
            " --name for the new code, or go on with both in one table by --accept-changes."
        )


def is_finished(record: SweepRecord, sweep: Sweep, ledger: Ledger) -> bool:
    """Whether nothing can be left to do, as far as that is plain without hearing the past again.

    Args:
        record: What the ledger has.
        sweep: The same sweep, its limits as they are asked for.
        ledger: Counts the trials.
    """
    states = ledger.count_states(record)
    ended = record.state in ENDED_SWEEP_STATES and states.keys() <= set(FINISHED_STATES)
    return ended and states.total() >= sweep.max_trials and Sweep.from_stored(record.spec).limits == sweep.limits


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two trees differ; None where a key is missing."""
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
