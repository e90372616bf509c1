"""Half of a space fails: how many of 60 trials fail, and how good is the best of the others?

    python -m benchmarks.feasibility                     # every method, 20 seeds; gp: 5
    python -m benchmarks.feasibility --methods random,optuna:tpe --seeds 5 --cases beside

The production searchers, one trial at a time. Each cell is `failed best`: medians over seeds of the number of failed
trials, and of the difference between the best loss found and the best loss possible. Three ways to handle a failure:

    forgotten   the trial is dropped, as in other tools
    reported    as infeasible, without a failure model
    refused     as infeasible, and points that are likely to fail are drawn again: what `hpsearch` does
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsearch.search import Outcome, failure_model, make_searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

NUM_TRIALS = 60
SEEDS = {"optuna:gp": 5}
"""Number of seeds of slow methods; 20 for all others."""
METHODS = ("random", "optuna:tpe", "optuna:gp", "optuna:cmaes", "optuna:qmc", "hyperopt:tpe", "hyperopt:anneal")
WAYS = ("forgotten", "reported", "refused")

PLANE = {"x": {"min": -1.0, "max": 1.0}, "y": {"min": 1e-5, "max": 1e-1, "log": True}}
NET = {
    "batch_size": {"values": [16, 32, 64, 128, 256, 512]},
    "width": {"min": 16, "max": 256, "step": 16},
    "depth": {"min": 1, "max": 16, "log": True},
    "lr": {"min": 1e-4, "max": 1.0, "log": True},
    "momentum": {"min": 0.5, "max": 0.99},
    "optimizer": {"values": ["sgd", "adamw", "rmsprop"]},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A space, the points that fail, and the loss of all others."""

    parameters: Mapping[str, Any]
    """Parameters as in a spec."""
    fails: Callable[[Point], bool]
    """Whether a point fails."""
    loss: Callable[[Point], float]
    """Loss of a point that does not fail."""
    best: float = 0.0
    """Lowest loss of any point that does not fail."""


def _off(point: Point) -> float:
    """Distance of y from its best, squared, in units of half its range."""
    return float((math.log10(point["y"]) / 2 + 1.5) ** 2)


def _memory(point: Point) -> float:
    """Binary logarithm of the memory that a network needs."""
    return math.log2(point["batch_size"] * point["width"] / 16 * point["depth"])


def _net_loss(point: Point) -> float:
    """Loss of a network; larger ones are better, up to four times the memory that there is."""
    optimizer = {"sgd": 0.0, "adamw": 0.1, "rmsprop": 0.2}[point["optimizer"]]
    tuned = 0.3 * (math.log10(point["lr"]) + 2) ** 2 + (point["momentum"] - 0.9) ** 2 + optimizer
    return float(0.2 * max(12 - _memory(point), 0.0) + tuned)


CASES: dict[str, Case] = {
    "beside": Case(parameters=PLANE, fails=lambda p: p["x"] > 0, loss=lambda p: float((p["x"] + 0.02) ** 2 + _off(p))),
    "inside": Case(
        parameters=PLANE, fails=lambda p: p["x"] > 0, loss=lambda p: float((p["x"] - 0.5) ** 2 + _off(p)), best=0.25
    ),
    "memory": Case(parameters=NET, fails=lambda p: _memory(p) > 10, loss=_net_loss, best=0.4),
    "stripes": Case(
        parameters=PLANE,
        fails=lambda p: int((p["x"] + 1) * 3) % 2 == 1,
        loss=lambda p: float((p["x"] - 0.3) ** 2 + _off(p)),
        best=0.03**2,
    ),
    "chance": Case(
        parameters=PLANE,
        fails=lambda p: random.Random(repr(p)).random() < 0.3,
        loss=lambda p: float((p["x"] - 0.5) ** 2 + _off(p)),
    ),
}
"""The best point right beside the region that fails; the best point of all inside that region; a network that may need
too much memory; three of six stripes fail; three of ten points fail by chance, independent of where they are."""


def run(method: str, case: Case, way: str, seed: int) -> tuple[int, float]:
    """One search.

    Returns:
        The number of failed trials, and the difference between the best loss found and the best loss possible.
    """
    name, _, sampler = method.partition(":")
    tree = {"method": name, "seed": seed, "metric": {"name": "loss", "goal": "minimize"}, "parameters": case.parameters}
    searcher = make_searcher(Sweep.from_dict({**tree, "sampler": sampler or None}))
    num_failed, best = 0, math.inf
    for number in range(1, NUM_TRIALS + 1):
        point = searcher.ask(number)
        assert point is not None
        if not case.fails(point):
            loss = case.loss(point)
            best = min(best, loss)
            searcher.tell(Outcome(number=number, point=point, state="done", losses={1: loss}))
            continue
        num_failed += 1
        if way == "forgotten":
            searcher.drop(number)
        else:
            searcher.tell(Outcome(number=number, point=point, state="infeasible", losses={}, cause="oom_gpu"))
    return num_failed, best - case.best


def cell(method: str, case: Case, way: str, seeds: int) -> str:
    """One cell of the table: medians over seeds."""
    limit = failure_model.MAX_RISK
    failure_model.MAX_RISK = limit if way == "refused" else 1.0  # no risk is above 1
    try:
        runs = [run(method, case, way, seed) for seed in range(seeds)]
    finally:
        failure_model.MAX_RISK = limit
    return f"{statistics.median(n for n, _ in runs):.4g} {statistics.median(best for _, best in runs):.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", type=int)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    cases = options.cases.split(",")
    print(f"{'':16}{'':10}" + "".join(f"{case:>13}" for case in cases))
    for method in options.methods.split(","):
        seeds = options.seeds or SEEDS.get(method, 20)
        for way in WAYS:
            began = time.monotonic()
            cells = [cell(method, CASES[case], way, seeds) for case in cases]
            took = f"  {seeds} seeds, {time.monotonic() - began:.0f} s"
            print(f"{method:16}{way:10}" + "".join(f"{text:>13}" for text in cells) + took, flush=True)


if __name__ == "__main__":
    main()
