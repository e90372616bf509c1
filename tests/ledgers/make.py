"""Makes the ledger that the tests keep of the current schema version: a finished sweep and one that was killed.

    python -m tests.ledgers.make

To be run once, when SCHEMA_VERSION was raised and is about to land; files of older versions are never made again.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.ledger.schema import SCHEMA_VERSION
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Failed, Report
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

FOLDER = Path(__file__).parent
CODE = {"train.py": "1"}
SPEC: dict[str, Any] = {
    "name": "finished",
    "trainable": "train.py:train",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "kind": {"values": ["a", "b"]}},
    "limits": {"trials": 4, "epochs": 9},
}
KILLED = {**SPEC, "name": "killed", "early_terminate": {"type": "asha"}, "limits": {"trials": 8, "epochs": 9}}
ASSIGNMENTS_BEFORE_DEATH = 7


def main() -> None:
    """Write `version-N.db`."""
    home = Path(tempfile.mkdtemp())
    with Ledger(home, create=True) as ledger:
        run(ledger, SPEC, assignments=100)
        run(ledger, KILLED, assignments=ASSIGNMENTS_BEFORE_DEATH)
    shutil.copyfile(home / "ledger.db", FOLDER / f"version-{SCHEMA_VERSION}.db")
    shutil.rmtree(home)


def run(ledger: Ledger, tree: dict[str, Any], *, assignments: int) -> None:
    """One assignment after the other; trial 2 fails, and after so many assignments the driver is gone."""
    ledger.add_sweep(tree["name"], Sweep.from_dict(tree).to_dict(), code=CODE)
    engine = Engine.new(parts_of(ledger, tree))
    for _ in range(assignments):
        assignment = engine.next_assignment()
        if not isinstance(assignment, Assignment):
            engine.finish()
            return
        train(engine, assignment)
    engine.next_assignment()
    ledger.flush()


def go_on(ledger: Ledger, tree: dict[str, Any]) -> int:
    """Go on with a sweep to its end; number of epochs on record that are trained again."""
    parts, known = parts_of(ledger, tree), {}
    past = Past.read(ledger, parts.record)
    for report in past.reports:
        known[report.number] = report.epoch
    engine = Engine.resumed(parts, past)
    again = 0
    while isinstance(assignment := engine.next_assignment(), Assignment):
        again += known.get(assignment.number, 0) - assignment.known_epochs if assignment.number in known else 0
        known.pop(assignment.number, None)
        train(engine, assignment)
    engine.finish()
    return again


def parts_of(ledger: Ledger, tree: dict[str, Any]) -> EngineParts:
    """What an engine of this sweep works with."""
    sweep, record = Sweep.from_dict(tree), ledger.sweep(tree["name"])
    return EngineParts(
        sweep=sweep,
        searcher=make_searcher(sweep),
        rule=make_stopping_rule(sweep, can_pause=True),
        ledger=ledger,
        record=record,
        cache=TrialCache(ledger, sweep, record, code=CODE),
    )


def train(engine: Engine, assignment: Assignment) -> None:
    """One assignment to its end."""
    if assignment.number == 2:
        failure = Failed(
            cause="user_error", evidence="ValueError: two", place="ValueError at train.py:7", elapsed_s=0.5
        )
        engine.on_event(assignment.number, failure)
        return
    for epoch in range(assignment.known_epochs + 1, 6):
        metrics = {"loss": assignment.config["x"] + 1 / epoch, "accuracy": 0.1 * epoch}
        report = Report(epoch=epoch, metrics=metrics, elapsed_s=float(epoch), checkpoint_epoch=epoch)
        if engine.on_event(assignment.number, report).name != "CONTINUE":
            return
    engine.on_event(assignment.number, Ended(elapsed_s=5.0, checkpoint_epoch=5))


if __name__ == "__main__":
    main()
