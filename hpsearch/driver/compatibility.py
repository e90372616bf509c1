"""Checks whether a sweep of the ledger can resume with the present spec and code, and whether it is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpsearch.driver.next_steps import NextSteps, numbered_names
from hpsearch.errors import SpecError, SweepExists
from hpsearch.ledger.agreement import check_spec
from hpsearch.ledger.fingerprint import Code, changed_files
from hpsearch.ledger.records import ENDED_SWEEP_STATES, FINISHED_STATES, SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import are_gone, clear_folder, gone_text, moved_to, was_forgotten
from hpsearch.paths import home_option, shortened, trials_dir
from hpsearch.spec.sweep import Sweep, merge_spec
from hpsearch.text import counted


def check_folder_is_free(folder: Path) -> None:
    """Check that the folder of a new sweep has no trials of another one, whose checkpoints would be taken for its own.

    Where a removal of the other sweep was cut short, it is finished.

    Raises:
        SweepExists: The folder has such trials.
        LedgerError: Something can't be removed.
    """
    if not any(trials_dir(folder).glob("*")):
        return
    if not was_forgotten(folder):
        raise SweepExists(
            f"{folder} holds the files of a sweep that the ledger does not know. Move the folder, choose another name,"
            f" or rebuild the ledger with it: python -m hpsearch resume --rebuild{home_option(folder.parent)}"
        )
    clear_folder(folder)


def check_files(record: SweepRecord, ledger: Ledger, steps: NextSteps) -> None:
    """Check that a sweep that is started again has its files: a user who removed them may want to be rid of it.

    Raises:
        SweepExists: They are gone.
    """
    folder = ledger.home / record.folder
    if not are_gone(folder):
        return
    if moved_to(ledger.home, record) is not None:
        raise SweepExists(gone_text(ledger.home, record))
    gone_from = shortened(folder)
    trials = counted(ledger.count_states(record).total(), "trial")
    again, resume = steps.begin_again(record.name), steps.resume(record.name, accept_changes=False)
    raise SweepExists(
        f"the files of sweep '{record.name}' are gone from {gone_from}, and the ledger still has its {trials}.\n"
        f"To resume it with these, without checkpoints: {resume}\n"
        f"To remove these too and begin again: {again}"
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


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What keeps a sweep from resuming as it is requested; false where it can resume."""

    spec: tuple[tuple[str, Any, Any], ...]
    """(Dotted key, value that it began with, value now) for each difference; limits, notes and Ray may change."""
    code: tuple[str, ...]
    """What changed in the trainable's code, for example `train.py changed`."""

    def __bool__(self) -> bool:
        return bool(self.spec or self.code)


def find_changes(record: SweepRecord, sweep: Sweep, code: Code | None, *, accept_changes: bool) -> Changes:
    """Compare a sweep as it is requested with the spec and the code that it began with.

    Args:
        record: The sweep in the ledger.
        sweep: The sweep as it is requested.
        code: The trainable's code now; None where it is unknown, so that it isn't compared.
        accept_changes: Whether other code is allowed.
    """
    begun = Sweep.from_stored(record.spec)
    old, new = (
        {key: value for key, value in tree.items() if key not in ("limits", "notes", "ray")}
        for tree in (begun.to_dict(), sweep.continuing(begun).to_dict())
    )
    is_compared = not accept_changes and record.code is not None and code is not None
    changed = changed_files(record.code or {}, code or {}) if is_compared else ()
    return Changes(spec=tuple(_differences(old, new)), code=tuple(changed))


def refusal(record: SweepRecord, changes: Changes, ledger: Ledger, steps: NextSteps, *, resumes: bool) -> SweepExists:
    """The error that says why a sweep can't resume as it is requested, and what the user most likely wants instead.

    Args:
        record: The sweep in the ledger.
        changes: What has changed since it began.
        ledger: The open ledger.
        steps: Writes what the message offers.
        resumes: Whether the user asked to resume the sweep of this name, with the spec that is in the ledger.
    """
    taken = {each.name for each in ledger.sweeps()}
    other = steps.sweep_as(next(name for name in numbered_names(record.name) if name not in taken))
    if changes.spec:
        listed = "\n".join(f"  {key}: {before!r} -> {after!r}" for key, before, after in changes.spec)
        return SweepExists(
            f"sweep '{record.name}' is in the ledger with another spec:\n{listed}\n"
            f"To resume it, undo the change. To run the changed spec as a sweep of its own: {other}"
        )
    num_failed = ledger.count_states(record)["failed"]
    changed = f"the code of sweep '{record.name}' has changed since it began: {'; '.join(changes.code)}."
    again = steps.resume(record.name, retry_failed=num_failed > 0)
    if num_failed:
        failed = f"{counted(num_failed, 'trial')} failed"
        return SweepExists(f"{changed} {failed}. To try again with the new code and keep the others: {again}")
    if resumes:
        return SweepExists(f"{changed} To resume with the new code, in the same table: {again}")
    return SweepExists(
        f"{changed} To resume with the new code in the same table, add {steps.accept_changes}. To run the new code as a"
        f" sweep of its own: {other}"
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
