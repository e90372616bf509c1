from __future__ import annotations

import itertools

import pytest

from hpsearch.errors import SpecError
from hpsearch.search.grid import GridSearcher, shuffled
from hpsearch.space.space import Choice, Integer, Real, Space

LARGE = Space(domains={name: Integer(min=0, max=99) for name in "abcdef"})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 1000])
def test_a_shuffle_meets_every_index_once(size: int) -> None:
    assert sorted(shuffled(index, size=size, seed=7) for index in range(size)) == list(range(size))


def test_a_shuffle_has_no_favourite_place_for_an_index() -> None:
    """Over 3000 seeds each of 5 places is expected 600 times; 4 standard deviations are 88."""
    places = [shuffled(2, size=5, seed=seed) for seed in range(3000)]
    assert all(abs(places.count(place) - 600) < 88 for place in range(5))


def test_the_first_tenth_of_a_grid_is_spread_over_every_parameter() -> None:
    space = Space(domains={"a": Integer(min=0, max=9), "b": Integer(min=0, max=9), "c": Integer(min=0, max=9)})
    grid = GridSearcher(space=space, seed=0)
    points = [grid.ask(number) or {} for number in range(1, 101)]
    for name in "abc":
        assert {point[name] for point in points} == set(range(10))


def test_a_grid_of_a_million_million_points_is_asked_at_once() -> None:
    assert LARGE.grid_size == 10**12
    grid = GridSearcher(space=LARGE, seed=0)
    assert LARGE.contains(grid.ask(10**12) or {})


def test_a_trial_gets_the_same_point_whatever_was_asked_before() -> None:
    space = Space(domains={"a": Integer(min=0, max=9), "b": Real(min=0.0, max=1.0, count=3)})
    orders = [range(1, 31), range(30, 0, -1)]
    asked = [{number: GridSearcher(space=space, seed=4).ask(number) for number in order} for order in orders]
    assert asked[0] == asked[1]


def test_an_adopted_grid_point_makes_room_for_the_point_of_its_trial() -> None:
    space = Space(domains={"a": Choice(values=("p", "q", "r", "s"))})
    untouched = GridSearcher(space=space, seed=1)
    order = [untouched.ask(number) for number in (1, 2, 3, 4)]
    grid = GridSearcher(space=space, seed=1)
    third = order[2]
    assert third is not None
    grid.adopt(1, third)
    assert [grid.ask(number) for number in (2, 3, 4, 5)] == [order[1], order[0], order[3], None]


def test_trials_beyond_those_adopted_off_the_grid_still_cover_the_grid() -> None:
    space = Space(domains={"a": Real(min=0.0, max=1.0, count=3)})
    grid = GridSearcher(space=space, seed=1)
    grid.adopt(1, {"a": 0.3})
    values = [point["a"] for point in itertools.takewhile(bool, map(grid.ask, range(2, 9))) if point]
    assert sorted(values) == [0.0, 0.5, 1.0]


def test_grid_refuses_a_continuous_range() -> None:
    with pytest.raises(SpecError, match="grid needs"):
        GridSearcher(space=Space(domains={"a": Real(min=0.0, max=1.0)}), seed=0)
