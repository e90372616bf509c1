"""What is read from a ledger. It needs a connection and nothing else; whoever has one is a subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hpsearch.errors import UnknownSweep, did_you_mean
from hpsearch.ledger import schema
from hpsearch.ledger.records import FailureRecord, ReportRecord, SweepRecord, TrialRecord, TrialState
from hpsearch.ledger.rows import report_records, sweep_record, trial_records


class Queries(ABC):
    """Sweeps, trials, failed attempts and reports, as records."""

    path: Path
    """The ledger's file, for messages."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees what is committed."""

    def find_sweep(self, name: str) -> SweepRecord | None:
        """The sweep of that name, if there is one."""
        query = sa.select(schema.sweeps).where(schema.sweeps.c.name == name)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else sweep_record(row)

    def sweeps(self) -> list[SweepRecord]:
        """All sweeps, the newest last."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(schema.sweeps).order_by(schema.sweeps.c.id)).mappings()
            return [sweep_record(row) for row in rows]

    def sweep(self, name: str | None = None) -> SweepRecord:
        """The sweep of that name; the newest one without a name.

        Raises:
            UnknownSweep: There is none; the message offers the nearest name.
        """
        found = None if name is None else self.find_sweep(name)
        if found is not None:
            return found
        known = {sweep.name: sweep for sweep in self.sweeps()}
        if not known:
            raise UnknownSweep(f"{self.path}: there is no sweep yet. Run one with `hpsearch sweep SPEC`.")
        if name is None:
            return list(known.values())[-1]
        raise UnknownSweep(
            f"{self.path}: there is no sweep '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )

    def trials(self, sweep: SweepRecord) -> list[TrialRecord]:
        """All trials of a sweep by number."""
        columns = [schema.trials.c[name] for name in TrialRecord.__dataclass_fields__]
        query = sa.select(*columns).where(schema.trials.c.sweep_id == sweep.id).order_by(schema.trials.c.number)
        with self.reading() as connection:
            return trial_records(connection.execute(query).mappings().all())

    def count_states(self, sweep: SweepRecord) -> Counter[TrialState]:
        """How many trials of a sweep are in each state."""
        trials = schema.trials
        query = sa.select(trials.c.state, sa.func.count()).where(trials.c.sweep_id == sweep.id).group_by(trials.c.state)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return Counter(dict(iter(rows)))

    def failures(self, sweep: SweepRecord) -> list[FailureRecord]:
        """All failed attempts of a sweep in the order in which they came."""
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
        """All committed reports of one trial by epoch."""
        return self._reports(schema.reports.c.trial_id == trial.id, order=schema.reports.c.epoch)

    def reports(self, sweep: SweepRecord) -> list[ReportRecord]:
        """All committed reports of a sweep in the order in which they came."""
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
            return report_records(connection.execute(query).all())
