"""A sweep as one source has it: its journal, the ledger's file, or its tables. Copies are compared and united."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final, get_args

import sqlalchemy as sa

from hpsearch.errors import Cause, LedgerError
from hpsearch.ledger import schema
from hpsearch.ledger.records import ACTIVE_STATES, SweepState, TrialState
from hpsearch.paths import journal_path

Columns = dict[str, Any]
"""Name of a column to its value, as the ledger's tables have it."""
Event = tuple[Literal["spec", "begin", "report", "end"], int, int]
"""What happened, to which trial, and the epoch of a report; `spec` with an index in `SweepCopy.specs`."""
Ending = tuple[int, Any, Any]
"""How a trial was left: its number, `epochs_trained` and `duration_s`."""
_KEYS = {"id", "sweep_id", "trial_id", "number", "name", "folder"}
"""Columns that say which row it is; a copy knows that by itself."""
_KNOWN: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("sweeps", "state"): get_args(SweepState),
    ("trials", "state"): get_args(TrialState),
    ("trials", "cause"): get_args(Cause),
    ("failures", "cause"): get_args(Cause),
}
"""Table and column to all values that it may have."""


@final
@dataclass
class SweepCopy:
    """One sweep: the newest value of each column, the last report of each epoch."""

    sweep: Columns = field(default_factory=dict)
    """The sweep's columns."""
    trials: dict[int, Columns] = field(default_factory=dict)
    """Trial's number to its columns."""
    failures: dict[int, list[tuple[int, Columns]]] = field(default_factory=dict)
    """Trial's number to its failed attempts: (position among all entries, columns)."""
    reports: dict[int, dict[int, tuple[int, str, float]]] = field(default_factory=dict)
    """Trial's number to epoch to (position among all entries, metrics as JSON, elapsed_s)."""
    began: dict[int, int] = field(default_factory=dict)
    """Trial's number to the position of its first entry; empty where the source has none."""
    ended: dict[int, int] = field(default_factory=dict)
    """Trial's number to the position of the entry that ended it; empty where the source has none."""
    forgotten: set[str] = field(default_factory=set)
    """When the sweeps began that had this name before and were removed."""
    specs: list[tuple[int, str]] = field(default_factory=list)
    """The specs that the sweep has had: (position among all entries, JSON). A trial ends under the one of its time."""
    past: set[Ending] = field(default_factory=set)
    """How trials were left that were continued since, as far as a journal knows more than their rows."""
    has_gaps: bool = False
    """Whether the source is known to lack something: it has damaged lines or pages."""
    unusable: int = 0
    """Entries or values that can't be used, since they are not what this version writes."""
    _num_entries: int = 0
    """Entries so far, by which reports are numbered in their order."""

    @property
    def is_forgotten(self) -> bool:
        """Whether the sweep was removed, and none of this name has begun since."""
        return bool(self.forgotten) and not (self.sweep or self.trials)

    @property
    def num_reports(self) -> int:
        """Reports of all trials."""
        return sum(map(len, self.reports.values()))

    def apply(self, transactions: Iterable[list[list[Any]]], *, folder: Path) -> SweepCopy:
        """Apply the transactions of a journal in their order.

        Args:
            transactions: As `read_journal` gives them.
            folder: The sweep's folder, for messages.

        Returns:
            This copy.

        Raises:
            LedgerError: An entry is of a kind that this version does not know.
        """
        kinds: Mapping[Any, Callable[..., None]] = {
            "sweep": self._apply_sweep,
            "trial": self._apply_trial,
            "report": self.add_report,
            "failure": self.add_failure,
            "forgiven": self._apply_forgiven,
            "forgotten": self._apply_forgotten,
        }
        for transaction in transactions:
            for kind, *values in transaction:
                if kind not in kinds:
                    raise LedgerError(
                        f"{journal_path(folder)}: the journal has an entry of the unknown kind {kind!r}, so a newer"
                        " version of hpsearch wrote it. Upgrade hpsearch."
                    )
                try:
                    kinds[kind](*values)
                except (TypeError, ValueError, AttributeError):  # a checksum proves no good will
                    self.unusable += 1
        return self

    def ending(self, number: int) -> Ending | None:
        """How a trial was left last, also if it runs again, by which older tables and ledgers are recognised."""
        row = self.trials[number]
        left = number, row.get("epochs_trained"), row.get("duration_s")
        return None if left[2] is None else left

    def continued(self) -> set[Ending]:
        """How trials were left that were continued since."""
        running = (number for number, row in self.trials.items() if row.get("state") in ACTIVE_STATES)
        return self.past | {left for number in running if (left := self.ending(number))}

    def add_report(self, number: int, epoch: int, metrics: str, elapsed_s: float) -> None:
        """Add a report, or replace the one of the same epoch."""
        self._num_entries += 1
        self.reports.setdefault(number, {})[epoch] = (self._num_entries, metrics, elapsed_s)

    def note_event(self, kind: Literal["begin", "end"], number: int) -> None:
        """Note that a trial began or ended after what is here so far."""
        self._num_entries += 1
        (self.began if kind == "begin" else self.ended)[number] = self._num_entries

    def add_spec(self, spec: str) -> None:
        """Add a spec that the sweep has from here on."""
        self._num_entries += 1
        self.specs.append((self._num_entries, spec))

    def add_failure(self, number: int, values: Columns) -> None:
        """Add a failed attempt."""
        self._num_entries += 1
        self.failures.setdefault(number, []).append((self._num_entries, dict(values)))

    def _apply_sweep(self, values: Columns) -> None:
        self.sweep |= values
        if "spec" in values:
            self.add_spec(values["spec"])

    def _apply_trial(self, number: int, values: Columns) -> None:
        if "point" in values:  # a trial whose first line was never committed begins again
            self.trials[number], self.reports[number], self.failures[number] = {}, {}, []
        if "state" in values and self.trials.get(number, {}).get("state", "running") not in ACTIVE_STATES:
            self.past |= {left for left in (self.ending(number),) if left}
        self.trials.setdefault(number, {}).update(values)
        if "point" in values:
            self.note_event("begin", number)
        if values.get("ended_at") is not None:
            self.note_event("end", number)
        if "epochs_trained" in values:  # reports beyond were never committed
            known, last = self.reports.get(number, {}), values["epochs_trained"]
            self.reports[number] = {epoch: report for epoch, report in known.items() if epoch <= last}

    def _apply_forgiven(self, number: int) -> None:
        for _, failure in self.failures.get(number, []):
            failure["counts"] = False

    def _apply_forgotten(self, started_at: str) -> None:
        self.forgotten.add(started_at)
        self.sweep, self.trials, self.failures, self.reports = {}, {}, {}, {}
        self.began, self.ended, self.specs, self.past = {}, {}, [], set()


