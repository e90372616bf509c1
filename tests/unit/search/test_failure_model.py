"""Where configurations fail: what the failure model learns from trials, and what it never does."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hpsearch.search import failure_model, make_searcher
from hpsearch.search.failure_model import FailureModel, _milestone
from hpsearch.search.random_search import RandomSearcher
from hpsearch.search.searcher import Outcome
from hpsearch.space.conditions import Condition
from hpsearch.space.space import Choice, Integer, Point, Real, Space
from hpsearch.spec.sweep import Sweep

WIDE = Space(
    domains={
        "batch_size": Choice(values=(64, 512, 16, 128, 256, 32)),
        "width": Integer(min=16, max=256, step=16),
        "depth": Integer(min=1, max=64, log=True),
        "lr": Real(min=1e-5, max=1.0, log=True),
        "dropout": Real(min=0.0, max=0.5),
        "optimizer": Choice(values=("sgd", "adamw", "rmsprop")),
    }
)


def drawn(space: Space, num: int, *, seed: int = 0) -> list[Point]:
    rng = random.Random(seed)
    return [space.draw(rng) for _ in range(num)]


def model_of(space: Space, points: list[Point], failed: list[bool]) -> FailureModel:
    model = FailureModel(space)
    for number, (point, bad) in enumerate(zip(points, failed, strict=True), start=1):
        model.add(number, point, failed=bad)
    return model


def test_without_a_failure_nothing_is_at_risk() -> None:
    points = drawn(WIDE, 20)
    model = model_of(WIDE, points, [False] * 20)
    assert {model.risk(point) for point in points} == {0.0}


@pytest.mark.parametrize(
    "fails",
    [
        lambda point: point["batch_size"] >= 128,
        lambda point: point["lr"] > 3e-3,
        lambda point: point["optimizer"] == "adamw",
        lambda point: not 1e-4 < point["lr"] < 1e-2,
    ],
    ids=["large batches", "large steps", "one optimizer", "steps too large or too small"],
)
def test_a_limit_on_one_of_six_parameters_is_learned_from_40_trials(fails) -> None:
    points = drawn(WIDE, 40)
    model = model_of(WIDE, points, [fails(point) for point in points])
    others = drawn(WIDE, 400, seed=1)
    failing = [point for point in others if fails(point)]
    sound = [point for point in others if not fails(point)]
    assert sum(map(model.is_likely_to_fail, failing)) > 0.6 * len(failing)
    assert sum(map(model.is_likely_to_fail, sound)) < 0.1 * len(sound)


def test_the_order_of_trials_does_not_matter_and_the_last_outcome_of_each_counts() -> None:
    points = drawn(WIDE, 30)
    failed = [point["lr"] > 3e-3 for point in points]
    ordered, shuffled = model_of(WIDE, points, failed), FailureModel(WIDE)
    for number in random.Random(0).sample(range(1, 31), 30):
        shuffled.add(number, points[number - 1], failed=not failed[number - 1])
        shuffled.risk(points[0])
        shuffled.add(number, points[number - 1], failed=failed[number - 1])
    assert [ordered.risk(point) for point in drawn(WIDE, 9, seed=1)] == [
        shuffled.risk(point) for point in drawn(WIDE, 9, seed=1)
    ]


def test_a_model_asked_after_every_trial_equals_one_that_got_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it caches changes nothing, though it is fitted to the last trials alone."""
    monkeypatch.setattr(failure_model, "MAX_TRIALS", 40)
    points, others = drawn(WIDE, 90), drawn(WIDE, 9, seed=1)
    failed = [point["lr"] > 3e-3 for point in points]
    grown = FailureModel(WIDE)
    for number, (point, bad) in enumerate(zip(points, failed, strict=True), start=1):
        grown.add(number, point, failed=bad)
        grown.likely_failures()
        if number in (30, 60, 90):
            fresh = model_of(WIDE, points[:number], failed[:number])
            assert grown.likely_failures() == fresh.likely_failures() != ()
            assert [grown.risk(each) for each in others] == pytest.approx([fresh.risk(each) for each in others])


def test_a_trial_that_is_added_again_with_another_point_has_the_new_one() -> None:
    points = drawn(WIDE, 30)
    failed = [point["lr"] > 3e-3 for point in points]
    moved, fresh = (
        model_of(WIDE, [*points[:29], points[0]], [*failed[:29], not failed[29]]),
        model_of(WIDE, points, failed),
    )
    moved.likely_failures()
    moved.add(30, points[29], failed=failed[29])
    assert [moved.risk(each) for each in points] == pytest.approx([fresh.risk(each) for each in points])


def test_what_is_far_from_all_trials_is_never_forbidden_even_if_all_failed() -> None:
    space = Space(domains={"x": Real(min=0.0, max=1.0), "y": Real(min=0.0, max=1.0)})
    model = model_of(space, [{"x": 0.1, "y": 0.1}, {"x": 0.12, "y": 0.1}, {"x": 0.1, "y": 0.12}], [True, True, True])
    assert model.is_likely_to_fail({"x": 0.1, "y": 0.1})
    searcher = RandomSearcher(space=space, seed=0)
    for number in range(1, 61):
        point = searcher.ask(number) or {}
        searcher.tell(Outcome(number=number, point=point, state="infeasible", losses={}, cause="oom_gpu"))
    assert searcher.failure is None


