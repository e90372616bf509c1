"""A sweep that has only failed trials starts again once its spec or code was corrected; the failed ones are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from hpsearch.driver.compatibility import Changes, find_changes, stored_sweep
from hpsearch.engine.replay import Past
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import SweepRecord, TrialRecord, has_only_failures
from hpsearch.ledger.sqlite import check_whole
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import are_gone
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted
from hpsearch.trainable.code_files import CodeFiles

MAX_NAMED = 3
"""Changed keys or files that the message names at most."""


@dataclass(frozen=True, kw_only=True)
class FreedName:
    """What was done with a sweep so that another one can have its name."""

    kept_as: str | None
    """Its new name; None if it was removed."""
    message: str
    """What was done and why, for the user."""


def free_name(ledger: Ledger, sweep: Sweep, files: CodeFiles, *, accept_changes: bool) -> FreedName | None:
    """Free the name of a sweep that has only failed trials and can't resume, since its spec or code has changed.

    It is renamed to NAME~1, NAME~2 or the like; one without any trial is removed.

    Args:
        ledger: The ledger, opened to write.
        sweep: The sweep as it is requested, with a name.
        files: The trainable's source files as they are now.
        accept_changes: Whether it can resume with other code.

    Returns:
        None if nothing was done: the name is free, or belongs to a sweep that can resume, has results, or has lost its
        files.

    Raises:
        SweepInUse: Another process runs the sweep.
        LedgerError: The ledger or the sweep's folder can't be read or written, or they are damaged.
    """
    assert sweep.name is not None
    record = ledger.find_sweep(sweep.name)
    if record is None or not _has_nothing_to_lose(ledger, record):
        return None
    folder = ledger.home / sweep.name
    if are_gone(folder):
        return None
    with writer_lock(folder, sweep.name):
        check_whole(ledger.path)
        record = ledger.find_sweep(sweep.name)  # another process may have done the same just now
        if record is None:
            return None
        stored_sweep(record, ledger.home)
        code = files.code_matching(record.code)
        changes = find_changes(record, sweep, code, accept_changes=accept_changes)
        return _freed(ledger, record, changes) if begins_again(ledger, record, changes) else None


def begins_again(ledger: Ledger, record: SweepRecord, changes: Changes) -> bool:
    """Whether a sweep that has changed so, and that no process runs, starts again instead of being refused."""
    return bool(changes) and _has_nothing_to_lose(ledger, record)


def _has_nothing_to_lose(ledger: Ledger, record: SweepRecord) -> bool:
    trials = ledger.trials(record)
    return not trials or has_only_failures(record, trials)


def kept_name(ledger: Ledger, name: str) -> str:
    """The name under which a sweep is kept when it starts again: the first free one of NAME~1, NAME~2, ..."""
    taken = {record.name for record in ledger.sweeps()}
    names = (f"{name.partition('~')[0]}~{number}" for number in count(1))
    return next(each for each in names if each not in taken and not os.path.lexists(ledger.home / each))


def _freed(ledger: Ledger, record: SweepRecord, changes: Changes) -> FreedName:
    """Rename or remove a sweep whose lock this process holds."""
    past = Past.read(ledger, record)
    check_agrees(ledger.home / record.folder, past.trials, past.reports, spec=record.spec)
    again = f"The sweep starts again with {_described(changes)}."
    if not past.trials:
        ledger.forget_sweep(record)
        return FreedName(kept_as=None, message=f"{record.name}: it had no trial. {again}")
    kept = kept_name(ledger, record.name)
    ledger.rename_sweep(record, kept)
    return FreedName(kept_as=kept, message=f"{record.name}: {_fate(past.trials)} kept as {kept}. {again}")


def _fate(trials: Sequence[TrialRecord]) -> str:
    num_failed = sum(trial.state == "failed" for trial in trials)
    if num_failed < len(trials):
        return f"{counted(num_failed, 'trial')} had failed and {len(trials) - num_failed} had no epoch; they are"
    return f"all {num_failed} trials had failed; they are" if num_failed > 1 else "its only trial had failed; it is"


def _described(changes: Changes) -> str:
    """What has changed, in few words."""
    parts = [
        ("spec", [key for key, _, _ in changes.spec]),
        ("code", [each.removesuffix(" changed") for each in changes.code]),
    ]
    return " and ".join(f"the changed {what} ({_listed(names)})" for what, names in parts if names)


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
