"""Fault 17: half of the space fails. At most 35 % of the trials go there, and the best that is found is no worse."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from benchmarks.feasibility import CASES, run
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.errors import Cause
from hpsearch.ledger.store import Ledger
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Failed, Report
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

NUM_TRIALS = 60
METHODS = ["random", "optuna:tpe", "optuna:cmaes", "optuna:qmc", "hyperopt:tpe", "hyperopt:anneal"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["beside", "inside"])
def test_at_most_a_third_of_the_trials_go_to_the_half_that_fails(method: str, case: str) -> None:
    """Three seeds; 20, gp and the best values are in docs/decisions/0028."""
    failed = [run(method, CASES[case], "refused", seed)[0] for seed in range(3)]
    assert statistics.median(failed) <= 0.35 * NUM_TRIALS


@pytest.mark.parametrize(("cause", "at_most"), [("oom_gpu", 0.35), ("diverged", 0.35)])
def test_what_failed_in_a_sweep_teaches_it_and_a_resumed_one(home: Path, cause: Cause, at_most: float) -> None:
    """The engine without Ray: a sweep of 30 trials, gone on with to 60 from what the ledger holds."""
    tree = {
        "name": "fence",
        "trainable": "a:b",
        "metric": {"name": "m", "goal": "minimize"},
        "parameters": CASES["beside"].parameters,
        "limits": {"trials": NUM_TRIALS // 2, "epochs": 1},
    }
    with Ledger(home, create=True) as ledger:
        first = Sweep.from_dict(tree)
        record = ledger.add_sweep("fence", first.to_dict())
        finish(Engine.new(parts_of(first, ledger, record)), cause)
        second = Sweep.from_dict({**tree, "limits": {"trials": NUM_TRIALS, "epochs": 1}})
        engine = Engine.resumed(parts_of(second, ledger, record), Past.read(ledger, record))
        finish(engine, cause)
        trials = ledger.trials(record)
    assert [trial.number for trial in trials] == list(range(1, NUM_TRIALS + 1))
    assert sum(trial.cause == cause for trial in trials) <= at_most * NUM_TRIALS
    assert sum(trial.cause == cause for trial in trials[30:]) <= 4, "what the first half learnt is not forgotten"


def parts_of(sweep: Sweep, ledger: Ledger, record) -> EngineParts:
    return EngineParts(
        sweep=sweep, searcher=make_searcher(sweep), rule=make_stopping_rule(sweep), ledger=ledger, record=record
    )


def finish(engine: Engine, cause: Cause) -> None:
    """Run every assignment: x above 0 fails."""
    while isinstance(assignment := engine.next_assignment(), Assignment):
        if assignment.config["x"] > 0:
            engine.on_event(assignment.number, Failed(cause=cause, evidence="it needs too much"))
        else:
            engine.on_event(assignment.number, Report(epoch=1, metrics={"m": -assignment.config["x"]}, elapsed_s=1.0))
            engine.on_event(assignment.number, Ended(elapsed_s=1.0))
    engine.finish()