def test_a_branch_that_fails_is_distinguished_from_one_that_does_not() -> None:
    space = Space(
        domains={"kind": Choice(values=("a", "b")), "x": Real(min=0.0, max=1.0)},
        conditions={"x": Condition(allowed={"kind": frozenset({'"a"'})})},
    )
    points = drawn(space, 20)
    model = model_of(space, points, ["x" in point and point["x"] > 0.5 for point in points])
    assert model.is_likely_to_fail({"kind": "a", "x": 0.8})
    assert not model.is_likely_to_fail({"kind": "a", "x": 0.2})
    assert not model.is_likely_to_fail({"kind": "b"})


@pytest.mark.parametrize(("cause", "moves"), [("oom_gpu", True), ("diverged", True), ("killed", False), (None, True)])
def test_only_failures_by_configuration_teach_the_model(cause, moves: bool) -> None:
    space = Space(domains={"x": Real(min=0.0, max=1.0)})
    searcher = RandomSearcher(space=space, seed=0)
    for number in range(1, 31):
        point = searcher.ask(number) or {}
        fate: tuple[Any, dict[int, float]] = ("infeasible", {}) if point["x"] > 0.5 else ("done", {1: 1.0})
        state, losses = fate
        searcher.tell(
            Outcome(number=number, point=point, state=state, losses=losses, cause=cause if not losses else None)
        )
    later = [searcher.ask(number) or {} for number in range(31, 61)]
    assert (sum(point["x"] > 0.5 for point in later) < 8) is moves


def test_without_failures_random_search_proposes_what_it_would_without_a_failure_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def points(limit: float) -> list[Point | None]:
        monkeypatch.setattr(failure_model, "MAX_RISK", limit)
        searcher = RandomSearcher(space=WIDE, seed=0)
        found = []
        for number in range(1, 31):
            found.append(searcher.ask(number))
            searcher.tell(Outcome(number=number, point=found[-1] or {}, state="done", losses={1: 1.0}))
        return found

    assert points(0.75) == points(1.0)


def test_a_finite_space_is_tried_whole_though_most_of_it_fails() -> None:
    space = Space(domains={"x": Integer(min=1, max=30)})
    searcher = RandomSearcher(space=space, seed=0)
    values = []
    for number in range(1, 31):
        point = searcher.ask(number) or {}
        values.append(point["x"])
        bad = point["x"] > 10
        fate: tuple[Any, dict[int, float]] = ("infeasible", {}) if bad else ("done", {1: 1.0})
        state, losses = fate
        searcher.tell(Outcome(number=number, point=point, state=state, losses=losses))
    assert sorted(values) == list(range(1, 31))
    assert searcher.ask(31) is None


def test_length_scales_are_chosen_again_when_there_are_a_quarter_more_trials() -> None:
    assert [_milestone(count) for count in (1, 3, 4, 5, 6, 7, 9, 11, 12)] == [1, 3, 4, 5, 5, 7, 9, 9, 12]


@pytest.mark.parametrize("method", ["optuna", "hyperopt"])
def test_a_sampler_that_sees_likely_failures_is_asked_less_than_twice_for_a_trial(method: str) -> None:
    """With its own failed trials alone, HyperOpt's tpe was asked six times for a trial, and Optuna's four times."""
    parameters = {"x": {"min": -1.0, "max": 1.0}, "y": {"min": -1.0, "max": 1.0}}
    metric = {"name": "loss", "goal": "minimize"}
    tree = {"metric": metric, "method": method, "sampler": "tpe", "parameters": parameters}
    searcher = make_searcher(Sweep.from_dict(tree))
    asked, propose = [], searcher._propose
    searcher._propose = lambda number, draw: asked.append(number) or propose(number, draw)  # type: ignore[method-assign, func-returns-value]
    for number in range(1, 61):
        point = searcher.ask(number) or {}
        bad = point["x"] > 0
        fate: tuple[Any, dict[int, float]] = (
            ("infeasible", {}) if bad else ("done", {1: (point["x"] - 0.5) ** 2 + point["y"] ** 2})
        )
        state, losses = fate
        searcher.tell(Outcome(number=number, point=point, state=state, losses=losses))
    assert searcher.failure is None
    assert len(asked) < 2 * 60


def test_likely_failures_do_not_depend_on_order_and_are_the_same_object_until_they_change() -> None:
    points = drawn(WIDE, 40)
    failed = [point["lr"] > 3e-3 for point in points]
    model, reverse = model_of(WIDE, points, failed), FailureModel(WIDE)
    for number in range(40, 0, -1):
        reverse.add(number, points[number - 1], failed=failed[number - 1])
        reverse.likely_failures()
    assert model.likely_failures() == reverse.likely_failures() != ()
    assert all(map(model.is_likely_to_fail, model.likely_failures()))
    assert model.likely_failures() is model.likely_failures()
