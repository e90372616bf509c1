"""The simulator of the search benchmark, on a table made here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from benchmarks.search.figures import standings
from benchmarks.search.methods import METHODS
from benchmarks.search.optuna_peers import HyperoptPeer, OptunaPeer
from benchmarks.search.ours import Ours
from benchmarks.search.simulator import Contestant, Job, Simulation
from benchmarks.search.tables import Curve, Table

ASHA = {"early_terminate": {"type": "asha", "eta": 3}}


class Slopes(Table):
    """Each epoch takes one off the loss; it begins at 100 * x, and diverges at once where x is above 0.9."""

    name, family, max_epochs, optimum, start = "slopes", "slopes", 9, 0.0, 100.0
    parameters: Mapping[str, Mapping[str, Any]] = {"x": {"min": 0.0, "max": 1.0}}

    def __init__(self, epoch_cost: float = 1.0) -> None:
        self._cost = epoch_cost

    def curve(self, point: Mapping[str, Any]) -> Curve:
        losses = [100 * point["x"] - epoch if point["x"] < 0.9 else math.nan for epoch in range(self.max_epochs)]
        return Curve(losses=tuple(losses), epoch_cost=self._cost)


class Scripted(Contestant):
    """Hands out what the test wrote down; trials stop where it says."""

    def __init__(self, *jobs: Job, stop_at: int = 99) -> None:
        self._jobs, self._stop_at = list(jobs), stop_at
        self.heard: list[tuple[int, int, float]] = []

    def next_job(self) -> Job | None:
        return self._jobs.pop(0) if self._jobs else None

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        self.heard.append((trial, epoch, loss))
        return epoch != self._stop_at


def test_workers_train_at_once_and_report_in_the_order_of_time():
    contestant = Scripted(Job(trial=0, point={"x": 0.5}), Job(trial=1, point={"x": 0.2}), stop_at=2)
    trace = Simulation(contestant, Slopes(), workers=2, trainings=1).run()
    assert [heard[:2] for heard in contestant.heard] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert trace.times == [2.0, 2.0, 4.0], "two workers use two units of time at each tick"
    assert trace.regrets == pytest.approx([0.5, 0.2, 0.19])


def test_nothing_is_trained_beyond_the_budget():
    contestant = Scripted(*(Job(trial=number, point={"x": 0.5}) for number in range(9)))
    trace = Simulation(contestant, Slopes(epoch_cost=2.0), workers=1, trainings=1).run()
    assert trace.num_epochs == 4, "nine units of time are four epochs of two"


def test_a_trial_that_goes_on_is_trained_from_where_it_was():
    contestant = Scripted(Job(trial=0, point={"x": 0.5}), Job(trial=0, point={"x": 0.5}, epochs=3), stop_at=3)
    Simulation(contestant, Slopes(), workers=1, trainings=2).run()
    assert [epoch for _, epoch, _ in contestant.heard] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_before_the_first_finite_loss_there_is_no_regret():
    contestant = Scripted(Job(trial=0, point={"x": 0.95}), stop_at=1)
    assert math.isnan(Simulation(contestant, Slopes(), workers=1, trainings=1).run().regret_at(9))


@pytest.mark.parametrize("spec", [{"method": "random"}, {"method": "random", **ASHA}, {"method": "bayes", **ASHA}])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_production_engine_runs_on_the_simulated_clock(spec, workers):
    ours = Ours(Slopes(), seed=0, workers=workers, trials=10_000, spec=spec)
    trace = Simulation(ours, Slopes(), workers=workers, trainings=20).run()
    assert trace.regret_at(20 * 9) < 0.1
    assert 20 * 9 - workers < trace.num_epochs <= 20 * 9


def test_asha_tries_more_trials_in_the_same_time():
    tried = [
        Simulation(Ours(Slopes(), seed=0, workers=1, trials=10_000, spec=spec), Slopes(), workers=1, trainings=20).run()
        for spec in ({"method": "random"}, {"method": "random", **ASHA})
    ]
    assert tried[1].num_trials > 2 * tried[0].num_trials


@pytest.mark.parametrize("workers", [1, 4])
def test_peers_are_driven_by_the_same_clock(workers):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    peers = (
        OptunaPeer(Slopes(), sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner),
        HyperoptPeer(Slopes(), seed=0),
    )
    for peer in peers:
        trace = Simulation(peer, Slopes(), workers=workers, trainings=20).run()
        assert trace.regret_at(20 * 9) < 0.2


def test_ranks_weigh_every_table_the_same():
    regrets = {
        "a": {("one", 0): 0.1, ("one", 1): 0.1, ("two", 0): 0.9},
        "b": {("one", 0): 0.2, ("one", 1): 0.2, ("two", 0): 0.3},
    }
    found = standings(regrets, "a")
    assert (found["a"].mean, found["b"].mean) == pytest.approx((0.5, 0.25))
    assert (found["a"].rank, found["b"].rank) == (1.5, 1.5)
    assert found["a"].p_value is None


@pytest.mark.parametrize("name", ["tried: as it was", "tried: 4 candidates"])
def test_what_was_tried_changes_what_is_proposed_and_nothing_after(name: str) -> None:
    def found(method: str) -> list[float]:
        contestant = METHODS[method].make(Slopes(), 0, 1)
        return Simulation(contestant, Slopes(), workers=1, trainings=20).run().regrets

    before = found("hpsearch bayes + asha")
    assert found(name) != before
    assert found("hpsearch bayes + asha") == before


def test_every_method_that_a_page_names_is_there() -> None:
    root = Path(__file__).resolve().parents[3]
    pages = [*root.glob("docs/**/*.md"), *root.glob("benchmarks/**/*.md")]
    words = re.compile(r"[`\"]((?:tried:|hpsearch (?:bayes|random)\b)[^`\"]*)[`\"]")
    named = {" ".join(name.split()) for page in pages for name in words.findall(page.read_text())}
    assert {"hpsearch bayes + asha", "tried: as it was"} <= named <= METHODS.keys()
