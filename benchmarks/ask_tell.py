"""What a suggestion costs after many trials: hpsearch's searchers against the same library used by itself, in one run.

    python -m benchmarks.ask_tell
    python -m benchmarks.ask_tell --fence    # our trials with a momentum above 0.9 fail; the best is right beside

Six parameters, 1000 told trials, then ask and tell in turns, ours and theirs, so that both see the same machine.
Times are CPU milliseconds for one ask and one tell: of a busy machine, wall time says little.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from benchmarks.search.optuna_peers import HyperoptPeer, OptunaPeer
from benchmarks.search.simulator import Contestant
from benchmarks.search.tables import Curve, Table
from hpsearch.search import Outcome, make_searcher
from hpsearch.space import Point
from hpsearch.sweep import Sweep

NUM_TOLD = 1000
NUM_TIMED = 30
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

    def curve(self, point: Mapping[str, Any]) -> Curve:
        """One epoch."""
        return Curve(losses=(loss_of(point),))


def loss_of(point: Mapping[str, Any]) -> float:
    """Some loss."""
    return abs(point["momentum"] - 0.9) + abs(point["depth"] - 4) / 8 + (point["optimizer"] != "sgd")


class Ours:
    """Asks and tells one of our searchers."""

    def __init__(self, method: str, max_momentum: float) -> None:
        self._max_momentum = max_momentum
        parameters = {name: dict(domain) for name, domain in PARAMETERS.items()}
        metric = {"name": "loss", "goal": "minimize"}
        tree = {"metric": metric, "method": method, "sampler": "tpe", "parameters": parameters}
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
        if point["momentum"] > self._max_momentum:
            self._searcher.tell(
                Outcome(number=self._number, point=point, state="infeasible", losses={}, cause="oom_gpu")
            )
        else:
            self._searcher.tell(Outcome(number=self._number, point=point, state="done", losses={1: loss_of(point)}))

    def fill(self, count: int) -> None:
        """Tell random trials without asking."""
        rng = random.Random(0)
        for _ in range(count):
            self._number += 1
            point = self._sweep.space.draw(rng)
            self._searcher.adopt(self._number, point)
            self._tell(point)


def library_alone(contestant: Contestant) -> Callable[[], None]:
    """Ask and tell as the library's tutorial does."""

    def ask_and_tell() -> None:
        job = contestant.next_job()
        assert job is not None
        contestant.on_report(job.trial, 1, loss_of(job.point))

    return ask_and_tell


def cpu_ms(step: Callable[[], None]) -> float:
    """CPU milliseconds of one call."""
    began = time.process_time()
    step()
    return 1000 * (time.process_time() - began)


def make_optuna(*, is_random: bool) -> OptunaPeer:
    """Optuna's TPE, asked after random trials only where `is_random`."""
    import optuna

    sampler = optuna.samplers.RandomSampler(seed=0) if is_random else optuna.samplers.TPESampler(seed=0)
    return OptunaPeer(Bowl(), sampler=sampler, pruner=optuna.pruners.NopPruner())


def filled_optuna() -> Callable[[], None]:
    """A study that random search has filled, and TPE goes on with."""
    import optuna

    peer = make_optuna(is_random=True)
    step = library_alone(peer)
    for _ in range(NUM_TOLD):
        step()
    peer._study.sampler = optuna.samplers.TPESampler(seed=0)
    return step


def filled_hyperopt() -> Callable[[], None]:
    """HyperOpt's first trials are random while it has fewer than it starts with."""
    import hyperopt

    peer = HyperoptPeer(Bowl(), seed=0)
    step, suggest = library_alone(peer), hyperopt.tpe.suggest
    hyperopt.tpe.suggest = lambda ids, domain, trials, seed, verbose: hyperopt.rand.suggest(ids, domain, trials, seed)
    for _ in range(NUM_TOLD):
        step()
    hyperopt.tpe.suggest = suggest
    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fence", action="store_true")
    max_momentum = 0.9 if parser.parse_args().fence else 1.0
    print(f"Python {platform.python_version()}, optuna {version('optuna')}, hyperopt {version('hyperopt')}")
    print(f"ask + tell after {NUM_TOLD} trials, median of {NUM_TIMED}, CPU ms")
    for name, filled in (("optuna", filled_optuna), ("hyperopt", filled_hyperopt)):
        theirs, ours = filled(), Ours(name, max_momentum)
        ours.fill(NUM_TOLD)
        pairs = [(cpu_ms(theirs), cpu_ms(ours)) for _ in range(NUM_TIMED)]
        alone, here = (statistics.median(each) for each in zip(*pairs, strict=True))
        print(f"{name:10} alone {alone:7.1f}   hpsearch {here:7.1f}   ratio {here / alone:.2f}", flush=True)


if __name__ == "__main__":
    main()
