"""What every search method promises, whatever its library: one suite, one line of a table for each method.

Whatever `sweep.SAMPLERS` names is tested; a method that models losses gets its line in `MODELS`, too.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping
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
NUM_TRIALS = {"gp": 13}
"""Enough for a sampler to leave its random start, and not more where it is slow."""
NUM_AND_SEEDS = {"gp": (16, 2), "reinforce": (120, 5)}
"""Trials and seeds of a slow sampler, and of one that learns slowly; 50 and 9 of all others."""

MIXED: dict[str, Any] = {
    "lr": {"min": 1e-5, "max": 1e-1, "log": True, "count": 7},
    "momentum": {"min": 0.05, "max": 0.95, "count": 3},
    "dropout": {"min": 0.1, "max": 0.5, "step": 0.15},
    "model": {"width": {"min": 10, "max": 100, "step": 30}, "depth": {"min": 1, "max": 3}},
    "batch": {"min": 1, "max": 500, "log": True, "count": 4},
    "look_alikes": {"values": [True, 1, 1.0, "1", None]},
    "layers": {"values": [[1, 2], [1, 2, 3], {"a": [1]}]},
    "single": {"values": ["only"]},
    "fixed": {"min": 3, "max": 3},
    "augment": True,
}
FINITE = {"a": {"values": [True, 1, [1]]}, "b": {"min": 0, "max": 6, "step": 3}, "c": 0.5}
NUM_FINITE = 9
QUADRATIC = {
    "x": {"min": -1.0, "max": 1.0, "count": 9},
    "y": {"min": 1e-5, "max": 1e-1, "log": True, "count": 9},
}

Finish = Callable[[int, Point], Outcome | None]
"""What becomes of a trial; None when it teaches nothing."""


def searcher(method: str, sampler: str | None, parameters: Mapping[str, Any], *, seed: int = 0) -> Searcher:
    tree = {"method": method, "seed": seed, "metric": {"name": "loss", "goal": "minimize"}, "parameters": parameters}
    return make_searcher(Sweep.from_dict(tree if sampler is None else {**tree, "sampler": sampler}))


def num_trials(sampler: str | None) -> int:
    return NUM_TRIALS.get(sampler or "", 60)


def distance(point: Point) -> float:
    """Smallest at x = 0.3 and y = 1e-3; of any parameter that isn't there, nothing."""
    return float((point.get("x", 0.0) - 0.3) ** 2 + (math.log10(point.get("y", 1e-3)) / 2 + 1.5) ** 2)


def done(number: int, point: Point, loss: float) -> Outcome:
    return Outcome(number=number, point=point, state="done", losses={1: loss + 1, 2: loss})


def stopped(number: int, point: Point, loss: float) -> Outcome:
    return Outcome(number=number, point=point, state="stopped", losses={1: loss})


def infeasible(number: int, point: Point) -> Outcome:
    return Outcome(number=number, point=point, state="infeasible", losses={})


def mixed_fate(number: int, point: Point) -> Outcome | None:
    """Every way that a trial can end, by its number; half are done, so that a model begins amid stopped ones."""
    loss = random.Random(number).random()
    fates = [done(number, point, loss), stopped(number, point, loss), infeasible(number, point), None]
    return fates[(0, 1, 0, 2, 0, 3)[number % 6]]


def run(method: Searcher, numbers: range, finish: Finish, *, at_once: int = 1) -> list[Point]:
    """Ask for every number, with `at_once` trials running whenever there are so many."""
    points: dict[int, Point] = {}
    running: list[int] = []
    for number in numbers:
        point = method.ask(number)
        assert point is not None
        points[number] = point
        running.append(number)
        if len(running) == at_once:
            end(method, running[0], points[running.pop(0)], finish)
    for number in running:
        end(method, number, points[number], finish)
    return list(points.values())


def end(method: Searcher, number: int, point: Point, finish: Finish) -> None:
    outcome = finish(number, point)
    if outcome is None:
        method.drop(number)
    else:
        method.tell(outcome)


def typed(value: Any) -> Any:
    """A value with the types of all that is in it."""
    if isinstance(value, list):
        return (list, [typed(each) for each in value])
    if isinstance(value, dict):
        return (dict, {key: typed(each) for key, each in value.items()})
    return (type(value), value)


every_method = pytest.mark.parametrize(("method", "sampler"), METHODS)
every_model = pytest.mark.parametrize(("method", "sampler"), MODELS)


