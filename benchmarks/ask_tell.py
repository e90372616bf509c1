"""The cost of a suggestion after many trials: hpsearch's searchers against the same library alone, in one run.

    python -m benchmarks.ask_tell
    python -m benchmarks.ask_tell --failures    # trials with a momentum above 0.9 fail; the best is right beside

Six parameters and a history of 1000 trials (gp: 100). Then hpsearch and the library ask and tell in turns, so that both
run under the same conditions. The library alone gets a failed trial as pruned (Optuna) or as failed (HyperOpt). Times
are CPU milliseconds of one ask and one tell, because wall time depends on what else the machine does. gp uses one
thread.
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

NUM_EARLIER = {"optuna:tpe": 1000, "hyperopt:tpe": 1000, "optuna:gp": 100}
"""Method and sampler to the number of trials in its history."""
NUM_TIMED = {"optuna:gp": 10}
"""Number of timed suggestions of slow methods; 30 for all others."""
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "lr": {"min": 1e-5, "max": 1.0, "log": True},
    "momentum": {"min": 0.0, "max": 0.99},
    "weight_decay": {"min": 1e-6, "max": 1e-1, "log": True},
    "width": {"min": 16, "max": 512, "log": True},
    "depth": {"min": 1, "max": 8},
    "optimizer": {"values": ["sgd", "adamw", "lion"]},
}


class Bowl(Table):
    """A loss with one minimum, as a table for the adapters of the search benchmark.

    Args:
        max_momentum: Trials with a momentum above this fail.
    """

    name, family, parameters, max_epochs = "bowl", "bowl", PARAMETERS, 1

    def __init__(self, max_momentum: float) -> None:
        self.max_momentum = max_momentum

    def curve(self, point: Mapping[str, Any]) -> Curve:
        """The curve of a trial, which has one epoch."""
        return Curve(losses=(self.loss_of(point),))

    def loss_of(self, point: Mapping[str, Any]) -> float:
        """The loss of a trial; NaN if it fails."""
        return loss_of(point) if point["momentum"] <= self.max_momentum else math.nan


def loss_of(point: Mapping[str, Any]) -> float:
    """A loss with its minimum at momentum 0.9, depth 4 and sgd."""
    return float(abs(point["momentum"] - 0.9) + abs(point["depth"] - 4) / 8 + (point["optimizer"] != "sgd"))


class Ours:
    """Asks and tells a searcher of hpsearch."""

    def __init__(self, method: str, sampler: str | None, table: Bowl) -> None:
        self._table = table
        parameters = {name: dict(domain) for name, domain in PARAMETERS.items()}
        metric = {"name": "loss", "goal": "minimize"}
        tree = {"metric": metric, "method": method, "sampler": sampler, "parameters": parameters}
        self._sweep = Sweep.from_dict(tree)
        self._searcher = make_searcher(self._sweep)
        self._number = 0

    def __call__(self) -> None:
        """Ask for a point, and tell its outcome."""
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
        """Tell `count` random trials, without asking for them."""
        rng = random.Random(0)
        for _ in range(count):
            self._number += 1
            point = self._sweep.space.draw(rng)
            self._searcher.adopt(self._number, point)
            self._tell(point)


def library_alone(contestant: Contestant, table: Bowl) -> Callable[[], None]:
    """A function that asks and tells as the library's tutorial does."""

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


def filled_optuna(sampler: str, table: Bowl, num_earlier: int) -> Callable[[], None]:
    """A study with a history of random trials, whose next trials the sampler suggests."""
    import optuna

    samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}
    chance = optuna.samplers.RandomSampler(seed=0)
    peer = OptunaPeer(table, sampler=chance, pruner=optuna.pruners.NopPruner())
    step = library_alone(peer, table)
    for _ in range(num_earlier):
        step()
    peer._study.sampler = samplers[sampler](seed=0)
    return step


def filled_hyperopt(table: Bowl, num_earlier: int) -> Callable[[], None]:
    """HyperOpt's trials with a random history, whose next trials TPE suggests."""
    import hyperopt

    peer = HyperoptPeer(table, seed=0)
    step, suggest = library_alone(peer, table), hyperopt.tpe.suggest
    hyperopt.tpe.suggest = lambda ids, domain, trials, seed, verbose: hyperopt.rand.suggest(ids, domain, trials, seed)
    for _ in range(num_earlier):
        step()
    hyperopt.tpe.suggest = suggest
    return step


def medians(name: str, table: Bowl) -> tuple[float, float]:
    """CPU milliseconds of the library by itself, and of hpsearch with it."""
    method, _, sampler = name.partition(":")
    num_earlier, num_timed = NUM_EARLIER[name], NUM_TIMED.get(name, 30)
    theirs = filled_optuna(sampler, table, num_earlier) if method == "optuna" else filled_hyperopt(table, num_earlier)
    ours = Ours(method, sampler, table)
    ours.fill(num_earlier)
    pairs = [(cpu_ms(theirs), cpu_ms(ours)) for _ in range(num_timed)]
    alone, here = (statistics.median(each) for each in zip(*pairs, strict=True))
    return alone, here


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--failures", action="store_true")
    parser.add_argument("--methods", nargs="*", choices=[*NUM_EARLIER], default=[*NUM_EARLIER])
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, optuna {version('optuna')}, hyperopt {version('hyperopt')}")
    print("ask + tell, medians, CPU ms")
    table = Bowl(0.9 if given.failures else 1.0)
    chance = Ours("random", None, table)
    chance.fill(1000)
    here = statistics.median(cpu_ms(chance) for _ in range(30))
    print(f"{'random':14}{'1000 trials':25}   hpsearch {here:7.1f}   what every method pays", flush=True)
    for name in given.methods:
        alone, here = medians(name, table)
        history = f"{NUM_EARLIER[name]} trials"
        print(f"{name:14}{history:12}alone {alone:7.1f}   hpsearch {here:7.1f}   ratio {here / alone:.2f}", flush=True)


if __name__ == "__main__":
    main()
