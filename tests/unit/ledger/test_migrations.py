"""Ledgers of every version: read as they are, migrated by a writer, refused if they are newer."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from hpsearch.errors import LedgerError
from hpsearch.ledger import migrations, schema
from hpsearch.ledger.store import Ledger
from hpsearch.paths import LEDGER_NAME
from tests.ledgers import make

LEDGERS = Path(make.__file__).parent
VERSIONS = range(1, schema.SCHEMA_VERSION + 1)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, home: Path) -> Path:
    """A home folder with a ledger of some version."""
    home.mkdir()
    shutil.copyfile(LEDGERS / f"version-{request.param}.db", home / "ledger.db")
    return home


def shape(engine: sa.Engine) -> dict[str, object]:
    """Tables with all properties that a query could depend on."""
    found = sa.inspect(engine)
    return {
        table: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)),
            sorted(str(each["column_names"]) for each in found.get_unique_constraints(table)),
            sorted((str(each["name"]), str(each["column_names"])) for each in found.get_indexes(table)),
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(str(each["constrained_columns"]) for each in found.get_foreign_keys(table)),
        )
        for table in sorted(found.get_table_names())
    }


def version_of(home: Path) -> str:
    connection = sqlite3.connect(home / "ledger.db")
    (found,) = connection.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()
    connection.close()
    return str(found)


def states(ledger: Ledger) -> dict[str, list[str]]:
    return {sweep.name: [trial.state for trial in ledger.trials(sweep)] for sweep in ledger.sweeps()}


def test_every_version_reads_the_same(old: Path):
    before = (old / "ledger.db").read_bytes()
    with Ledger(old) as ledger:
        found = states(ledger)
        assert len(ledger.reports(ledger.sweep("finished"))) == 15
    assert found["finished"] == ["done", "failed", "done", "done"]
    assert found["killed"][:4] == ["paused", "failed", "paused", "reused"]
    assert (old / "ledger.db").read_bytes() == before, "who only reads leaves an older file as it is"


def test_a_writer_migrates_every_version_to_the_current_schema(old: Path, tmp_path: Path):
    with Ledger(old, create=True) as ledger, Ledger(tmp_path / "new", create=True) as new:
        assert shape(ledger._transactions._engine) == shape(new._transactions._engine)
        assert states(ledger)["finished"] == ["done", "failed", "done", "done"]
    assert version_of(old) == str(schema.SCHEMA_VERSION)


def test_an_older_ledger_is_continued(old: Path):
    with Ledger(old, create=True) as ledger:
        assert make.go_on(ledger, make.KILLED) == 0, "nothing is lost"
        assert set(states(ledger)["killed"]) <= {"done", "stopped", "failed", "reused"}


def test_a_step_that_dies_half_way_leaves_the_old_file(home: Path, monkeypatch: pytest.MonkeyPatch):
    home.mkdir()
    shutil.copyfile(LEDGERS / "version-1.db", home / "ledger.db")
    step = migrations.STEPS[2]

    def dies(op: object) -> None:
        step(op)  # type: ignore[arg-type]
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "STEPS", {2: dies})
        with pytest.raises(LedgerError, match="power cut"):
            Ledger(home, create=True)
    assert version_of(home) == "1"
    Ledger(home, create=True).close()
    assert version_of(home) == str(schema.SCHEMA_VERSION)


def test_processes_that_migrate_together_all_succeed(home: Path):
    home.mkdir()
    shutil.copyfile(LEDGERS / "version-1.db", home / "ledger.db")
    code = "import sys, pathlib; from hpsearch.ledger.store import *; Ledger(pathlib.Path(sys.argv[1]), create=True)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(home)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert version_of(home) == str(schema.SCHEMA_VERSION)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(("version", "words"), [("99", "Upgrade hpsearch"), ("?", "no ledger of hpsearch")])
def test_what_a_newer_version_or_another_program_wrote_is_refused(home: Path, version, words, create):
    Ledger(home, create=True).close()
    connection = sqlite3.connect(home / "ledger.db")
    connection.execute("UPDATE about SET value = ?", (version,))
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match=words) as caught:
        Ledger(home, create=create)
    assert caught.value.exit_code == 5


@contextmanager
def read_only(home: Path) -> Iterator[Path]:
    """The home folder where this process can't write; root, who could write anywhere, becomes another user."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sweeps"
        shutil.copytree(home, folder)
        Path(place).chmod(0o755)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_can_be_read(old: Path):
    with read_only(old) as folder, Ledger(folder) as ledger:
        assert states(ledger)["finished"] == ["done", "failed", "done", "done"]


def test_what_a_killed_driver_left_beside_a_file_that_cannot_be_written_is_read_too(home: Path):
    code = """
import os, sys, pathlib
from hpsearch.ledger.store import Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]), create=True)
ledger.add_sweep("late", {"metric": {"name": "loss", "goal": "minimize"}})
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code, str(home)], check=False)
    (home / "ledger.db-shm").unlink()
    assert (home / "ledger.db-wal").stat().st_size > 0
    with read_only(home) as folder, Ledger(folder) as ledger:
        assert [sweep.name for sweep in ledger.sweeps()] == ["late"]


def test_the_schema_and_every_step_are_not_sqlites_alone():
    dialect = postgresql.dialect()
    for table in schema.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
    for step in migrations.STEPS.values():
        assert "CREATE TABLE" in sql_of(step) or "ALTER TABLE" in sql_of(step)


def sql_of(step: object) -> str:
    """What a step would run on PostgreSQL."""
    from io import StringIO

    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    buffer = StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer})
    step(Operations(context))  # type: ignore[operator]
    return buffer.getvalue()


def test_a_reader_imports_no_migrations(home: Path):
    Ledger(home, create=True).close()
    code = "import sys, pathlib; from hpsearch.ledger.store import *; Ledger(pathlib.Path(sys.argv[1]))"
    script = f"{code}; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, str(home)], check=False).returncode == 0


def test_a_file_is_kept_of_each_version():
    assert sorted(path.name for path in LEDGERS.glob("*.db")) == [f"version-{version}.db" for version in VERSIONS]
    assert LEDGER_NAME == "ledger.db"
