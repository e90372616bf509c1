"""Renames a sweep: its row first, then its folder. A rename that was cut short is finished by the next writer.

Until the folder is moved, the row has the new name beside the old folder, so that the sweep is whole at every instant:
it has one name, and `queries.sweep_record` finds its files wherever they are. The journal moves with the folder, and a
rebuild gives each sweep the name of its folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError

from hpsearch.errors import LedgerError, Problem, SpecError, SweepExists, SweepInUse
from hpsearch.ledger import schema
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.sqlite import storage_errors
from hpsearch.ledger.transactions import Transactions
from hpsearch.links import IN_HOME, IN_SWEEP, check_unlinked, is_linked, opened_folder
from hpsearch.paths import replace_file, resolved_spec_path
from hpsearch.plain import NAME_PATTERN, wrong_name
from hpsearch.spec.yaml_writer import dump_yaml


@final
class Renaming:
    """Renames the sweeps of one ledger."""

    def __init__(self, transactions: Transactions, path: Path) -> None:
        """Prepare; nothing is written yet.

        Args:
            transactions: Writes to the ledger.
            path: The ledger's file.
        """
        self._transactions, self._path, self._home = transactions, path, path.parent

    def rename(self, sweep: SweepRecord, name: str) -> None:
        """Rename a sweep, whose lock this process holds, and its folder; the lock is held there too.

        Raises:
            SpecError: It is no name for a sweep.
            SweepExists: Another sweep has the name, or there is a folder or a file of that name.
            LedgerError: The folder can't be moved, or the ledger can't be written; the sweep has the old name.
        """
        if (wrong := wrong_name(name)) is not None:
            raise SpecError([Problem(where=("name",), message=wrong)])
        if os.path.lexists(self._home / name):
            raise SweepExists(f"{self._home / name} is there already. Choose another name.")
        try:
            self._write_name(sweep.id, sweep.folder, sweep.spec, name)
        except IntegrityError as error:
            raise SweepExists(f"a sweep named '{name}' is in {self._path} already. Choose another name.") from error
        try:
            self._move(sweep.folder, name)
        except LedgerError:
            self._write_name(sweep.id, sweep.folder, sweep.spec, sweep.folder)
            raise
        self._end(sweep.id, sweep.spec, name)

    def finish_all(self) -> None:
        """Finish the renames that a killed process left, or undo those whose new folder is taken by then.

        One that another process has in hand, or that can't be finished, stays as it is: it is in no other sweep's way.

        Raises:
            LedgerError: The ledger can't be read.
        """
        for row in self._unfinished():
            with suppress(SweepInUse, LedgerError), self._held(row):
                if row in self._unfinished():
                    self._finish(row)

    def _unfinished(self) -> list[RowMapping]:
        """The rows of sweeps whose folder has not the new name, as far as is known."""
        sweeps = schema.sweeps
        columns = (sweeps.c.id, sweeps.c.name, sweeps.c.folder, sweeps.c.spec)
        query = sa.select(*columns).where(sweeps.c.name != sweeps.c.folder)
        with self._transactions.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [row for row in rows if NAME_PATTERN.fullmatch(row["name"]) and NAME_PATTERN.fullmatch(row["folder"])]

    def _was_moved(self, row: RowMapping) -> bool:
        """Whether the old folder is not the sweep's any more: it is gone, or a newer sweep has that name."""
        query = sa.select(schema.sweeps.c.id).where(schema.sweeps.c.name == row["folder"])
        with self._transactions.reading() as connection:
            is_taken = connection.execute(query).first() is not None
        return is_taken or not (self._home / row["folder"]).is_dir()

    def _finish(self, row: RowMapping) -> None:
        name, folder, spec = row["name"], row["folder"], _map(self._path, row["spec"])
        if self._was_moved(row):
            self._end(row["id"], spec, name)
        elif os.path.lexists(self._home / name):
            self._write_name(row["id"], folder, spec, folder)
        else:
            self._move(folder, name)
            self._end(row["id"], spec, name)

    @contextmanager
    def _held(self, row: RowMapping) -> Iterator[None]:
        """Hold the lock of a sweep wherever its folder is; none if the folder was removed."""
        folder = self._home / (row["name"] if self._was_moved(row) else row["folder"])
        with writer_lock(folder, row["name"]) if folder.is_dir() else nullcontext():
            yield

    def _write_name(self, sweep_id: int, folder: str, spec: Mapping[str, Any], name: str) -> None:
        """Commit the name of a sweep, whose files are still in `folder`."""
        values = {"name": name, "spec": json.dumps({**spec, "name": name})}
        with self._transactions.transaction() as connection:
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep_id).values(values))
            self._transactions.append(folder, "sweep", values)

    def _move(self, folder: str, name: str) -> None:
        self._transactions.release(folder)
        with storage_errors(self._path):
            _move_folder(self._home, folder, name)

    def _end(self, sweep_id: int, spec: Mapping[str, Any], name: str) -> None:
        """Write the new name into `sweep.yaml`, and commit that the folder has it."""
        path = resolved_spec_path(self._home / name)
        if path.is_file() and not is_linked(path, parts=IN_SWEEP):
            with storage_errors(self._path):
                replace_file(path, dump_yaml({**spec, "name": name}))
        with self._transactions.transaction() as connection:
            sweeps = schema.sweeps
            connection.execute(sa.update(sweeps).where(sweeps.c.id == sweep_id).values(folder=name))


def _move_folder(home: Path, folder: str, name: str) -> None:
    """Give the folder of a sweep its new name, which is on the disk when this returns."""
    check_unlinked(home / folder, parts=IN_HOME)
    with opened_folder(home, parts=0) as opened:
        os.rename(folder, name, src_dir_fd=opened, dst_dir_fd=opened)
        os.fsync(opened)


def _map(path: Path, text: str) -> Mapping[str, Any]:
    with storage_errors(path):
        return dict(json.loads(text))
