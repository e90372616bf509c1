"""What the base class alone decides: redraws, and the random point at their end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hpsearch.search.random_search import RandomSearcher
from hpsearch.search.searcher import MAX_REDRAWS, Outcome, Searcher
from hpsearch.space.space import Choice, Integer, Point, Real, Space


class Stubborn(Searcher):
    """Proposes one point, whatever the outcomes."""

    def __init__(self, *, space: Space, seed: int, point: Point) -> None:
        super().__init__(space=space, seed=seed)
        self.point = point
        self.num_proposals = 0

    def _propose(self, number: int, draw: int) -> Point:
        self.num_proposals += 1
        return self.point

    def _begin(self, number: int, point: Point) -> None:
        pass

    def _learn(self, outcome: Outcome) -> None:
        pass

    def _forget(self, number: int) -> None:
        pass


def test_a_method_that_repeats_itself_is_asked_a_few_times_for_a_trial() -> None:
    space = Space(domains={"a": Integer(min=0, max=10**9)})
    stubborn = Stubborn(space=space, seed=0, point={"a": 5})
    assert stubborn.ask(1) == {"a": 5}
    assert stubborn.num_proposals == 1
    second = stubborn.ask(2)
    assert second != {"a": 5}
    assert second is not None and space.contains(second)
    assert stubborn.num_proposals == 1 + MAX_REDRAWS


def test_a_point_that_a_method_repeats_in_an_infinite_space_is_not_tried_twice() -> None:
    stubborn = Stubborn(space=Space(domains={"a": Real(min=0.0, max=1.0)}), seed=0, point={"a": 1.0})
    assert stubborn.ask(1) == {"a": 1.0}
    assert stubborn.ask(2) != {"a": 1.0}


def test_a_point_of_a_prior_that_a_method_proposes_in_an_infinite_space_is_not_tried() -> None:
    stubborn = Stubborn(space=Space(domains={"a": Real(min=0.0, max=1.0)}), seed=0, point={"a": 1.0})
    stubborn.learn_prior([Outcome(number=0, point={"a": 1.0}, state="done", losses={1: 0.5})])
    first, second = stubborn.ask(1), stubborn.ask(2)
    assert first is not None and second is not None and {first["a"], second["a"]}.isdisjoint({1.0})
    assert not stubborn.is_taken({"a": 1.0})


def test_the_last_free_points_are_drawn_evenly() -> None:
    """Two of 40 points are free; over 400 seeds each is drawn 200 times, 4 standard deviations are 40."""
    space = Space(domains={"a": Integer(min=0, max=39)})
    drawn: Counter[Any] = Counter()
    for seed in range(400):
        searcher = RandomSearcher(space=space, seed=seed)
        for value in range(1, 39):
            searcher.adopt(value, {"a": value})
        drawn[(searcher._one_of_all(searcher.rng(40), searcher.is_taken) or {})["a"]] += 1
    assert abs(drawn[0] - 200) < 40
    assert drawn[0] + drawn[39] == 400


def test_a_value_that_is_hardly_ever_drawn_is_found_by_enumeration() -> None:
    space = Space(domains={"a": Choice(values=("often", "never"), probabilities=(1 - 1e-12, 1e-12))})
    searcher = RandomSearcher(space=space, seed=0)
    assert [searcher.ask(number) for number in (1, 2, 3)] == [{"a": "often"}, {"a": "never"}, None]


def test_a_point_that_a_user_spells_otherwise_is_the_same_point() -> None:
    space = Space(domains={"a": Real(min=0.0, max=0.3, step=0.1), "b": Real(min=1.0, max=1.0)})
    searcher = RandomSearcher(space=space, seed=0)
    searcher.adopt(1, {"a": 0.30000000000000004 - 1e-16, "b": 1})
    searcher.adopt(2, {"a": 0, "b": 1})
    assert sorted(point["a"] for point in map(searcher.ask, (3, 4)) if point) == [0.1, 0.2]
    assert searcher.ask(5) is None
