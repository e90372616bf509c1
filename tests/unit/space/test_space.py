"""Domains and spaces: what can be drawn, what a grid holds, and the one canonical form of a point."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hpsearch.plain import canonical
from hpsearch.space.space import Choice, Constant, Domain, Integer, Real, Space, to_config

DOMAINS: list[tuple[Domain, str, int | None]] = [
    (Constant(value={"b": [1, None]}), '{"b":[1,null]}', 1),
    (Choice(values=(1, 1.0, True, "1")), '1 | 1.0 | true | "1"', 4),
    (Choice(values=("sgd", "adam"), probabilities=(0.9, 0.1)), '"sgd" | "adam"', 2),
    (Real(min=-1.5, max=0.0), "-1.5 .. 0", None),
    (Real(min=1e-4, max=1e-1, log=True), "0.0001 .. 0.1 log", None),
    (Real(min=0.1, max=0.5, step=0.1), "0.1 .. 0.5 step 0.1", 5),
    (Real(min=0.1234567890123, max=1.0, step=0.3), "0.123457 .. 1 step 0.3", 3),
    (Real(min=0.12345678901234511, max=1.0, step=0.5), "0.123457 .. 1 step 0.5", 2),
    (Real(min=1e6, max=1e6 + 1e-3, step=1e-5), "1e+06 .. 1e+06 step 1e-05", 101),
    (Real(min=2.0, max=2.0), "2 .. 2", 1),
    (Integer(min=-5, max=5), "-5 .. 5", 11),
    (Integer(min=16, max=130, step=16), "16 .. 130 step 16", 8),
    (Integer(min=1, max=1000, log=True, count=4), "1 .. 1000 log", 1000),
    (Integer(min=-(2**52), max=2**52), f"{-(2**52)} .. {2**52}", 2**53 + 1),
]
NAMES = [text for _, text, _ in DOMAINS]


@pytest.mark.parametrize(("domain", "text", "size"), DOMAINS, ids=NAMES)
def test_a_domain_says_what_it_is_and_how_many_values_it_has(domain: Any, text: str, size: int | None) -> None:
    assert (str(domain), domain.size) == (text, size)


@pytest.mark.parametrize("domain", [domain for domain, _, _ in DOMAINS], ids=NAMES)
def test_whatever_is_drawn_is_contained_and_keeps_its_type(domain: Any) -> None:
    rng = random.Random(0)
    drawn = [domain.draw(rng) for _ in range(200)]
    assert all(domain.contains(value) for value in drawn)
    if isinstance(domain, Integer | Real):
        assert {type(value) for value in drawn} == {int if isinstance(domain, Integer) else float}
        assert all(domain.clip(value) == value for value in drawn)


@pytest.mark.parametrize("domain", [domain for domain, _, _ in DOMAINS], ids=NAMES)
def test_every_grid_point_is_contained_and_there_once(domain: Any) -> None:
    grid = domain.grid()
    first = [] if grid is None else list(grid[:2000])
    assert all(domain.contains(value) for value in first)
    assert len({canonical(value) for value in first}) == len(first)


@pytest.mark.parametrize(
    ("domain", "grid"),
    [
        (Real(min=0.1, max=0.5, step=0.1), (0.1, 0.2, 0.3, 0.4, 0.5)),
        (Real(min=1e-4, max=1e-1, log=True, count=4), (1e-4, 1e-3, 1e-2, 1e-1)),
        (Real(min=-1.0, max=1.0, count=3), (-1.0, 0.0, 1.0)),
        (Real(min=0.0, max=1.0), None),
        (Real(min=3.0, max=3.0), (3.0,)),
        (Real(min=0.0, max=1.0, count=1), (0.0,)),
        (Integer(min=1, max=1000, log=True, count=4), (1, 10, 100, 1000)),
        (Integer(min=1, max=3, count=50), (1, 2, 3)),
        (Integer(min=0, max=7, step=3), (0, 3, 6)),
    ],
)
def test_a_grid_has_the_ends_and_even_gaps(domain: Any, grid: tuple[float, ...] | None) -> None:
    found = domain.grid()
    assert (None if found is None else tuple(found)) == grid


@pytest.mark.parametrize(
    ("domain", "stranger"),
    [
        (Constant(value=1), 1.0),
        (Choice(values=(1, 2)), True),
        (Choice(values=(1, 2)), 1.0),
        (Real(min=0.0, max=1.0), True),
        (Real(min=0.0, max=1.0), "0.5"),
        (Real(min=0.0, max=1.0), 1.0000001),
        (Real(min=0.0, max=1.0), float("nan")),
        (Real(min=0.0, max=1.0, step=0.25), 0.3),
        (Integer(min=0, max=10, step=5), 7),
        (Integer(min=0, max=10), 5.0),
        (Integer(min=0, max=10), False),
        (Integer(min=0, max=10), 11),
    ],
)
def test_a_value_of_another_type_or_off_its_step_is_not_contained(domain: Any, stranger: Any) -> None:
    assert not domain.contains(stranger)


def test_log_draws_are_even_over_the_decades() -> None:
    rng = random.Random(1)
    lr = Real(min=1e-4, max=1.0, log=True)
    drawn = [lr.draw(rng) for _ in range(4000)]
    decades = [sum(low <= value < 10 * low for value in drawn) for low in (1e-4, 1e-3, 1e-2, 1e-1)]
    assert all(850 < count < 1150 for count in decades)


def test_the_ends_of_a_log_integer_are_drawn_as_often_as_their_neighbours() -> None:
    rng = random.Random(2)
    drawn = [Integer(min=1, max=4, log=True).draw(rng) for _ in range(500)]
    assert set(drawn) == {1, 2, 3, 4}
    assert 0.42 < drawn.count(1) / len(drawn) < 0.58  # ln(1.5 / 0.5) / ln(4.5 / 0.5) is a half


def test_probabilities_are_obeyed() -> None:
    rng = random.Random(3)
    rare = Choice(values=("often", "rarely"), probabilities=(0.9, 0.1))
    assert 50 < sum(rare.draw(rng) == "rarely" for _ in range(1000)) < 150


@pytest.mark.parametrize(
    ("domain", "off", "near"),
    [
        (Integer(min=0, max=10, step=4), 100, 8),
        (Integer(min=0, max=10, step=4), 5.9, 4),
        (Real(min=0.0, max=1.0), 1.0 + 1e-16, 1.0),
        (Real(min=0.0, max=1.0, step=0.3), 5.0, 0.9),
        (Real(min=0.1, max=1.0, step=0.1), 0.30000000000000004, 0.3),
    ],
)
def test_clip_gives_the_nearest_allowed_value(domain: Integer | Real, off: float, near: float) -> None:
    assert domain.clip(off) == near


SPACE = Space(
    domains={
        "optimizer.name": Choice(values=("sgd", "adam")),
        "layers": Integer(min=1, max=3),
        "augment": Constant(value=True),
    }
)


def test_sizes_multiply_and_infinity_wins() -> None:
    infinite = Space(domains={**SPACE.domains, "lr": Real(min=0.1, max=1.0)})
    countable = Space(domains={**SPACE.domains, "lr": Real(min=0.1, max=1.0, count=5)})
    assert (SPACE.size, SPACE.grid_size) == (6, 6)
    assert (infinite.size, infinite.grid_size) == (None, None)
    assert (countable.size, countable.grid_size) == (None, 30)
    assert (Space().size, list(Space().points())) == (1, [{}])


def test_grid_points_and_points_are_the_same_in_the_same_order() -> None:
    grid = [SPACE.on_grid.point_at(index) for index in range(6)]
    assert grid == list(SPACE.points())
    assert [(point or {})["layers"] for point in grid] == [1, 2, 3, 1, 2, 3]
    assert list(grid[0] or ()) == list(SPACE.domains)


@pytest.mark.parametrize("index", [-1, 6])
def test_a_grid_point_outside_the_grid_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"point {index} of 6"):
        SPACE.on_grid.point_at(index)


def test_a_huge_grid_is_counted_and_indexed_without_being_held_in_memory() -> None:
    space = Space(domains={name: Integer(min=0, max=2**53) for name in "abc"})
    assert space.grid_size == (2**53 + 1) ** 3
    assert space.on_grid.point_at((2**53 + 1) ** 3 - 1) == {"a": 2**53, "b": 2**53, "c": 2**53}


def test_an_infinite_space_is_not_enumerated() -> None:
    with pytest.raises(ValueError, match="infinite"):
        next(Space(domains={"lr": Real(min=0.1, max=1.0)}).points())


def test_a_space_contains_points_with_exactly_its_names() -> None:
    point = SPACE.draw(random.Random(0))
    assert SPACE.contains(point)
    assert not SPACE.contains({**point, "extra": 1})
    assert not SPACE.contains({name: value for name, value in point.items() if name != "layers"})
    assert not SPACE.contains({**point, "augment": 1})


def test_a_draw_depends_on_the_generator_alone() -> None:
    assert SPACE.draw(random.Random(7)) == SPACE.draw(random.Random(7))


def test_the_key_ignores_the_order_of_names_and_tells_types_apart() -> None:
    assert SPACE.key({"a": 1, "b": 2}) == SPACE.key({"b": 2, "a": 1})
    assert len({SPACE.key({"a": value}) for value in (1, 1.0, True, "1", None)}) == 5


def test_a_config_nests_and_shares_nothing_with_its_point() -> None:
    point = {"optimizer.lr": 0.1, "optimizer.betas": [0.9, 0.99], "seed": 3}
    config = to_config(point)
    config["optimizer"]["betas"].append(1.0)
    assert config == {"optimizer": {"lr": 0.1, "betas": [0.9, 0.99, 1.0]}, "seed": 3}
    assert point["optimizer.betas"] == [0.9, 0.99]
