"""Ranges that are rounded to multiples of `q`: clipped in hpsearch's words, not in those of other tools."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest

from hpsearch.space.parser import clip_ranges, parameters_of_older_versions, parse_space
from hpsearch.space.rounding import clipped_bounds


@pytest.mark.parametrize(
    ("low", "high", "q", "bounds"),
    [
        (0.15, 1, 0.1, (0.2, 1)),
        (0.1, 0.99, 0.3, (0.3, 0.9)),
        (-7, 7, 5, (-5, 5)),
        (0.5, 10.5, 1, (1, 10)),
        (0.12, 0.18, 0.1, None),
        (0.3, 0.7, 0.1, (0.3, 0.7)),
        (0.1 + 0.2, 0.6, 0.3, (0.1 + 0.2, 0.6)),
        (1e-12, 0.5, 0.25, (0.25, 0.5)),
        (1e299, 1e299, 1e-300, (1e299, 1e299)),
    ],
)
def test_the_bounds_are_moved_inwards_to_multiples(
    low: float, high: float, q: float, bounds: tuple[float, float] | None
) -> None:
    assert clipped_bounds(low, high, q) == bounds


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ({}, {0.2, 0.3, 0.4}),
        ({"clip": True}, {0.2, 0.3, 0.4}),
        ({"clip": False}, {0.1, 0.2, 0.3, 0.4, 0.5}),
        ({"log": True}, {0.2, 0.3, 0.4}),
    ],
)
def test_draws_and_grid_have_the_multiples_between_the_bounds(keys: dict[str, Any], values: set[float]) -> None:
    space = parse_space({"x": {"min": 0.14, "max": 0.46, "q": 0.1, **keys}}, [])
    rng = random.Random(0)
    assert {space.draw(rng)["x"] for _ in range(500)} == values
    assert {space.on_grid.point_at(i)["x"] for i in range(space.grid_size or 0)} == values  # type: ignore[index]


def test_bounds_that_are_multiples_mean_the_same_clipped_or_not() -> None:
    clipped, unclipped = (
        parse_space({"x": {"min": 0.0, "max": 1.0, "q": 0.25, **keys}}, []) for keys in ({}, {"clip": False})
    )
    draws = [[space.draw(random.Random(seed)) for seed in range(50)] for space in (clipped, unclipped)]
    assert draws[0] == draws[1]
    assert Counter(point["x"] for point in draws[0]).keys() == {0.0, 0.25, 0.5, 0.75, 1.0}


TREE: dict[str, Any] = {
    "a": {"min": 0.15, "max": 1, "q": 0.1},
    "b": {"c": {"min": 0.15, "max": 1, "q": 0.1, "clip": False}, "d": {"min": 0, "max": 1, "q": 0.25}},
    "e": {"values": [1, 2]},
    "f": {"min": 0.12, "max": 0.18, "q": 0.1},
}


def test_a_stored_space_of_this_version_is_clipped_already_or_says_that_it_is_not() -> None:
    stored = clip_ranges({name: TREE[name] for name in "abe"})
    assert stored == {
        "a": {"min": 0.2, "max": 1, "q": 0.1},
        "b": TREE["b"],
        "e": TREE["e"],
    }
    assert parameters_of_older_versions(stored) == stored
    assert clip_ranges(stored) == stored


def test_a_stored_space_of_an_older_version_keeps_values_beyond_its_bounds() -> None:
    assert parameters_of_older_versions(TREE) == {
        "a": {**TREE["a"], "clip": False},
        "b": TREE["b"],
        "e": TREE["e"],
        "f": {**TREE["f"], "clip": False},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        None,
        {"min": "a", "max": 1, "q": 0.1},
        {"min": 0, "max": 1, "q": 0},
        {"min": 0, "max": 10**5000, "q": 1},
        {"min": 0, "max": math.inf, "q": math.nan},
        {"min": True, "max": 2, "q": 3},
    ],
)
def test_mistakes_are_left_to_the_parser(wrong: Any) -> None:
    assert clip_ranges({"x": wrong}) == {"x": wrong} == parameters_of_older_versions({"x": wrong})
