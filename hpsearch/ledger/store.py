"""The trial store. One process writes a sweep; any number read it while it runs.

A state change is committed when its method returns. Reports are held back at most REPORT_DELAY_S and committed
together, since a commit costs more than a trial's epoch may take; every state change takes them along.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from hpsearch.errors import SweepExists, UnknownSweep, did_you_mean
from hpsearch.ledger import schema
from hpsearch.ledger.file import FILE_NAME, open_to_read, open_to_write, storage_errors
from hpsearch.ledger.journal import Journal
from hpsearch.ledger.records import FailureRecord, ReportRecord, SweepRecord, SweepState, TrialRecord, TrialState
from hpsearch.ledger.rows import decode_all, report_record, sweep_record, trial_records
from hpsearch.ledger.spec_place import from_home

REPORT_DELAY_S = 0.2


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
        self._together: Connection | None = None
        self._journal = Journal(home, clock=clock)
        self.before_commit: Callable[[], None] = lambda: None
        self._places: dict[int, tuple[str, int]] = {}
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
            self._journal.close()
            self._engine.dispose()

    # -- sweeps ------------------------------------------------------------------------------------------------------

    def find_sweep(self, name: str) -> SweepRecord | None:
        """The sweep of that name, if there is one."""
        query = sa.select(schema.sweeps).where(schema.sweeps.c.name == name)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else sweep_record(row)

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
            **self._place_of(spec_dir),
            "code": _json(code),
            "started_at": now(),
            "can_pause": True,
        }
        try:
            with self._commit() as connection:
                connection.execute(sa.insert(schema.sweeps).values(row))
                self._journal.tell(name, "sweep", row)
        except IntegrityError as error:
            raise SweepExists(
                f"a sweep named '{name}' is in {self.path} already. Choose another with --name."
            ) from error
        return self.sweep(name)

    def reopen_sweep(
        self,
        sweep: SweepRecord,
        spec: Mapping[str, Any],
        *,
        spec_dir: Path | None = None,
        code: Mapping[str, str] | None = None,
    ) -> SweepRecord:
        """A sweep goes on, with limits and perhaps code that changed, and its spec in another place if one is given."""
        values = {"state": "running", "reason": None, "ended_at": None, "spec": json.dumps(spec), "code": _json(code)}
        values |= {} if spec_dir is None else self._place_of(spec_dir)
        with self._commit() as connection:
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))
            self._journal.tell(sweep.folder, "sweep", values)
        return self.sweep(sweep.name)

    def _place_of(self, spec_dir: Path | None) -> dict[str, str | None]:
        if spec_dir is None:
            return {"spec_dir": None, "spec_from_home": None}
        return {"spec_dir": str(spec_dir.resolve()), "spec_from_home": from_home(spec_dir, self.home)}

    def cannot_pause(self, sweep: SweepRecord) -> None:
        """A trial should have waited at a rung and had no checkpoint: this sweep stops trials instead, from now on."""
        with self._commit() as connection:
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(can_pause=False))
            self._journal.tell(sweep.folder, "sweep", {"can_pause": False})

    def forget_sweep(self, sweep: SweepRecord) -> None:
        """Take a sweep out of the ledger that never trained an epoch, so that its name is free."""
        ours = sa.select(schema.trials.c.id).where(schema.trials.c.sweep_id == sweep.id)
        with self._commit() as connection:
            connection.execute(sa.delete(schema.claims).where(schema.claims.c.sweep_id == sweep.id))
            connection.execute(sa.delete(schema.failures).where(schema.failures.c.trial_id.in_(ours)))
            connection.execute(sa.delete(schema.trials).where(schema.trials.c.sweep_id == sweep.id))
            connection.execute(sa.delete(schema.sweeps).where(schema.sweeps.c.id == sweep.id))
        self._journal.forget(sweep.folder)

    def end_sweep(self, sweep: SweepRecord, state: SweepState, reason: str | None = None) -> None:
        """Record how a sweep ended; it claims nothing any more."""
        with self._commit() as connection:
            values = {"state": state, "reason": reason, "ended_at": now()}
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))
            connection.execute(sa.delete(schema.claims).where(schema.claims.c.sweep_id == sweep.id))
            self._journal.tell(sweep.folder, "sweep", values)

    def remark(self, sweep: SweepRecord, text: str) -> None:
        """Add to the reason for which a sweep ended, unless it says so already."""
        known = self.sweep(sweep.name).reason
        if known is None or text not in known:
            values = {"reason": "; ".join(filter(None, (known, text)))}
            with self._commit() as connection:
                connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))
                self._journal.tell(sweep.folder, "sweep", values)

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

    # -- trials ------------------------------------------------------------------------------------------------------

    def add_trial(
        self,
        sweep: SweepRecord,
        number: int,
        *,
        point: Mapping[str, Any],
        seed: int,
        fingerprint: str | None = None,
        code_hash: str | None = None,
    ) -> int:
        """Begin a trial; it is `running` from here.

        Args:
            sweep: Whose trial.
            number: Counted from 1.
            point: Dotted name to value.
            seed: Of its random numbers.
            fingerprint: What it is recognised by in later sweeps.
            code_hash: Of the code that it begins with.

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
            "code_hash": code_hash,
            "attempts": 1,
            "epochs_trained": 0,
            "started_at": now(),
        }
        with self._commit() as connection:
            key = connection.execute(sa.insert(schema.trials).values(row)).inserted_primary_key
            assert key is not None
            self._places[int(key[0])] = (sweep.folder, number)
            self._journal.tell(sweep.folder, "trial", number, row)
            return int(key[0])

    def update_trial(self, trial_id: int, *, failure: FailureRecord | None = None, **values: Any) -> None:
        """Set columns of a trial; committed on return, together with all reports so far.

        A trial that neither runs nor is tried again claims nothing any more.

        Args:
            trial_id: Key of its row.
            failure: An attempt that failed.
            values: Column to value.
        """
        if isinstance(values.get("last_metrics"), Mapping):
            values["last_metrics"] = json.dumps(values["last_metrics"])
        trials, claims = schema.trials, schema.claims
        with self._commit() as connection:
            connection.execute(sa.update(trials).where(trials.c.id == trial_id).values(values))
            self._tell(trial_id, "trial", values)
            if values.get("state", "running") not in ("running", "queued"):
                its = sa.and_(trials.c.sweep_id == claims.c.sweep_id, trials.c.number == claims.c.number)
                connection.execute(sa.delete(claims).where(sa.exists().where(trials.c.id == trial_id, its)))
            if failure is not None:
                row = {name: value for name, value in vars(failure).items() if name != "number"}
                row |= {"trial_id": trial_id, "failed_at": now()}
                connection.execute(sa.insert(schema.failures).values(row))
                self._tell(trial_id, "failure", row)

    def free(self, trial_ids: Iterable[int]) -> None:
        """The checkpoints of these trials are about to be removed."""
        freed = list(trial_ids)
        with self._commit() as connection:
            connection.execute(
                sa.update(schema.trials).where(schema.trials.c.id.in_(freed)).values(checkpoint_epoch=None)
            )
            for each in freed:
                self._tell(each, "trial", {"checkpoint_epoch": None})

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

    def forgive(self, trial_ids: Iterable[int]) -> None:
        """The failures of these trials so far count no more: the user wants them tried again."""
        trial_ids = list(trial_ids)
        with self._commit() as connection:
            theirs = schema.failures.c.trial_id.in_(trial_ids)
            connection.execute(sa.update(schema.failures).where(theirs).values(counts=False))
            for trial_id in trial_ids:
                self._tell(trial_id, "forgiven")

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
        """Commit the reports that have waited long enough, and force the journal to the disk once a second."""
        if self._pending and self._clock() - self._pending_since >= REPORT_DELAY_S:
            self.flush()
        with storage_errors(self.path):
            self._journal.tick()

    def flush(self) -> None:
        """Commit every report."""
        if self._pending:
            with self._commit():
                pass

    def reports_of(self, trial: TrialRecord) -> list[ReportRecord]:
        """All committed reports of one trial by epoch."""
        query = sa.select(schema.reports).where(schema.reports.c.trial_id == trial.id).order_by(schema.reports.c.epoch)
        with self.reading() as connection:
            return [report_record(trial.number, row) for row in connection.execute(query).mappings()]

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
        with self.reading() as connection:
            rows = connection.execute(query).all()
        decoded = decode_all(row.metrics for row in rows)
        return [
            ReportRecord(number=number, epoch=epoch, metrics=metrics, elapsed_s=elapsed_s)
            for (number, epoch, _, elapsed_s), metrics in zip(rows, decoded, strict=True)
        ]

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[Connection]:
        """What is written in the block is committed at its end, all of it or nothing."""
        with self._commit() as connection:
            outer, self._together = self._together, connection
            try:
                yield connection
            finally:
                self._together = outer

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what is committed, and what the block of `together` has written."""
        if self._together is not None:
            yield self._together
            return
        with storage_errors(self.path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _commit(self) -> Iterator[Connection]:
        """One transaction that takes the pending reports along; they stay pending if it fails."""
        if self._together is not None:
            yield self._together
            return
        self.before_commit()
        with storage_errors(self.path), self._journaled(), self._engine.begin() as connection:
            if self._pending:
                connection.execute(sa.insert(schema.reports), self._pending)
                for report in self._pending:
                    self._tell(report["trial_id"], "report", report["epoch"], report["metrics"], report["elapsed_s"])
            yield connection
            self._journal.write()
        self._pending = []

    @contextmanager
    def _journaled(self) -> Iterator[None]:
        """What was told to the journal stays there if the block ends well, and is taken back if not."""
        self._journal.take_back()  # where it could not be said when it failed
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self._journal.take_back()
            raise
        self._journal.committed()

    def _tell(self, trial_id: int, kind: str, *values: Any) -> None:
        """The journal of the sweep that a trial belongs to."""
        if trial_id not in self._places:
            query = (
                sa.select(schema.sweeps.c.folder, schema.trials.c.number)
                .join(schema.trials, schema.trials.c.sweep_id == schema.sweeps.c.id)
                .where(schema.trials.c.id == trial_id)
            )
            with self.reading() as connection:
                folder, number = connection.execute(query).one()
            self._places[trial_id] = (folder, number)
        folder, number = self._places[trial_id]
        self._journal.tell(folder, kind, number, *values)


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value))
