"""The statements of a start, a report and an end find their rows by an index, however many trials there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

TREE: dict[str, Any] = {
    "name": "long",
    "trainable": "train.py:train",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 40, "epochs": 2, "retries": 1},
}
CODE = {"train.py": "1"}


def train_all(ledger: Ledger) -> dict[int, set[tuple[str, Any]]]:
    """Every trial two epochs, each fifth fails once; the statements of each trial with their parameters."""
    sweep = Sweep.from_dict(TREE)
    record = ledger.add_sweep("long", sweep.to_dict(), code=CODE)
    engine = Engine.new(
        EngineParts(
            sweep=sweep,
            searcher=make_searcher(sweep),
            rule=make_stopping_rule(sweep, can_pause=True),
            ledger=ledger,
            record=record,
            cache=TrialCache(ledger, sweep, record, code=CODE),
        )
    )
    said: dict[int, set[tuple[str, Any]]] = {}
    now: set[tuple[str, Any]] = set()

    def listen(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        now.add((statement, parameters[0] if isinstance(parameters, list) else parameters))

    sa.event.listen(ledger._transactions._engine, "before_cursor_execute", listen)
    while isinstance(assignment := engine.next_assignment(), Assignment):
        if assignment.number % 5 == 0 and assignment.attempt == 1:
            engine.on_event(assignment.number, Failed(cause="killed", evidence="gone"))
        else:
            for epoch in (1, 2):
                report = Report(
                    epoch=epoch, metrics={"loss": assignment.config["x"]}, elapsed_s=1.0, checkpoint_epoch=epoch
                )
                verdict = engine.on_event(assignment.number, report)
            assert verdict is Verdict.RUN_TO_END
        said.setdefault(assignment.number, set()).update(now)
        now.clear()
    return said


@pytest.fixture
def said(home: Path) -> dict[int, set[tuple[str, Any]]]:
    with Ledger(home, create=True) as ledger:
        return train_all(ledger)


def test_the_last_trials_write_as_much_as_the_first(said: dict[int, set[tuple[str, Any]]]):
    assert len(said) == 40
    assert {text for text, _ in said[5]} == {text for text, _ in said[40]}
    assert len(said[4]) == len(said[39])
    assert len(said[5]) == len(said[40])


def test_no_statement_scans_a_whole_table(said: dict[int, set[tuple[str, Any]]], home: Path):
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        for statement, parameters in said[40]:
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                assert not any(f"SCAN {table}" in step for table in ("trials", "reports", "failures")), statement
