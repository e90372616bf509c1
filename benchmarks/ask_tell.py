"""What a suggestion costs after many trials: hpsearch's searchers against the same library used by itself, in one run.

    python -m benchmarks.ask_tell
    python -m benchmarks.ask_tell --fence    # trials with a momentum above 0.9 fail; the best is right beside

Six parameters, 1000 told trials (gp: 100), then ask and tell in turns, ours and theirs, so that both see the same
machine. By itself, Optuna hears of a failed trial as pruned, HyperOpt as failed. Times are CPU milliseconds for one ask
and one tell: of a busy machine, wall time says little. One thread for gp.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from benchmarks.search.optuna_peers import HyperoptPeer, OptunaPeer
from benchmarks.search.simulator import Contestant
from benchmarks.search.tables import Curve, Table
from hpsearch.search import Outcome, make_searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

NUM_TOLD = {"optuna:tpe": 1000, "hyperopt:tpe": 1000, "optuna:gp": 100}
"""Method and sampler to the trials that it has been told."""
NUM_TIMED = {"optuna:gp": 10}
"""Of the slow one; 30 of all others."""
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "lr": {"min": 1e-5, "max": 1.0, "log": True},
    "momentum": {"min": 0.0, "max": 0.99},
    "weight_decay": {"min": 1e-6, "max": 1e-1, "log": True},
    "width": {"min": 16, "max": 512, "log": True},
    "depth": {"min": 1, "max": 8},
    "optimizer": {"values": ["sgd", "adamw", "lion"]},
}


class Bowl(Table):
    """Best at one place; the library's searcher is asked through the adapter that the other benchmark has."""

    name, family, parameters, max_epochs = "bowl", "bowl", PARAMETERS, 1

    def __init__(self, max_momentum: float) -> None:
        """Where it fails: above that."""
        self.max_momentum = max_momentum

    def curve(self, point: Mapping[str, Any]) -> Curve:
        """One epoch."""
        return Curve(losses=(self.loss_of(point),))

    def loss_of(self, point: Mapping[str, Any]) -> float:
        """NaN where it fails."""
        return loss_of(point) if point["momentum"] <= self.max_momentum else math.nan


def loss_of(point: Mapping[str, Any]) -> float:
    """Some loss."""
    return float(abs(point["momentum"] - 0.9) + abs(point["depth"] - 4) / 8 + (point["optimizer"] != "sgd"))


class Ours:
    """Asks and tells one of our searchers."""

    def __init__(self, method: str, sampler: str | None, table: Bowl) -> None:
        self._table = table
        parameters = {name: dict(domain) for name, domain in PARAMETERS.items()}
        metric = {"name": "loss", "goal": "minimize"}
        tree = {"metric": metric, "method": method, "sampler": sampler, "parameters": parameters}
        self._sweep = Sweep.from_dict(tree)
        self._searcher = make_searcher(self._sweep)
        self._number = 0

    def __call__(self) -> None:
        """Ask, then tell."""
        self._number += 1
        point = self._searcher.ask(self._number)
        assert point is not None
        self._tell(point)

    def _tell(self, point: Point) -> None:
        outcome = Outcome(number=self._number, point=point, state="done", losses={1: self._table.loss_of(point)})
        if math.isnan(outcome.losses[1]):
            outcome = replace(outcome, state="infeasible", losses={}, cause="oom_gpu")
        self._searcher.tell(outcome)

    def fill(self, count: int) -> None:
        """Tell random trials without asking."""
        rng = random.Random(0)
        for _ in range(count):
            self._number += 1
            point = self._sweep.space.draw(rng)
            self._searcher.adopt(self._number, point)
            self._tell(point)


def library_alone(contestant: Contestant, table: Bowl) -> Callable[[], None]:
    """Ask and tell as the library's tutorial does."""

    def ask_and_tell() -> None:
        job = contestant.next_job()
        assert job is not None
        contestant.on_report(job.trial, 1, table.loss_of(job.point))

    return ask_and_tell


def cpu_ms(step: Callable[[], None]) -> float:
    """CPU milliseconds of one call."""
    began = time.process_time()
    step()
    return 1000 * (time.process_time() - began)


def filled_optuna(sampler: str, table: Bowl, num_told: int) -> Callable[[], None]:
    """A study that random search has filled, and the sampler goes on with."""
    import optuna

    samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
    chance = optuna.samplers.RandomSampler(seed=0)
    peer = OptunaPeer(table, sampler=chance, pruner=optuna.pruners.NopPruner())
    step = library_alone(peer, table)
    for _ in range(num_told):
        step()
    peer._study.sampler = samplers[sampler](seed=0)
    return step


def filled_hyperopt(table: Bowl, num_told: int) -> Callable[[], None]:
    """HyperOpt's first trials are random while it has fewer than it starts with."""
    import hyperopt

    peer = HyperoptPeer(table, seed=0)
    step, suggest = library_alone(peer, table), hyperopt.tpe.suggest
    hyperopt.tpe.suggest = lambda ids, domain, trials, seed, verbose: hyperopt.rand.suggest(ids, domain, trials, seed)
    for _ in range(num_told):
        step()
    hyperopt.tpe.suggest = suggest
    return step


def medians(name: str, table: Bowl) -> tuple[float, float]:
    """CPU milliseconds of the library by itself, and of hpsearch with it."""
    method, _, sampler = name.partition(":")
    num_told, num_timed = NUM_TOLD[name], NUM_TIMED.get(name, 30)
    theirs = filled_optuna(sampler, table, num_told) if method == "optuna" else filled_hyperopt(table, num_told)
    ours = Ours(method, sampler, table)
    ours.fill(num_told)
    pairs = [(cpu_ms(theirs), cpu_ms(ours)) for _ in range(num_timed)]
    alone, here = (statistics.median(each) for each in zip(*pairs, strict=True))
    return alone, here


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fence", action="store_true")
    parser.add_argument("--methods", nargs="*", choices=[*NUM_TOLD], default=[*NUM_TOLD])
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, optuna {version('optuna')}, hyperopt {version('hyperopt')}")
    print("ask + tell, medians, CPU ms")
    table = Bowl(0.9 if given.fence else 1.0)
    chance = Ours("random", None, table)
    chance.fill(1000)
    here = statistics.median(cpu_ms(chance) for _ in range(30))
    print(f"{'random':14}{'1000 told':25}   hpsearch {here:7.1f}   what every method pays", flush=True)
    for name in given.methods:
        alone, here = medians(name, table)
        told = f"{NUM_TOLD[name]} told"
        print(f"{name:14}{told:12}alone {alone:7.1f}   hpsearch {here:7.1f}   ratio {here / alone:.2f}", flush=True)


if __name__ == "__main__":
    main()
