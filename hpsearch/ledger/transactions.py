"""Transactions on a ledger's file, one at a time: each is written to the journals first, then committed.

Reports are held back for at most REPORT_DELAY_S and committed together, or with the next transaction, since a commit
may cost more than a trial's epoch. `store.py` decides what is written; this module finds the journal that a trial's
lines belong to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from hpsearch.errors import LedgerError
from hpsearch.ledger import schema
from hpsearch.ledger.in_place import FilesInPlace
from hpsearch.ledger.journal import Journal
from hpsearch.ledger.sqlite import fold_log, storage_errors

REPORT_DELAY_S = 0.2
"""Seconds that a report waits for others at most."""
CHECK_S = 1.0
"""Seconds between two checks that the files are in place, if `tick` is called often; each transaction checks too."""


@final
class Transactions:
    """Writes to a ledger's file and its journals, and reads in between; for one thread of one process."""

    def __init__(self, engine: Engine, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is written yet.

        Args:
            engine: Connects to the file; see `ledger/sqlite.py`.
            path: The file; the journals are in the folders beside it.
            clock: Seconds that never go back.
        """
        self.wait_for_space: Callable[[], None] = lambda: None
        """Called before each transaction; returns when the disk has space for it."""
        self._engine, self._path, self._clock = engine, path, clock
        self.files = FilesInPlace(path)
        """The files that must stay in place; the journals are added when they are opened."""
        self._checked_at = clock()
        self._journal = Journal(path.parent, clock=clock, opened=self.files.watch)
        self._open: Connection | None = None
        self._held: list[dict[str, Any]] = []
        self._held_since = 0.0
        self._owners: dict[int, tuple[str, int]] = {}

    def close(self) -> None:
        """Commit the reports that are held back, and close the file and the journals."""
        try:
            self.flush()
        finally:
            self._journal.close()
            self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what is committed, and what a `transaction` around it has written so far."""
        if self._open is not None:
            yield self._open
            return
        with storage_errors(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit all that is written in the block at its end, or nothing; a block within another is part of it.

        The reports that are held back are committed with it; if it fails they stay held back.
        """
        if self._open is not None:
            yield self._open
            return
        self.check_in_place()
        self.wait_for_space()
        with storage_errors(self._path), self._journaled(), self._engine.begin() as connection:
            self._open = connection
            try:
                self._insert_reports(connection, self._held)
                yield connection
            finally:
                self._open = None
            self._journal.write()
        self._held = []

    def hold(self, report: dict[str, Any]) -> None:
        """Hold back a row of the table `reports`, to be committed with what follows from it or with other reports.

        Within a `transaction` it is written at once, as part of it.
        """
        if self._open is not None:
            self._insert_reports(self._open, [report])
            return
        self.tick()
        if not self._held:
            self._held_since = self._clock()
        self._held.append(report)

    def tick(self) -> None:
        """Commit reports that were held back long enough; once a second, check the files and force the journals."""
        if self._clock() - self._checked_at >= CHECK_S:
            self.check_in_place()
        if self._held and self._clock() - self._held_since >= REPORT_DELAY_S:
            self.flush()
        with storage_errors(self._path):
            self._journal.tick()

    def flush(self) -> None:
        """Commit the reports that are held back."""
        if self._held:
            with self.transaction():
                pass

    def check_in_place(self) -> None:
        """Check that the ledger and the journals are still the files that were opened; see `ledger/in_place.py`.

        Raises:
            LedgerError: They are not. What SQLite's write-ahead log holds is moved into the ledger first, in case that
                this log alone is gone.
        """
        self._checked_at = self._clock()
        try:
            with storage_errors(self._path):
                self.files.check()
        except LedgerError:
            with suppress(sa.exc.SQLAlchemyError):
                fold_log(self._engine)
            raise

    def append(self, folder: str, kind: str, *values: Any) -> None:
        """Add a change to a sweep's journal, as part of the transaction.

        Args:
            folder: The sweep's folder, relative to the ledger's.
            kind: What changed; see `journal.Entry`.
            values: The rest of the entry, as JSON can hold it.
        """
        self._journal.append(folder, kind, *values)

    def append_of_trial(self, trial_id: int, kind: str, *values: Any) -> None:
        """Add a change of a trial to its sweep's journal, as part of the transaction.

        Args:
            trial_id: Key of the trial's row.
            kind: What changed; see `journal.Entry`.
            values: The rest of the entry after the trial's number, as JSON can hold it.
        """
        if trial_id not in self._owners:
            self._owners[trial_id] = self._owner_of(trial_id)
        folder, number = self._owners[trial_id]
        self._journal.append(folder, kind, number, *values)

    def register(self, trial_id: int, folder: str, number: int) -> None:
        """Remember the journal and the number of a new trial; those of older trials are read from the ledger."""
        self._owners[trial_id] = (folder, number)

    def release(self, folder: str) -> None:
        """Commit what is held back and close the journal of a sweep, whose folder this process moves or removes.

        Args:
            folder: The sweep's folder, relative to the ledger's.
        """
        self.flush()
        with storage_errors(self._path):
            self._journal.release(folder)
        self.files.release(self._path.parent / folder)
        self._owners = {key: owner for key, owner in self._owners.items() if owner[0] != folder}

    def _insert_reports(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(sa.insert(schema.reports), rows)
        for report in rows:
            values = report["epoch"], report["metrics"], report["elapsed_s"]
            self.append_of_trial(report["trial_id"], "report", *values)

    @contextmanager
    def _journaled(self) -> Iterator[None]:
        """Keep what the block writes to the journals if it ends well, and roll it back if not."""
        self._journal.rollback()  # of a transaction whose rollback could not be written when it failed
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self._journal.rollback()
            raise
        self._journal.committed()

    def _owner_of(self, trial_id: int) -> tuple[str, int]:
        """(Sweep's folder, trial's number) of a row of the table `trials`."""
        query = (
            sa.select(schema.sweeps.c.folder, schema.trials.c.number)
            .join(schema.trials, schema.trials.c.sweep_id == schema.sweeps.c.id)
            .where(schema.trials.c.id == trial_id)
        )
        with self.reading() as connection:
            folder, number = connection.execute(query).one()
        return folder, number
