"""One module knows that the ledger is an SQLite file; the statements of the others are valid for PostgreSQL too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import hpsearch.ledger
from hpsearch.ledger import schema
from hpsearch.ledger.claims import Claims
from hpsearch.ledger.records import FailureRecord
from hpsearch.ledger.store import Ledger

PACKAGE = Path(hpsearch.ledger.__file__).parents[1]
FILES = sorted(path for folder in ("ledger", "doctor", "cli") for path in (PACKAGE / folder).glob("*.py"))
OF_THE_FILE = ("sqlite.py", "salvage.py")
"""Modules that know which database it is."""
OWN_SQL = {"exec_driver_sql", "text", "literal_column"}
"""Calls that take SQL as it is written."""


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name not in ("sqlite.py", "salvage.py")],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_only_the_modules_of_the_file_know_the_database(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert "sqlite3" not in {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(("sqlite3", "sqlalchemy.dialects"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in OWN_SQL
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "PRAGMA" not in node.value and "sqlite_" not in node.value


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, Any]]]:
    """Every statement that reaches a database in the test, with its parameters."""
    statements: list[tuple[Any, Any]] = []

    def listen(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> None:
        statements.append((statement, (many or [one])[0]))

    sa.event.listen(sa.Engine, "before_execute", listen)
    yield statements
    sa.event.remove(sa.Engine, "before_execute", listen)


def a_sweeps_life(ledger: Ledger) -> None:
    """Call every method of the ledger that writes or reads."""
    sweep = ledger.add_sweep("a", {"metric": {"name": "loss", "goal": "minimize"}}, code={"f": "1"})
    ledger.disable_pausing(sweep)
    rows = [ledger.add_trial(sweep, number, point={"x": number}, seed=0, fingerprint="f") for number in (1, 2)]
    ledger.add_report(rows[0], epoch=1, metrics={"loss": 1.0}, elapsed_s=1.0)
    ledger.add_report(rows[1], epoch=1, metrics={"loss": 2.0}, elapsed_s=1.0)
    claims = Claims(ledger)
    assert claims.claim("f", sweep, 1) is None and claims.claim("f", sweep, 2) is None
    holder = claims.holder("f")
    assert holder is not None
    claims.void("f", holder)
    failure = FailureRecord(number=2, attempt=1, cause="killed", evidence="gone", place=None, was_retried=True)
    ledger.update_trial(rows[1], failure=failure, state="queued")
    ledger.update_trial(rows[0], state="done", epochs_trained=1, best_value=1.0, best_epoch=1, checkpoint_epoch=1)
    ledger.clear_checkpoints([rows[0]])
    ledger.reset_failures([rows[1]])
    assert claims.find_trained("f", exclude_id=rows[1])
    trial = ledger.trials(sweep)[0]
    assert ledger.reports_of(trial) and ledger.reports(sweep) and ledger.failures(sweep) and ledger.count_states(sweep)
    ledger.end_sweep(sweep, "done")
    ledger.add_note(sweep, "a remark")
    ledger.reopen_sweep(sweep, dict(sweep.spec))
    never_trained = ledger.add_sweep("b", sweep.spec)
    ledger.add_trial(never_trained, 1, point={"x": 1}, seed=0)
    ledger.forget_sweep(never_trained)
    assert ledger.rename_sweep(sweep, "c").name == "c"
    assert [each.name for each in ledger.sweeps()] == ["c"]


def test_every_statement_is_valid_for_postgresql(home: Path, heard: list[tuple[Any, Any]]):
    with Ledger(home, create=True) as ledger:
        heard.clear()  # what makes the file is of the file
        a_sweeps_life(ledger)
    dialect = postgresql.dialect()
    said = [str(each.compile(dialect=dialect, column_keys=list(values or ()))) for each, values in heard]
    words = {
        (text.split()[0], table.name) for text in said for table in schema.metadata.sorted_tables if table.name in text
    }
    for table in ("sweeps", "trials", "reports", "failures", "claims"):
        assert ("INSERT", table) in words and ("SELECT", table) in words
    assert {("DELETE", "claims"), ("DELETE", "trials"), ("UPDATE", "sweeps"), ("UPDATE", "failures")} <= words