@every_method
def test_every_point_is_in_the_space_and_in_plain_python_types(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, MIXED)
    types = {"lr": float, "momentum": float, "dropout": float, "batch": int, "model.width": int, "model.depth": int}
    for point in run(under_test, range(1, num_trials(sampler) + 1), mixed_fate):
        assert under_test.space.contains(point)
        assert list(point) == list(under_test.space.domains), "in the order of the spec"
        assert {name: type(point[name]) for name in types} == types
        assert typed(point["look_alikes"]) in [typed(value) for value in MIXED["look_alikes"]["values"]]
        assert typed(point["layers"]) in [typed(value) for value in MIXED["layers"]["values"]]
        assert (point["single"], point["fixed"], point["augment"]) == ("only", 3, True)


@every_method
def test_a_space_of_constants_has_one_point(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, {"a": 1, "b": [1, 2]})
    assert under_test.ask(1) == {"a": 1, "b": [1, 2]}
    assert under_test.ask(2) is None


@every_method
def test_a_seed_repeats_and_another_seed_differs(method: str, sampler: str | None) -> None:
    numbers = range(1, num_trials(sampler) + 1)
    first, again, other = (run(searcher(method, sampler, MIXED, seed=seed), numbers, mixed_fate) for seed in (5, 5, 6))
    assert [typed(point) for point in first] == [typed(point) for point in again]
    assert first != other


@every_method
def test_a_replayed_searcher_continues_as_the_uninterrupted_one(method: str, sampler: str | None) -> None:
    unbroken, replayed = (searcher(method, sampler, MIXED, seed=3) for _ in range(2))
    last = num_trials(sampler)
    for number in range(1, last + 1):
        point = unbroken.ask(number)
        assert point is not None
        replayed.adopt(number, point)
        if number < last - 2:  # the rest still run
            for each in (unbroken, replayed):
                end(each, number, point, mixed_fate)
    assert [unbroken.ask(last + i) for i in (1, 2, 3, 4)] == [replayed.ask(last + i) for i in (1, 2, 3, 4)]


@every_method
def test_a_replayed_searcher_continues_alike_where_proposals_were_refused(method: str, sampler: str | None) -> None:
    unbroken, replayed = (searcher(method, sampler, FINITE, seed=1) for _ in range(2))
    for number in range(1, NUM_FINITE):
        point = unbroken.ask(number)
        assert point is not None
        replayed.adopt(number, point)
        for each in (unbroken, replayed):
            each.tell(done(number, point, number))
    assert unbroken.ask(NUM_FINITE) == replayed.ask(NUM_FINITE) is not None


