"""What every search method promises on a space with conditions, computed parameters, constraints and initial points."""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from hpsearch.search import Outcome, Searcher, make_searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import SAMPLERS, Sweep

METHODS = [(method, sampler) for method, samplers in SAMPLERS.items() for sampler in samplers or (None,)]
MODELS = [
    ("optuna", "tpe"),
    ("optuna", "gp"),
    ("optuna", "cmaes"),
    ("hyperopt", "tpe"),
    ("hyperopt", "anneal"),
    ("controller", "reinforce"),
    ("controller", "evolution"),
]
NUM_SUGGESTIONS: dict[str, int] = {} if "HPSEARCH_TEST_ALL_EXAMPLES" in os.environ else {"gp": 16}
"""Of the slow sampler; 500 of all others, and of all where time doesn't matter (`make examples`)."""

NESTED: dict[str, Any] = {
    "parameters": {
        "momentum": {"min": 0.5, "max": 0.99, "count": 3, "when": {"optimizer.name": ["sgd", "rmsprop"]}},
        "model": {"width": {"min": 16, "max": 128, "step": 16}, "depth": {"values": [20, 32, 44]}},
        "optimizer": {
            "name": {"values": ["sgd", "adamw", "rmsprop"]},
            "lr": {"min": 1e-4, "max": 1e-1, "log": True, "count": 4},
            "nesterov": {"values": [True, False], "when": {"optimizer.name": "sgd"}},
            "warm": {"min": 1, "max": 9, "when": {"optimizer.nesterov": True, "model.depth": [20, 32]}},
            "decoupled": {"value": True, "when": {"optimizer.name": "adamw"}},
        },
        "warm_steps": {"expr": "optimizer.warm * 100", "when": {"optimizer.nesterov": True, "model.depth": [20, 32]}},
        "size": {"expr": "model.width * model.depth"},
    },
    "constraints": ["size <= 4096", "optimizer.warm <= 8 or optimizer.lr < 0.05"],
}
FINITE: dict[str, Any] = {
    "parameters": {
        "kind": {"values": ["a", "b"]},
        "n": {"min": 1, "max": 3, "when": {"kind": "a"}},
        "flag": {"values": [True, False], "when": {"n": [2, 3]}},
        "m": {"min": 0, "max": 4},
        "double": {"expr": "2 * m"},
    },
    "constraints": ["double != 4", "n + m < 7"],
}
every_method = pytest.mark.parametrize(("method", "sampler"), METHODS)


def searcher(method: str, sampler: str | None, spec: Mapping[str, Any], *, seed: int = 0) -> Searcher:
    tree = {"method": method, "seed": seed, "metric": {"name": "loss", "goal": "minimize"}, **spec}
    return make_searcher(Sweep.from_dict(tree if sampler is None else {**tree, "sampler": sampler}))


def done(number: int, point: Point, loss: float) -> Outcome:
    return Outcome(number=number, point=point, state="done", losses={1: loss})


def run(under_test: Searcher, num: int, loss: Any) -> list[Point]:
    points = []
    for number in range(1, num + 1):
        point = under_test.ask(number)
        assert point is not None
        under_test.tell(done(number, point, loss(point)))
        points.append(point)
    return points


def any_loss(point: Point) -> float:
    return random.Random(repr(point)).random()


def active_by_hand(point: Point) -> set[str]:
    """The names that NESTED gives to a point, written down a second time."""
    names = {"model.width", "model.depth", "optimizer.name", "optimizer.lr", "size"}
    name = point["optimizer.name"]
    names |= {"momentum"} if name in ("sgd", "rmsprop") else set()
    names |= {"optimizer.decoupled"} if name == "adamw" else set()
    names |= {"optimizer.nesterov"} if name == "sgd" else set()
    warm = name == "sgd" and point["optimizer.nesterov"] and point["model.depth"] in (20, 32)
    return names | ({"optimizer.warm", "warm_steps"} if warm else set())


@every_method
def test_hundreds_of_suggestions_are_valid_and_visit_every_branch(method: str, sampler: str | None) -> None:
    points = run(searcher(method, sampler, NESTED), NUM_SUGGESTIONS.get(sampler or "", 500), any_loss)
    for point in points:
        assert point.keys() == active_by_hand(point)
        assert point["size"] == point["model.width"] * point["model.depth"] <= 4096
        assert point.get("warm_steps") == (point["optimizer.warm"] * 100 if "optimizer.warm" in point else None)
        assert point.get("optimizer.warm", 0) <= 8 or point["optimizer.lr"] < 0.05
    branches = Counter((point["optimizer.name"], point.get("optimizer.nesterov"), "optimizer.warm" in point)
                       for point in points)  # fmt: skip
    every = {("adamw", None, False), ("rmsprop", None, False), ("sgd", False, False), ("sgd", True, True)}
    rare = set() if sampler in ("gp", "anneal") else {("sgd", True, False)}  # few points, and annealing narrows
    assert branches.keys() >= every | rare


