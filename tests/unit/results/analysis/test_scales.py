"""Positions of values between the ends of the searched range."""

from __future__ import annotations

import pytest

from hpsearch.results.analysis.scales import scale_of
from hpsearch.space.distributions import Normal, Shaped, Uniform
from hpsearch.space.domains import Choice, Constant, Integer, Real


def test_a_logarithmic_range_is_halved_at_its_geometric_mean():
    scale = scale_of("lr", Real(min=1e-4, max=1.0, log=True), [])
    assert [scale.share(value) for value in (1e-4, 1e-2, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert scale.position(-1.0) is None


def test_a_list_of_numbers_is_ordered_and_one_of_texts_is_not():
    numbers = scale_of("width", Choice(values=(64, 16, 32)), [])
    words = scale_of("kind", Choice(values=("b", "a", None, [1])), [])
    assert (numbers.values, numbers.has_edges) == ((16, 32, 64), True)
    assert (words.values, words.has_edges) == (("b", "a", None, [1]), False)
    assert [words.position(value) for value in ("a", [1], "c")] == [1.0, 3.0, None]


def test_true_is_not_one():
    scale = scale_of("flag", Choice(values=(True, False)), [])
    assert scale.position(True) == 0.0
    assert scale.position(1) is None


def test_few_whole_numbers_are_a_list_and_many_a_range():
    assert scale_of("depth", Integer(min=1, max=4), []).values == (1, 2, 3, 4)
    assert scale_of("depth", Integer(min=1, max=400), []).values is None


def test_a_normal_distribution_spans_what_was_drawn_and_has_no_edges():
    scale = scale_of("x", Shaped(distribution=Normal(mu=0, sigma=1)), [-1.5, 2.0])
    assert (scale.low, scale.high, scale.has_edges) == (-1.5, 2.0, False)
    assert scale_of("x", Shaped(distribution=Uniform(min=1, max=9), q=2), [3]).has_edges


@pytest.mark.parametrize("domain", [None, Constant(value=3), Real(min=2.0, max=2.0), Real(min=2.0, max=2.0, log=True)])
@pytest.mark.parametrize("seen", [[], [2.0], ["a", 2.0], [[1], {"b": None}]])
def test_every_value_of_a_point_has_a_position(domain, seen):
    scale = scale_of("x", domain, seen)
    assert all(0 <= (scale.share(value) or 0.0) <= 1 for value in seen)
