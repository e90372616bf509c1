"""One transaction at a time on a ledger's file: each is in the journals first, and takes the reports so far along.

Reports are held back at most REPORT_DELAY_S and committed together, since a commit costs more than a trial's epoch may
take. Nothing here knows what a sweep or a trial is, but for the journal that a trial's lines go to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from hpsearch.ledger import schema
from hpsearch.ledger.journal import Journal
from hpsearch.ledger.sqlite import storage_errors

REPORT_DELAY_S = 0.2


@final
class Transactions:
    """What one process writes to a ledger, and reads in between."""

    def __init__(self, engine: Engine, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is written yet.

        Args:
            engine: Of the file, opened by `ledger.file`.
            path: The file; journals are in the folders beside it.
            clock: Seconds that never go back.
        """
        self.wait_for_room: Callable[[], None] = lambda: None
        """Called before each transaction; comes back when it may begin."""
        self._engine, self._path, self._clock = engine, path, clock
        self._journal = Journal(path.parent, clock=clock)
        self._open: Connection | None = None
        self._held: list[dict[str, Any]] = []
        self._held_since = 0.0
        self._places: dict[int, tuple[str, int]] = {}

    def close(self) -> None:
        """Commit what is held back and let go of the file."""
        try:
            self.flush()
        finally:
            self._journal.close()
            self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what is committed, and what the block of `together` around it has written."""
        if self._open is not None:
            yield self._open
            return
        with storage_errors(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """What is written in the block is committed at its end, all of it or nothing; one within another is part of it.

        The reports that are held back go with it; if it fails they stay.
        """
        if self._open is not None:
            yield self._open
            return
        self.wait_for_room()
        with storage_errors(self._path), self._journaled(), self._engine.begin() as connection:
            self._open = connection
            try:
                self._take_along(connection)
                yield connection
            finally:
                self._open = None
            self._journal.write()
        self._held = []

    def hold(self, report: dict[str, Any]) -> None:
        """Hold back a row of `reports`, which what follows from it may go with: it is not committed by this."""
        self.tick()
        if not self._held:
            self._held_since = self._clock()
        self._held.append(report)

    def tick(self) -> None:
        """Commit the reports that have waited long enough, and force the journal to the disk once a second."""
        if self._held and self._clock() - self._held_since >= REPORT_DELAY_S:
            self.flush()
        with storage_errors(self._path):
            self._journal.tick()

    def flush(self) -> None:
        """Commit every report."""
        if self._held:
            with self.transaction():
                pass

    def append(self, folder: str, kind: str, *values: Any) -> None:
        """A line of a sweep's journal, as part of the transaction; see `journal.Entry`."""
        self._journal.append(folder, kind, *values)

    def register(self, trial_id: int, folder: str, number: int) -> None:
        """Which journal has the lines of a trial that begins, and by which number; those of others are looked up."""
        self._places[trial_id] = (folder, number)

    def append_of_trial(self, trial_id: int, kind: str, *values: Any) -> None:
        """The same for a trial, whose number goes before the values."""
        if trial_id not in self._places:
            self._places[trial_id] = self._place_of(trial_id)
        folder, number = self._places[trial_id]
        self._journal.append(folder, kind, number, *values)

    def forget(self, folder: str) -> None:
        """A sweep is no longer in the ledger, and its journal goes."""
        self._journal.forget(folder)

    def _take_along(self, connection: Connection) -> None:
        if self._held:
            connection.execute(sa.insert(schema.reports), self._held)
        for report in self._held:
            values = report["epoch"], report["metrics"], report["elapsed_s"]
            self.append_of_trial(report["trial_id"], "report", *values)

    @contextmanager
    def _journaled(self) -> Iterator[None]:
        """What was told to the journal stays there if the block ends well, and is taken back if not."""
        self._journal.rollback()  # where it could not be said when it failed
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self._journal.rollback()
            raise
        self._journal.committed()

    def _place_of(self, trial_id: int) -> tuple[str, int]:
        """(Sweep's folder, trial's number) of a row."""
        query = (
            sa.select(schema.sweeps.c.folder, schema.trials.c.number)
            .join(schema.trials, schema.trials.c.sweep_id == schema.sweeps.c.id)
            .where(schema.trials.c.id == trial_id)
        )
        with self.reading() as connection:
            folder, number = connection.execute(query).one()
        return folder, number
