"""Queries of a ledger: sweeps, trials, failed attempts and reports, as records.

They need a connection and nothing else; `store.Ledger` provides it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row, RowMapping
from sqlalchemy.engine import Connection

from hpsearch.errors import LedgerError, UnknownSweep, did_you_mean
from hpsearch.ledger import schema
from hpsearch.ledger.records import ACTIVE_STATES, FailureRecord, ReportRecord, SweepRecord, TrialRecord, TrialState
from hpsearch.paths import home_option


class Queries(ABC):
    """The reading half of a ledger."""

    path: Path
    """The ledger's file, as messages name it."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees what is committed, for the time of the block."""

    def find_sweep(self, name: str) -> SweepRecord | None:
        """The sweep of that name; None if there is none."""
        query = sa.select(schema.sweeps).where(schema.sweeps.c.name == name)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else sweep_record(row, self.path.parent)

    def sweeps(self) -> list[SweepRecord]:
        """All sweeps, in the order in which they were added."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(schema.sweeps).order_by(schema.sweeps.c.id)).mappings()
            return [sweep_record(row, self.path.parent) for row in rows]

    def sweep(self, name: str | None = None) -> SweepRecord:
        """The sweep of that name.

        Args:
            name: None for the newest sweep.

        Raises:
            UnknownSweep: There is none; the message offers the nearest name.
        """
        found = None if name is None else self.find_sweep(name)
        if found is not None:
            return found
        known = {sweep.name: sweep for sweep in self.sweeps()}
        if not known:
            at = home_option(self.path.parent)
            raise UnknownSweep(f"{self.path}: there is no sweep yet. Run one: python -m hpsearch sweep SPEC{at}")
        if name is None:
            return list(known.values())[-1]
        raise UnknownSweep(
            f"{self.path}: there is no sweep '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )

    def trials(self, sweep: SweepRecord) -> list[TrialRecord]:
        """All trials of a sweep by number, as they were when they last started, paused or ended.

        A trial's row is not written with each report; see `current_trials`.
        """
        columns = [schema.trials.c[name] for name in TrialRecord.__dataclass_fields__]
        query = sa.select(*columns).where(schema.trials.c.sweep_id == sweep.id).order_by(schema.trials.c.number)
        with self.reading() as connection:
            return trial_records(connection.execute(query).mappings().all())

    def current_trials(self, sweep: SweepRecord) -> list[TrialRecord]:
        """All trials of a sweep by number; those that run have the epochs and values of their reports so far."""
        return [
            _with_reports(trial, self.reports_of(trial), sweep) if trial.state in ACTIVE_STATES else trial
            for trial in self.trials(sweep)
        ]

    def count_states(self, sweep: SweepRecord) -> Counter[TrialState]:
        """How many trials of a sweep are in each state."""
        trials = schema.trials
        query = sa.select(trials.c.state, sa.func.count()).where(trials.c.sweep_id == sweep.id).group_by(trials.c.state)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return Counter(dict(iter(rows)))

    def failures(self, sweep: SweepRecord) -> list[FailureRecord]:
        """All failed attempts of a sweep, in the order in which they failed."""
        failures, trials = schema.failures, schema.trials
        names = [name for name in FailureRecord.__dataclass_fields__ if name != "number"]
        query = (
            sa.select(trials.c.number, *(failures.c[name] for name in names))
            .join(trials, trials.c.id == failures.c.trial_id)
            .where(trials.c.sweep_id == sweep.id)
            .order_by(failures.c.id)
        )
        with self.reading() as connection:
            return [FailureRecord(**row) for row in connection.execute(query).mappings()]

    def reports_of(self, trial: TrialRecord) -> list[ReportRecord]:
        """The committed reports of one trial by epoch."""
        return self._reports(schema.reports.c.trial_id == trial.id, order=schema.reports.c.epoch)

    def reports(self, sweep: SweepRecord) -> list[ReportRecord]:
        """The committed reports of a sweep, in the order in which they arrived."""
        return self._reports(schema.trials.c.sweep_id == sweep.id, order=schema.reports.c.id)

    def _reports(self, which: sa.ColumnElement[bool], *, order: sa.Column[Any]) -> list[ReportRecord]:
        reports, trials = schema.reports, schema.trials
        query = (
            sa.select(trials.c.number, reports.c.epoch, reports.c.metrics, reports.c.elapsed_s)
            .join(trials, trials.c.id == reports.c.trial_id)
            .where(which)
            .order_by(order)
        )
        with self.reading() as connection:
            return _report_records(connection.execute(query).all())


def sweep_record(row: RowMapping, home: Path) -> SweepRecord:
    """A row of the table `sweeps` as a record.

    Args:
        row: The row. While the sweep is being renamed it has the new name and the old folder, see `renaming.py`.
        home: Folder of the ledger, in which it is looked up whether the folder was moved already.

    Raises:
        LedgerError: The sweep's folder is none in the ledger's folder, so that its files would be looked for elsewhere.
        ValueError: Its spec or its code is not the JSON text of a map.
    """
    name, folder = row["name"], row["folder"]
    if not (_is_one_folder(name) and _is_one_folder(folder)):
        raise LedgerError(f"sweep {name!r} has the folder {folder!r}: this ledger was edited.")
    if folder != name and (home / name).is_dir():
        folder = name
    code = None if row["code"] is None else _map(row["code"])
    return SweepRecord(**{**row, "folder": folder, "spec": _map(row["spec"]), "code": code})


def _is_one_folder(name: object) -> bool:
    return isinstance(name, str) and name not in ("", "..") and "\0" not in name and Path(name).name == name


def _map(text: object) -> Mapping[str, Any]:
    """The map that a JSON text holds; a damaged file may have something else in its place."""
    found = json.loads(text) if isinstance(text, str) else text
    if not isinstance(found, dict):
        raise ValueError(f"expected the JSON text of a map, got {str(text)[:100]!r}")
    return found


def trial_records(rows: Sequence[RowMapping]) -> list[TrialRecord]:
    """Rows of the table `trials` as records, in the same order.

    Raises:
        LedgerError: A trial's number is none, so that its files would be looked for elsewhere.
    """
    if strange := [number for row in rows if not isinstance(number := row["number"], int)]:
        raise LedgerError(f"a trial has the number {strange[0]!r}: this ledger was edited.")
    names = tuple(TrialRecord.__dataclass_fields__)
    points = decode_all(row["point"] for row in rows)
    metrics = decode_all(row["last_metrics"] or "{}" for row in rows)
    return [
        TrialRecord(**{name: row[name] for name in names} | {"point": point, "last_metrics": last})
        for row, point, last in zip(rows, points, metrics, strict=True)
    ]


def decode_all(texts: Iterable[str]) -> list[Any]:
    """JSON texts, decoded in one call: of the 100,000 of a large sweep, a call for each costs more than decoding.

    Raises:
        ValueError: One is no JSON, or no text: a damaged file may have bytes in the place of a text.
    """
    try:
        together = ",".join(texts)
    except TypeError as error:
        raise ValueError(f"a column of text has another type: {error}") from error
    return list(json.loads(f"[{together}]"))


def _report_records(rows: Sequence[Row[int, int, str, float]]) -> list[ReportRecord]:
    """Rows of (trial's number, epoch, metrics, elapsed_s) as records, in the same order."""
    decoded = decode_all(row[2] for row in rows)
    return [
        ReportRecord(number=number, epoch=epoch, metrics=metrics, elapsed_s=elapsed_s)
        for (number, epoch, _, elapsed_s), metrics in zip(rows, decoded, strict=True)
    ]


def _with_reports(trial: TrialRecord, reports: Sequence[ReportRecord], sweep: SweepRecord) -> TrialRecord:
    """A trial that runs, with what it has reported so far."""
    if not reports:
        return trial
    best = min(reports, key=lambda report: sweep.sign * report.metrics[sweep.metric])
    return replace(
        trial,
        epochs_trained=len(reports),
        best_value=best.metrics[sweep.metric],
        best_epoch=best.epoch,
        last_metrics=reports[-1].metrics,
        duration_s=reports[-1].elapsed_s,
    )