def usable(copy: SweepCopy) -> SweepCopy:
    """The part of a copy that this version could have written; what was left out is counted in `unusable`.

    Values have the types of their columns, texts that hold JSON can be read, states and causes are known ones.
    """
    specs = [spec for spec in copy.specs if _fits(schema.sweeps.c.spec, spec[1])]
    checked = replace(copy, sweep={}, trials={}, failures={}, reports={}, specs=specs)

    def columns(table: sa.Table, found: Columns) -> Columns:
        good = {name: value for name, value in found.items() if name in table.c and _fits(table.c[name], value)}
        checked.unusable += sum(1 for name in found if name in table.c and name not in good)
        return {name: value for name, value in good.items() if name not in _KEYS}

    checked.sweep = columns(schema.sweeps, copy.sweep)
    for number, values in copy.trials.items():
        if isinstance(number, int) and number >= 1:
            checked.trials[number] = columns(schema.trials, values)
    for number, failures in copy.failures.items():
        rows = [(position, columns(schema.failures, values)) for position, values in failures]
        checked.failures[number] = [row for row in rows if row[1].keys() >= {"attempt", "cause", "failed_at"}]
    for number, reports in copy.reports.items():
        checked.reports[number] = {epoch: row for epoch, row in reports.items() if _is_report(epoch, row)}
        checked.unusable += len(reports) - len(checked.reports[number])
    return checked