@every_method
def test_a_finite_space_is_asked_once_each_and_then_ends(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    points = run(under_test, range(1, NUM_FINITE + 1), mixed_fate, at_once=4)
    assert len({under_test.space.key(point) for point in points}) == NUM_FINITE
    assert under_test.ask(NUM_FINITE + 1) is None


@every_method
def test_four_trials_at_once_get_four_points(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, QUADRATIC)
    run(under_test, range(1, 13), by_distance)
    points = [under_test.ask(number) for number in range(13, 17)]
    assert len({under_test.space.key(point) for point in points if point is not None}) == 4


@every_method
def test_numbers_may_come_in_any_order(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    points = [under_test.ask(number) for number in (9, 3, 1, 8, 2, 7, 5, 4, 6)]
    assert len({under_test.space.key(point) for point in points if point is not None}) == NUM_FINITE


@every_method
def test_adopted_points_are_learnt_from_and_not_proposed_again(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    adopted: list[Point] = [{"a": 1, "b": 3, "c": 0.5}, {"a": [1], "b": 0, "c": 0.5}]
    for number, point in enumerate(adopted, start=1):
        under_test.adopt(number, point)
        under_test.tell(done(number, point, number))
    points = run(under_test, range(3, NUM_FINITE + 1), mixed_fate)
    assert {under_test.space.key(point) for point in [*points, *adopted]} == {
        under_test.space.key(point) for point in under_test.space.points()
    }
    assert under_test.ask(NUM_FINITE + 1) is None


@every_method
def test_an_adopted_point_outside_of_the_space_does_no_harm(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    foreign = {"a": "gone", "b": 99, "c": 0.5}
    under_test.adopt(1, foreign)
    under_test.tell(done(1, foreign, 0.0))
    under_test.adopt(2, {**foreign, "b": 98})
    under_test.drop(2)
    assert len(run(under_test, range(3, 3 + NUM_FINITE), mixed_fate)) == NUM_FINITE


@every_method
def test_failures_before_the_first_success_are_survived(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, MIXED)
    last = num_trials(sampler)

    def fate(number: int, point: Point) -> Outcome:
        return infeasible(number, point) if number < last - 4 else done(number, point, number)

    points = run(under_test, range(1, last + 1), fate)
    assert len({under_test.space.key(point) for point in points}) == last


@every_method
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_are_survived_and_count_as_nothing(
    method: str, sampler: str | None, bad: float
) -> None:
    plain, disturbed = searcher(method, sampler, QUADRATIC), searcher(method, sampler, QUADRATIC)
    for number in range(1, 13):
        point = plain.ask(number)
        assert point is not None and disturbed.ask(number) == point
        loss = distance(point)
        plain.tell(infeasible(number, point) if number % 4 == 0 else done(number, point, loss))
        curve = {1: bad, 2: bad} if number % 4 == 0 else {1: loss + 1, 2: loss, 3: bad}
        disturbed.tell(Outcome(number=number, point=point, state="done", losses=curve))
    assert plain.ask(13) == disturbed.ask(13)
    assert disturbed.failure is None


@every_method
def test_eight_trials_at_once_are_not_all_sent_to_the_same_place(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, QUADRATIC)
    run(under_test, range(1, 17), by_distance)
    points = [point for number in range(17, 25) if (point := under_test.ask(number)) is not None]
    assert max(abs(a["x"] - b["x"]) for a in points for b in points) > 0.02 * 2
    assert max(abs(math.log10(a["y"] / b["y"])) for a in points for b in points) > 0.02 * 4


@pytest.mark.parametrize(("method", "sampler"), [each for each in MODELS if each[1] != "reinforce"])
def test_a_model_finds_a_better_point_than_random_search(method: str, sampler: str) -> None:
    """The controller is left out: it knows a range by its sixteenths; its own tests are in `unit/search`."""
    num, seeds = NUM_AND_SEEDS.get(sampler, (50, 9))

    def median_best(method: str, sampler: str | None) -> float:
        runs = runs_of(method, sampler, by_distance, num=num, seeds=seeds)
        return statistics.median(min(map(distance, points)) for points in runs)

    assert median_best(method, sampler) < 0.8 * median_best("random", None)


@pytest.mark.parametrize(("method", "sampler"), [each for each in METHODS if each[1] != "cmaes"])
def test_a_trial_that_is_reported_again_counts_with_its_last_outcome(method: str, sampler: str | None) -> None:
    """CMA-ES is left out: what a generation began with can't be undone. It takes the later loss all the same."""
    rng = random.Random(0)
    once, twice = searcher(method, sampler, QUADRATIC), searcher(method, sampler, QUADRATIC)
    points = {number: once.space.draw(rng) for number in range(1, 13)}
    for number, point in points.items():
        for each in (once, twice):
            each.adopt(number, point)
            if number != 3:
                each.tell(done(number, point, distance(point)))
        if number == 3:
            twice.tell(stopped(number, point, 0.0))
    for each in (once, twice):
        each.tell(done(3, points[3], -1.0))
    assert [once.ask(number) for number in (13, 14)] == [twice.ask(number) for number in (13, 14)]


@every_model
def test_stopped_trials_are_learnt_from(method: str, sampler: str) -> None:
    """Where the rule ends all trials but the first, half of them at once, the last points gather around the best."""

    def fate(number: int, point: Point) -> Outcome:
        if number == 1:
            return done(number, point, distance(point))
        losses = {1: distance(point), 3: distance(point)} if number % 2 else {1: distance(point)}
        return Outcome(number=number, point=point, state="stopped", losses=losses)

    num, seeds = NUM_AND_SEEDS.get(sampler, (60, 9))

    def quartile_late(method: str, sampler: str | None) -> float:
        runs = runs_of(method, sampler, fate, num=num, seeds=seeds)
        return statistics.quantiles(distance(point) for points in runs for point in points[-8:])[0]

    assert quartile_late(method, sampler) < 0.8 * quartile_late("random", None)


@every_model
@pytest.mark.parametrize("better_half_is_forbidden", [False, True])
def test_a_forbidden_half_of_the_space_is_left(method: str, sampler: str, better_half_is_forbidden: bool) -> None:
    """Told as failures, they are forgotten: 49 of 60 trials went there, as many of the last as of the first."""

    def is_forbidden(point: Point) -> bool:
        return (point["x"] > 0) is better_half_is_forbidden

    def fate(number: int, point: Point) -> Outcome:
        return infeasible(number, point) if is_forbidden(point) else by_distance(number, point)

    num, seeds = (15, 1) if sampler == "gp" else (60, 7)
    runs = runs_of(method, sampler, fate, num=num, seeds=seeds)
    visits = statistics.median(sum(map(is_forbidden, points)) for points in runs)
    assert visits <= (0.45 if better_half_is_forbidden else 0.4) * num


def by_distance(number: int, point: Point) -> Outcome:
    return done(number, point, distance(point))


def runs_of(method: str, sampler: str | None, finish: Finish, *, num: int, seeds: int) -> list[list[Point]]:
    """The points of one run for each seed."""
    return [run(searcher(method, sampler, QUADRATIC, seed=seed), range(1, num + 1), finish) for seed in range(seeds)]
