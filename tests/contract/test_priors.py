"""What every search method does with what is known from elsewhere."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest

from hpsearch.search import Outcome, Searcher, make_searcher
from hpsearch.spec.sweep import Sweep
from tests.contract.test_searchers import (
    FINITE,
    METHODS,
    MIXED,
    MODELS,
    NUM_FINITE,
    QUADRATIC,
    distance,
    done,
    mixed_fate,
    num_trials,
    run,
    searcher,
)

every_method = pytest.mark.parametrize(("method", "sampler"), METHODS)
QUICK = [each for each in MODELS if each[0] != "controller"]
"""Models that learn much from thirty outcomes; the controller's methods want hundreds."""
every_model = pytest.mark.parametrize(("method", "sampler"), QUICK)
SLOW = {"gp"}
"""Its proposals take a tenth of a second each."""
every_other = pytest.mark.parametrize(("method", "sampler"), [each for each in METHODS if each not in MODELS])


def earlier(of: Searcher, *, num: int = 30, seed: int = 7) -> list[Outcome]:
    """An earlier random search that found good places and bad ones."""
    rng = random.Random(seed)
    points = [of.space.draw(rng) for _ in range(num)]
    return [done(number, point, distance(point)) for number, point in enumerate(points, start=1)]


def every_fate(of: Searcher) -> list[Outcome]:
    """Outcomes of every kind, an infeasible one first."""
    rng = random.Random(3)
    kinds = (mixed_fate(number, of.space.draw(rng)) for number in (3, 0, 1, 2, 4, 6, 9))
    bad = Outcome(number=1, point=of.space.draw(rng), state="done", losses={1: math.nan})
    return [*(kind for kind in kinds if kind is not None), bad]


def asked(under_test: Searcher, numbers: Sequence[int]) -> list[dict[str, object]]:
    return [point for number in numbers if (point := under_test.ask(number)) is not None]


@every_method
def test_priors_of_every_kind_are_accepted_and_proposals_stay_in_the_space(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, MIXED)
    under_test.learn_prior(every_fate(under_test))
    points = run(under_test, range(1, (6 if sampler in SLOW else num_trials(sampler)) + 1), mixed_fate)
    assert all(under_test.space.contains(point) for point in points)
    assert under_test.failure is None


@every_method
def test_priors_take_no_trial_and_a_space_that_they_fill_is_tried_whole(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    under_test.learn_prior([done(1, point, 1.0) for point in under_test.space.points()])
    points = run(under_test, range(1, NUM_FINITE + 1), mixed_fate)
    assert len({under_test.space.key(point) for point in points}) == NUM_FINITE
    assert under_test.ask(NUM_FINITE + 1) is None
    assert under_test.failure is None


@pytest.mark.parametrize(("method", "sampler"), [each for each in METHODS if each[0] != "grid"])
def test_the_points_of_priors_are_tried_again_once_no_other_is_left(method: str, sampler: str | None) -> None:
    under_test = searcher(method, sampler, FINITE)
    every = list(under_test.space.points())
    known = every[::2]
    under_test.learn_prior([done(1, point, float(number)) for number, point in enumerate(known)])
    points = run(under_test, range(1, NUM_FINITE + 1), lambda number, point: done(number, point, 1.0))
    keys = [under_test.space.key(point) for point in points]
    again = {under_test.space.key(point) for point in known}
    assert set(keys[: -len(known)]).isdisjoint(again) and set(keys[-len(known) :]) == again
    assert under_test.ask(NUM_FINITE + 1) is None and under_test.failure is None


def test_a_grid_has_every_point_in_its_order_whatever_is_known() -> None:
    plain, warm = searcher("grid", None, FINITE), searcher("grid", None, FINITE)
    warm.learn_prior([done(1, point, 1.0) for point in list(warm.space.points())[::2]])
    assert asked(warm, range(1, NUM_FINITE + 1)) == asked(plain, range(1, NUM_FINITE + 1))


@every_method
def test_the_users_own_first_points_are_tried_also_where_priors_know_them(method: str, sampler: str | None) -> None:
    point = {"a": 1, "b": 3, "c": 0.5}
    tree = {"method": method, "sampler": sampler, "metric": {"name": "loss", "goal": "minimize"}, "parameters": FINITE}
    under_test = make_searcher(Sweep.from_dict({**tree, "initial_points": [{"a": 1, "b": 3}]}))
    under_test.learn_prior([done(1, point, 1.0)])
    assert under_test.ask(1) == point


@every_model
def test_a_model_begins_near_the_best_of_its_priors(method: str, sampler: str) -> None:
    seeds = range(1 if sampler in SLOW else 9)

    def median_first(*, warm: bool) -> float:
        found = []
        for seed in seeds:
            under_test = searcher(method, sampler, QUADRATIC, seed=seed)
            if warm:
                under_test.learn_prior(earlier(under_test))
            found += [distance(point) for point in asked(under_test, range(1, 6))]
        return statistics.median(found)

    assert median_first(warm=True) < 0.5 * median_first(warm=False)


@pytest.mark.parametrize(("method", "sampler"), [each for each in QUICK if each[1] not in SLOW])
def test_priors_do_not_keep_a_model_from_learning_of_its_own_trials(method: str, sampler: str) -> None:
    """The priors praise another place than the trials: the trials win."""
    under_test = searcher(method, sampler, QUADRATIC)
    rng = random.Random(1)
    far = [point for point in (under_test.space.draw(rng) for _ in range(40)) if point["x"] < -0.2][:10]
    under_test.learn_prior([done(1, point, 10.0 + distance(point)) for point in far])
    points = run(under_test, range(1, 61), lambda number, point: done(number, point, distance(point)))
    assert statistics.median(distance(point) for point in points[-8:]) < 0.5


@every_other
def test_a_method_that_does_not_learn_proposes_as_without_priors(method: str, sampler: str | None) -> None:
    plain, warm = searcher(method, sampler, QUADRATIC), searcher(method, sampler, QUADRATIC)
    warm.learn_prior(earlier(warm))
    assert asked(plain, range(1, 6)) == asked(warm, range(1, 6))


@every_method
def test_after_a_restart_priors_and_replay_give_the_same_proposals(method: str, sampler: str | None) -> None:
    unbroken, replayed = searcher(method, sampler, QUADRATIC), searcher(method, sampler, QUADRATIC)
    for each in (unbroken, replayed):
        each.learn_prior(earlier(each))
    for number in range(1, 3 if sampler in SLOW else 12):
        point = unbroken.ask(number)
        assert point is not None
        replayed.adopt(number, point)
        for each in (unbroken, replayed):
            each.tell(done(number, point, distance(point)))
    assert asked(unbroken, (12, 13)) == asked(replayed, (12, 13))
