"""The trial store. One process writes a sweep; any number read it while it runs.

A state change is committed when its method returns. Reports are held back at most REPORT_DELAY_S and committed
together, since a commit costs more than a trial's epoch may take; every state change takes them along.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from hpsearch.errors import LedgerError, SweepExists, UnknownSweep, did_you_mean
from hpsearch.ledger import schema
from hpsearch.ledger.file import FILE_NAME, open_to_read, open_to_write, storage_errors
from hpsearch.ledger.records import ReportRecord, SweepRecord, SweepState, TrialRecord

REPORT_DELAY_S = 0.2
TRUSTED_STATES = ("done", "stopped", "paused", "interrupted", "reused")
"""Trials whose epochs count in other sweeps; one that failed may have failed for another reason than its point."""


def now() -> str:
    """The time of day: UTC, ISO 8601, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Ledger:
    """All sweeps of one home folder; a context manager."""

    def __init__(self, home: Path, *, create: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the ledger of a home folder.

        Args:
            home: Folder that holds `ledger.db` and a folder for each sweep.
            create: Make the folder and the file where they are missing, and bring an older file to this version: for
                whoever writes. Without it the file is only read, whatever its version.
            clock: Seconds that never go back; tests can move it.

        Raises:
            UnknownSweep: There is no ledger, and `create` is false.
            LedgerError: It can't be opened, or a newer version of hpsearch wrote it.
        """
        self.home = home
        self.path = home / FILE_NAME
        self._clock = clock
        self._pending: list[dict[str, Any]] = []
        self._pending_since = 0.0
        if not create and not self.path.exists():
            raise UnknownSweep(
                f"{self.path}: there is no ledger here yet. Run a sweep first, or name its folder with --home."
            )
        with storage_errors(self.path):
            self._engine = open_to_write(self.path) if create else open_to_read(self.path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is pending and let go of the file."""
        try:
            self.flush()
        finally:
            self._engine.dispose()

    # -- sweeps ------------------------------------------------------------------------------------------------------

    def find_sweep(self, name: str) -> SweepRecord | None:
        """The sweep of that name, if there is one."""
        return next((sweep for sweep in self.sweeps() if sweep.name == name), None)

    def add_sweep(
        self, name: str, spec: Mapping[str, Any], *, spec_dir: Path | None = None, code: Mapping[str, str] | None = None
    ) -> SweepRecord:
        """Begin a sweep.

        Args:
            name: Not taken yet.
            spec: The resolved spec.
            spec_dir: Folder of the spec.
            code: The trainable's source, see `fingerprint.code_of`.

        Raises:
            SweepExists: The name is taken.
        """
        row = {
            "name": name,
            "state": "running",
            "spec": json.dumps(spec),
            "folder": name,
            "spec_dir": None if spec_dir is None else str(spec_dir.resolve()),
            "code": _json(code),
            "started_at": now(),
        }
        try:
            with self._commit() as connection:
                connection.execute(sa.insert(schema.sweeps).values(row))
        except IntegrityError as error:
            raise SweepExists(
                f"a sweep named '{name}' is in {self.path} already. Choose another with --name."
            ) from error
        return self.sweep(name)

    def reopen_sweep(
        self, sweep: SweepRecord, spec: Mapping[str, Any], *, code: Mapping[str, str] | None = None
    ) -> SweepRecord:
        """A sweep goes on, with limits and perhaps code that changed."""
        values = {"state": "running", "reason": None, "ended_at": None, "spec": json.dumps(spec), "code": _json(code)}
        with self._commit() as connection:
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))
        return self.sweep(sweep.name)

    def forget_sweep(self, sweep: SweepRecord) -> None:
        """Take a sweep out of the ledger that never trained an epoch, so that its name is free."""
        with self._commit() as connection:
            connection.execute(sa.delete(schema.trials).where(schema.trials.c.sweep_id == sweep.id))
            connection.execute(sa.delete(schema.sweeps).where(schema.sweeps.c.id == sweep.id))

    def end_sweep(self, sweep: SweepRecord, state: SweepState, reason: str | None = None) -> None:
        """Record how a sweep ended."""
        with self._commit() as connection:
            values = {"state": state, "reason": reason, "ended_at": now()}
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))

    def sweeps(self) -> list[SweepRecord]:
        """All sweeps, the newest last."""
        with storage_errors(self.path), self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.sweeps).order_by(schema.sweeps.c.id)).mappings()
            return [_sweep_record(row) for row in rows]

    def sweep(self, name: str | None = None) -> SweepRecord:
        """The sweep of that name; the newest one without a name.

        Raises:
            UnknownSweep: There is none; the message offers the nearest name.
        """
        known = {sweep.name: sweep for sweep in self.sweeps()}
        if not known:
            raise UnknownSweep(f"{self.path}: there is no sweep yet. Run one with `hpsearch sweep SPEC`.")
        if name is None:
            return list(known.values())[-1]
        if name not in known:
            raise UnknownSweep(
                f"{self.path}: there is no sweep '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )
        return known[name]

    # -- trials ------------------------------------------------------------------------------------------------------

    def add_trial(
        self, sweep: SweepRecord, number: int, *, point: Mapping[str, Any], seed: int, fingerprint: str | None = None
    ) -> int:
        """Begin a trial; it is `running` from here.

        Args:
            sweep: Whose trial.
            number: Counted from 1.
            point: Dotted name to value.
            seed: Of its random numbers.
            fingerprint: What it is recognised by in later sweeps.

        Returns:
            The key of its row, which the other methods take.
        """
        row = {
            "sweep_id": sweep.id,
            "number": number,
            "state": "running",
            "point": json.dumps(point),
            "seed": seed,
            "fingerprint": fingerprint,
            "attempts": 1,
            "epochs_trained": 0,
            "started_at": now(),
        }
        with self._commit() as connection:
            key = connection.execute(sa.insert(schema.trials).values(row)).inserted_primary_key
            assert key is not None
            return int(key[0])

    def update_trial(self, trial_id: int, **values: Any) -> None:
        """Set columns of a trial; committed on return, together with all reports so far."""
        if isinstance(values.get("last_metrics"), Mapping):
            values["last_metrics"] = json.dumps(values["last_metrics"])
        with self._commit() as connection:
            connection.execute(sa.update(schema.trials).where(schema.trials.c.id == trial_id).values(values))

    def trials(self, sweep: SweepRecord) -> list[TrialRecord]:
        """All trials of a sweep by number."""
        columns = [schema.trials.c[name] for name in TrialRecord.__dataclass_fields__]
        query = sa.select(*columns).where(schema.trials.c.sweep_id == sweep.id).order_by(schema.trials.c.number)
        with storage_errors(self.path), self._engine.connect() as connection:
            return [_trial_record(row) for row in connection.execute(query).mappings()]

    def find_trained(self, fingerprint: str, *, but: int) -> tuple[SweepRecord, TrialRecord] | None:
        """The trial of any sweep that went furthest with this fingerprint and does not run now; None without one.

        Args:
            fingerprint: As `add_trial` was given it.
            but: A row that does not count.
        """
        trials = schema.trials
        columns = [trials.c[name] for name in TrialRecord.__dataclass_fields__]
        query = (
            sa.select(*columns, schema.sweeps.c.name.label("sweep_name"))
            .join(schema.sweeps, schema.sweeps.c.id == trials.c.sweep_id)
            .where(trials.c.fingerprint == fingerprint, trials.c.id != but, trials.c.epochs_trained > 0)
            .where(trials.c.state.in_(TRUSTED_STATES))
            .order_by(trials.c.epochs_trained.desc(), trials.c.id)
            .limit(1)
        )
        with storage_errors(self.path), self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return self.sweep(row["sweep_name"]), _trial_record(row)

    # -- reports -----------------------------------------------------------------------------------------------------

    def add_report(self, trial_id: int, *, epoch: int, metrics: Mapping[str, float], elapsed_s: float) -> None:
        """One report of a trial; committed at most REPORT_DELAY_S later, if `tick` is called that often."""
        if not self._pending:
            self._pending_since = self._clock()
        self._pending.append(
            {"trial_id": trial_id, "epoch": epoch, "metrics": json.dumps(metrics), "elapsed_s": elapsed_s}
        )
        self.tick()

    def tick(self) -> None:
        """Commit the reports that have waited long enough."""
        if self._pending and self._clock() - self._pending_since >= REPORT_DELAY_S:
            self.flush()

    def flush(self) -> None:
        """Commit every report."""
        if self._pending:
            with self._commit():
                pass

    def reports_of(self, trial: TrialRecord) -> list[ReportRecord]:
        """All committed reports of one trial by epoch."""
        query = sa.select(schema.reports).where(schema.reports.c.trial_id == trial.id).order_by(schema.reports.c.epoch)
        with storage_errors(self.path), self._engine.connect() as connection:
            return [_report_record(trial.number, row) for row in connection.execute(query).mappings()]

    def reports(self, sweep: SweepRecord) -> list[ReportRecord]:
        """All committed reports of a sweep in the order in which they came."""
        joined = schema.reports.join(schema.trials, schema.reports.c.trial_id == schema.trials.c.id)
        query = (
            sa.select(
                schema.trials.c.number, schema.reports.c.epoch, schema.reports.c.metrics, schema.reports.c.elapsed_s
            )
            .select_from(joined)
            .where(schema.trials.c.sweep_id == sweep.id)
            .order_by(schema.reports.c.id)
        )
        with storage_errors(self.path), self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [_report_record(row["number"], row) for row in rows]

    # -- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _commit(self) -> Iterator[Connection]:
        """One transaction that takes the pending reports along; they stay pending if it fails."""
        with storage_errors(self.path), self._engine.begin() as connection:
            if self._pending:
                connection.execute(sa.insert(schema.reports), self._pending)
            yield connection
        self._pending = []


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value))


def _sweep_record(row: sa.RowMapping) -> SweepRecord:
    if row["folder"] != row["name"] or Path(row["name"]).name != row["name"] or row["name"] == "..":
        raise LedgerError(f"sweep {row['name']!r} has the folder {row['folder']!r}: somebody has edited this ledger.")
    code = None if row["code"] is None else json.loads(row["code"])
    return SweepRecord(**{**row, "spec": json.loads(row["spec"]), "code": code})


def _trial_record(row: sa.RowMapping) -> TrialRecord:
    values = {name: row[name] for name in TrialRecord.__dataclass_fields__}
    decoded = {"point": json.loads(row["point"]), "last_metrics": json.loads(row["last_metrics"] or "{}")}
    return TrialRecord(**{**values, **decoded})


def _report_record(number: int, row: sa.RowMapping) -> ReportRecord:
    metrics = json.loads(row["metrics"])
    return ReportRecord(number=number, epoch=row["epoch"], metrics=metrics, elapsed_s=row["elapsed_s"])
