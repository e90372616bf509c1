"""Makes, opens, migrates and checks the ledger's file, which is SQLite.

A writer migrates an older file to the current schema. A reader changes nothing: it reads an older file, or one on a
disk that can't be written, as a migrated copy in memory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from hpsearch.errors import LedgerError, LinkRefused
from hpsearch.ledger import schema
from hpsearch.ledger.in_place import check_not_lost
from hpsearch.ledger.migrations import migrate
from hpsearch.links import IN_HOME, check_unlinked, open_file
from hpsearch.paths import ledger_lock_path, replacing

DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""Error codes of SQLite for a damaged file. Our queries are valid, so ERROR means that a table is missing."""


def open_to_write(path: Path) -> Engine:
    """Open the ledger at `path` to write; it is made if it does not exist, and migrated if it is older.

    Raises:
        LedgerError: A newer version of hpsearch wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make(path)
    engine = _connect(path)
    _migrate(engine, path)
    return engine


def open_to_read(path: Path) -> Engine:
    """Open the ledger at `path` to read: a copy in memory if it is of an older version or its disk can't be written.

    Raises:
        LedgerError: A newer version of hpsearch wrote it.
    """
    engine = _connect(path)
    try:
        if _version(engine, path) == schema.SCHEMA_VERSION:
            return engine
        with closing(sqlite3.connect(path)) as source:
            copy = _in_memory(source)
    except OperationalError:  # a disk that can't be written: SQLite can't make its WAL files beside the ledger
        with copied(path) as elsewhere, closing(sqlite3.connect(elsewhere)) as source:
            copy = _in_memory(source)
    engine.dispose()
    _migrate(copy, path)
    return copy


def check_whole(path: Path) -> None:
    """Let SQLite check every page of the file: 5 ms for 1000 trials of 10 reports, 50 ms for 10,000.

    Raises:
        LedgerError: It is damaged.
    """
    with storage_errors(path), closing(sqlite3.connect(path)) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise damaged(path, " ".join(str(answer).split()))


def page_damage(path: Path) -> str | None:
    """What SQLite finds wrong in the file, which is only read; None if nothing is.

    Raises:
        LinkRefused: It is a link.
    """
    _check_files(path)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:  # a disk that can't be written, say: `open_to_read` reads it in another way
        return None
    except (sqlite3.DatabaseError, ValueError) as error:  # a ValueError where SQLite's message is not UTF-8
        return str(error)
    return None if found == "ok" else found


def log_paths(path: Path) -> tuple[Path, Path]:
    """Where SQLite has the write-ahead log of a ledger, and the index of that log, while a process has it open."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def fold_log(engine: Engine) -> None:
    """Move what is in the write-ahead log into the file itself, so that the file can be renamed without it."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _migrate(engine: Engine, path: Path) -> None:
    version = _version(engine, path)
    while version < schema.SCHEMA_VERSION:
        with engine.begin() as connection:
            version = migrate(connection, version)


def _version(engine: Engine, path: Path) -> int:
    about = schema.about
    with engine.connect() as connection:
        found = connection.execute(sa.select(about.c.value).where(about.c.key == "schema")).scalar()
    if found is None or not found.isdecimal():
        raise LedgerError(f"{path}: this is no ledger of hpsearch. Name another folder with --home.")
    if int(found) > schema.SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: written by a newer version of hpsearch (ledger version {found}, this one knows"
            f" {schema.SCHEMA_VERSION}). Upgrade hpsearch, or name another folder with --home."
        )
    return int(found)


def _make(path: Path) -> None:
    """Make an empty ledger if there is none, in one step: other processes find no ledger, or a whole one."""
    with making_lock(path.parent):
        if path.exists():
            return
        check_not_lost(path)
        with replacing(path) as beside:
            engine = _connect(beside, create=True)
            schema.metadata.create_all(engine)
            with engine.begin() as connection:
                connection.execute(sa.insert(schema.about).values(key="schema", value=str(schema.SCHEMA_VERSION)))
            engine.dispose()


@contextmanager
def making_lock(home: Path) -> Iterator[None]:
    """Let one process at a time make or rebuild the ledger of a home folder; the others wait until it has."""
    path = ledger_lock_path(home)
    with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT, parts=IN_HOME), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _connect(path: Path, *, create: bool = False) -> Engine:
    _check_files(path)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        if create:  # a setting of the file: only the process that makes it needs to write it
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut
        cursor.close()

    return engine


def _check_files(path: Path) -> None:
    """Check that neither the ledger nor a file that SQLite keeps beside it is a link: SQLite would write through it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        check_unlinked(path.with_name(path.name + suffix), parts=IN_HOME)


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A copy of a ledger's file with its write-ahead log, in a folder that can be written, until the block ends.

    Raises:
        OSError: It can't be copied.
    """
    with tempfile.TemporaryDirectory(prefix="hps-ledger-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        log, _ = log_paths(path)
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        yield copy


def _in_memory(source: sqlite3.Connection) -> Engine:
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    source.backup(memory)
    return sa.create_engine("sqlite://", creator=_always(memory), poolclass=StaticPool)


def _always(connection: sqlite3.Connection) -> Callable[[], sqlite3.Connection]:
    return lambda: connection


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system and of the database into a `LedgerError`; an IntegrityError passes.

    Raises:
        LedgerError: The block raised such an error; the message names `path` and says what to do.
    """
    try:
        yield
    except (IntegrityError, LinkRefused):
        raise
    except UnicodeEncodeError as error:
        raise LedgerError(
            f"{path}: the ledger holds UTF-8, and {error.object[:200]!a} is not UTF-8. Rename it."
        ) from error
    except (SQLAlchemyError, sqlite3.Error, OSError, ValueError) as error:
        reason = getattr(error, "orig", None) or error
        if isinstance(error, ValueError) or getattr(reason, "sqlite_errorcode", None) in DAMAGE:
            raise damaged(path, str(reason)) from error
        raise LedgerError(
            f"{path}: the ledger can't be used: {reason}. Free space or correct the folder's permissions, then try"
            " again."
        ) from error


def damaged(path: Path, what: str) -> LedgerError:
    """The error for a damaged file.

    Args:
        path: The ledger's file.
        what: What is wrong, without a full stop.
    """
    return LedgerError(
        f"{path}: the ledger is damaged: {what}. Nothing was changed. Restore a backup, or rebuild it"
        " from all that can be read of it and its journals: python -m hpsearch resume --rebuild (old files are kept)."
    )