def is_same(one: SweepCopy, other: SweepCopy) -> bool:
    """Whether two usable copies hold the same; a column without a value equals one that is NULL."""
    return _content(one) == _content(other)


def is_of_one_sweep(one: SweepCopy, other: SweepCopy) -> bool:
    """Whether two copies are of one sweep: a trial of the same number began at the same microsecond, or the sweep."""
    known = one.sweep.get("started_at")
    common = one.trials.keys() & other.trials.keys()
    return (known is not None and known == other.sweep.get("started_at")) or any(
        one.trials[number].get("started_at", "") == other.trials[number].get("started_at") for number in common
    )


def reports_in_order(copy: SweepCopy) -> list[Event]:
    """The reports in the order in which they arrived."""
    found = ((row[0], number, epoch) for number, rows in copy.reports.items() for epoch, row in rows.items())
    return [("report", number, epoch) for _, number, epoch in sorted(found)]


def events_in_order(copy: SweepCopy) -> list[Event]:
    """The specs that a sweep has had, the beginnings and ends of trials and their reports, in their order.

    A source without the positions of beginnings and ends has them as close to a trial's reports as is possible, trials
    beginning in the order of their numbers: times of day decide nothing.
    """
    positions: dict[Event, tuple[int, int, int]] = {}
    for index, (position, _) in enumerate(copy.specs):
        positions["spec", index, 0] = (position, 0, 0)
    for number, rows in copy.reports.items():
        for epoch, row in rows.items():
            positions["report", number, epoch] = (row[0], 1, 0)
    began = sys.maxsize
    for number in sorted(copy.trials, reverse=True):
        known = [row[0] for row in copy.reports.get(number, {}).values()]
        began = min([began, *known])
        positions["begin", number, 0] = (copy.began.get(number, began), 0, number)
        if copy.trials[number].get("ended_at") is not None:
            last = max(known, default=began)
            positions["end", number, 0] = (copy.ended.get(number, last), 2, number)
    return sorted(positions, key=positions.__getitem__)


def failures_in_order(copy: SweepCopy) -> list[tuple[int, str]]:
    """(Trial, time) of the failed attempts, in the order in which they failed."""
    found = ((position, number, row["failed_at"]) for number, rows in copy.failures.items() for position, row in rows)
    return [(number, failed_at) for _, number, failed_at in sorted(found)]


def _content(copy: SweepCopy) -> object:
    def plain(values: Columns) -> Columns:
        return {name: value for name, value in values.items() if value is not None}

    return (
        plain(copy.sweep),
        {number: plain(values) for number, values in copy.trials.items()},
        {number: [plain(row) for _, row in rows] for number, rows in copy.failures.items() if rows},
        {number: {epoch: row[1:] for epoch, row in rows.items()} for number, rows in copy.reports.items() if rows},
        reports_in_order(copy),
    )


def _fits(column: sa.Column[Any], value: Any) -> bool:
    """Whether a value may be in a column."""
    if value is None:
        return bool(column.nullable)
    kind = column.type.python_type
    if kind is bool:
        return value in (False, True)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    table = column.table.name
    if column.name in ("spec", "point", "last_metrics") or (table, column.name) == ("sweeps", "code"):
        return isinstance(_decoded(value), dict)
    return (table, column.name) not in _KNOWN or value in _KNOWN[table, column.name]


def _is_report(epoch: Any, row: tuple[Any, ...]) -> bool:
    _, metrics, elapsed_s = row
    if not (isinstance(epoch, int) and epoch >= 1 and isinstance(metrics, str) and isinstance(elapsed_s, int | float)):
        return False
    found = _decoded(metrics)
    return isinstance(found, dict) and math.isfinite(elapsed_s) and all(map(_is_number, found.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