@every_method
def test_a_finite_conditional_space_is_asked_once_each_and_then_ends(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    by_hand = {
        (kind, n, flag, m)
        for kind, n, flag, m in itertools.product("ab", (None, 1, 2, 3), (None, True, False), (0, 1, 3, 4))
        if (n is None) == (kind == "b") and (flag is None) == (n not in (2, 3)) and (n or 0) + m < 7
    }
    points = run(under_test, len(by_hand), any_loss)
    assert {(p["kind"], p.get("n"), p.get("flag"), p["m"]) for p in points} == by_hand
    assert (under_test.space.size, under_test.ask(len(by_hand) + 1)) == (len(by_hand), None)


@every_method
def test_a_seed_repeats_and_a_replayed_searcher_continues_as_the_uninterrupted_one(
    method: str, sampler: str | None
) -> None:
    unbroken, again, replayed = (searcher(method, sampler, NESTED, seed=3) for _ in range(3))
    num = 14 if sampler == "gp" else 40
    points = run(unbroken, num, any_loss)
    assert points == run(again, num, any_loss)
    for number, point in enumerate(points, start=1):
        replayed.adopt(number, dict(reversed(point.items())))
        replayed.tell(done(number, point, any_loss(point)))
    assert [unbroken.ask(num + i) for i in (1, 2)] == [replayed.ask(num + i) for i in (1, 2)]


@every_method
def test_initial_points_come_first_and_in_order_whoever_searches(method: str, sampler: str | None) -> None:
    initial: list[dict[str, Any]] = [
        {"optimizer.name": "sgd", "optimizer.lr": 0.1, "optimizer.nesterov": True},
        {"optimizer": {"name": "adamw"}, "model": {"width": 16}},
        {"optimizer.warm": 5},
    ]
    under_test = searcher(method, sampler, {**NESTED, "initial_points": initial})
    points = run(under_test, 13, any_loss)
    assert all(under_test.space.contains(point) for point in points)
    assert points[0].items() >= initial[0].items()
    assert (points[1]["optimizer.name"], points[1]["model.width"]) == ("adamw", 16)
    assert (points[2]["optimizer.warm"], points[2]["optimizer.name"]) == (5, "sgd")
    unbroken, replayed = (searcher(method, sampler, {**NESTED, "initial_points": initial}) for _ in range(2))
    first = unbroken.ask(1)
    assert first == points[0]
    replayed.adopt(1, first or {})
    assert unbroken.ask(2) == replayed.ask(2) == points[1]


@every_method
def test_an_initial_point_given_twice_is_tried_once(method: str, sampler: str | None) -> None:
    twice = [{"kind": "b", "m": 0}, {"kind": "b", "m": 0}]
    points = run(searcher(method, sampler, {**FINITE, "initial_points": twice}), 2, any_loss)
    assert points[0] == {"kind": "b", "m": 0, "double": 0} != points[1]


BRANCHES: dict[str, Any] = {
    "parameters": {
        "kind": {"values": ["a", "b", "c", "d", "e", "f"]},
        "x": {"min": -1.0, "max": 1.0, "when": {"kind": "f"}},
        "y": {"min": -1.0, "max": 1.0, "when": {"kind": ["a", "b", "c"]}},
        "z": {"min": -1.0, "max": 1.0},
        "u": {"min": -1.0, "max": 1.0},
    }
}


def branch_loss(point: Point) -> float:
    """One branch of six is good, and in it x and z near 0.3."""
    common = (point["z"] - 0.3) ** 2 + (point["u"] + 0.2) ** 2
    return float(common + ((point["x"] - 0.3) ** 2 if "x" in point else 2.0))


@pytest.mark.parametrize(("method", "sampler"), MODELS)
def test_a_model_is_better_than_random_search_where_the_branch_matters(method: str, sampler: str) -> None:
    """Losses of the last third of the trials; CMA-ES draws the branch, and is better in what all branches share."""
    num, seeds = (40, 2) if sampler == "gp" else (60, 5)

    def late(method: str, sampler: str | None) -> float:
        runs = [run(searcher(method, sampler, BRANCHES, seed=seed), num, branch_loss) for seed in range(seeds)]
        return statistics.mean(branch_loss(point) for points in runs for point in points[-num // 3 :])

    found, by_chance = late(method, sampler), late("random", None)
    assert math.isfinite(found)
    assert found < (0.9 if sampler == "cmaes" else 0.7) * by_chance
