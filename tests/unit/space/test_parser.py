"""The `parameters` tree: what it means, and one sentence for each way to get it wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpsearch.errors import Problem
from hpsearch.space.distributions import Uniform
from hpsearch.space.parser import parse_space
from hpsearch.space.space import Choice, Constant, Domain, Integer, Real, Shaped
from hpsearch.text import shown

TOO_LONG = 10**5000
"""Python refuses to spell this out."""


def problems_of(tree: Any) -> list[str]:
    found: list[Problem] = []
    parse_space(tree, found)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("tree", "domain"),
    [
        (0.1, Constant(value=0.1)),
        (None, Constant(value=None)),
        ("no", Constant(value="no")),
        ([1, [2]], Constant(value=[1, [2]])),
        ({"value": {"a": 1}}, Constant(value={"a": 1})),
        ({"value": [{"min": 1, "max": 2}]}, Constant(value=[{"min": 1, "max": 2}])),
        (
            [{"kernel": 3, "min": 1, "max": 2}, {"clip": {"value": 1.0}}],
            Constant(value=[{"kernel": 3, "min": 1, "max": 2}, {"clip": {"value": 1.0}}]),
        ),
        ([{"min": 1}, {"mu": 0.0, "sigma": 1.0}, {}], Constant(value=[{"min": 1}, {"mu": 0.0, "sigma": 1.0}, {}])),
        ({"values": [32, 64]}, Choice(values=(32, 64))),
        ({"values": [1, True, 1.0, None, "1", [1], {"a": 1}]}, Choice(values=(1, True, 1.0, None, "1", [1], {"a": 1}))),
        ({"values": ["a", "b"], "probabilities": [0.25, 0.75]}, Choice(values=("a", "b"), probabilities=(0.25, 0.75))),
        ({"min": 1, "max": 8}, Integer(min=1, max=8)),
        ({"min": -8, "max": -1}, Integer(min=-8, max=-1)),
        ({"min": 16, "max": 128, "step": 16}, Integer(min=16, max=128, step=16)),
        ({"min": 1, "max": 1024, "log": True, "count": 5}, Integer(min=1, max=1024, log=True, count=5)),
        ({"min": 1, "max": 8.0}, Real(min=1.0, max=8.0)),
        ({"min": 0, "max": 1, "step": 0.25}, Real(min=0.0, max=1.0, step=0.25)),
        ({"min": -1.5, "max": -0.5}, Real(min=-1.5, max=-0.5)),
        ({"min": 1e-4, "max": 1e-1, "log": True}, Real(min=1e-4, max=1e-1, log=True)),
        ({"min": 0.15, "max": 1, "q": 0.1}, Shaped(distribution=Uniform(min=0.2, max=1.0), q=0.1)),
        ({"min": 0.15, "max": 1, "q": 0.1, "clip": False}, Shaped(distribution=Uniform(min=0.15, max=1.0), q=0.1)),
        ({"min": 0.3, "max": 64, "log": True, "q": 5}, Shaped(distribution=Uniform(min=5.0, max=60.0, log=True), q=5)),
        ({"min": -(2**52), "max": 2**52}, Integer(min=-(2**52), max=2**52)),
        ({"min": 0, "max": 2**52, "step": 1}, Integer(min=0, max=2**52)),
    ],
)
def test_a_domain_is_read(tree: Any, domain: Domain) -> None:
    found: list[Problem] = []
    space = parse_space({"x": tree}, found)
    assert (dict(space.domains), found) == ({"x": domain}, [])


def test_maps_nest_into_dotted_names_in_the_order_of_the_spec() -> None:
    space = parse_space({"b": 1, "optimizer": {"name": {"values": ["sgd"]}, "deep": {"lr": 0.1}}, "a": 2}, [])
    assert list(space.domains) == ["b", "optimizer.name", "optimizer.deep.lr", "a"]


def test_a_top_level_parameter_may_have_the_name_of_a_key_of_ranges() -> None:
    assert dict(parse_space({"step": 3, "log": True}, []).domains) == {
        "step": Constant(value=3),
        "log": Constant(value=True),
    }


MISTAKES: list[tuple[Any, list[str]]] = [
    ({"min": "small", "max": 1}, ["x.min: expected a number, got the text 'small'. Write for example 1e-4."]),
    ({"min": None, "max": True}, [
        "x.min: expected a number, got nothing. Write for example 1e-4.",
        "x.max: expected a number, got true. Write for example 1e-4.",
    ]),
    ({"min": math.nan, "max": math.inf}, [
        "x.min: expected a number, got nan. Write for example 1e-4.",
        "x.max: expected a number, got inf. Write for example 1e-4.",
    ]),
    ({"min": 0, "max": 2**52 + 1}, ["x.max: expected a whole number of at most 2**52, got 4503599627370497."]),
    ({"min": 0, "max": TOO_LONG}, [
        "x.max: expected a whole number of at most 2**52, got a number of thousands of digits."
    ]),
    ({"min": 1}, ["x: 'max' is missing. Write both min and max."]),
    ({"max": 1}, ["x: 'min' is missing. Write both min and max."]),
    ({"min": 2, "max": 1}, ["x: expected min <= max, got min 2 and max 1. Swap them."]),
    ({"min": -1e308, "max": 1e308}, ["x: min -1e+308 and max 1e+308 are too far apart. Write a smaller range."]),
    ({"min": 0, "max": 1.0, "log": True}, [
        "x.min: expected a number above 0, as log needs, got 0. Write for example 1e-6, or remove log."
    ]),
    ({"min": 1, "max": 9, "log": "yes"}, ["x.log: expected true or false, got the text 'yes'."]),
    ({"min": 1, "max": 9, "log": True, "step": 2}, ["x.step: log and step can't be combined. Remove one of them."]),
    ({"min": 1, "max": 9, "step": 0}, ["x.step: expected a number above 0 and at most max - min = 8, got 0."]),
    ({"min": 1, "max": 9, "step": 9}, ["x.step: expected a number above 0 and at most max - min = 8, got 9."]),
    ({"min": 0.0, "max": 1.0, "step": 1e-9}, [
        "x.step: step 1e-09 results in more than 1000000 values. Write a larger step, or remove it."
    ]),
    ({"min": 1, "max": 1, "q": 5e-324}, [
        "x.q: q 4.94066e-324 results in more than 1000000 values. Write a larger q, or remove it."
    ]),
    ({"min": 1, "max": 9, "count": 0}, ["x.count: expected a whole number from 1 to 100000, got 0."]),
    ({"min": 1, "max": 9, "count": True}, ["x.count: expected a whole number from 1 to 100000, got true."]),
    ({"min": 1, "max": 9, "probabilities": [1]}, [
        "x.probabilities: 'probabilities' has no effect with 'min'. Remove it."
    ]),
    ({"min": 0, "max": 1, "q": 0.25, "count": 3}, [
        "x.count: 'count' has no effect with 'q': all its multiples between the bounds are searched. Remove it."
    ]),
    ({"min": 0.12, "max": 0.18, "q": 0.1}, [
        "x.q: no multiple of q 0.1 is between min 0.12 and max 0.18. Write a smaller q."
    ]),
    ({"min": 0, "max": 1, "q": 0.25, "clip": "no"}, ["x.clip: expected true or false, got the text 'no'."]),
    ({"min": 0, "max": 1, "clip": False}, ["x.clip: 'clip' has no effect with 'min'. Remove it."]),
    ({"min": 1, "max": 9, "stepp": 2}, [
        "x.stepp: unknown key 'stepp'. Did you mean 'step'?"
        " Known: values, value, min, max, log, step, count, probabilities, when, expr."
    ]),
    ({"values": []}, ["x.values: expected a list of at least one value, got the list []. Write for example [32, 64]."]),
    ({"values": "ab"}, [
        "x.values: expected a list of at least one value, got the text 'ab'. Write for example [32, 64]."
    ]),
    ({"values": [1, 2, 1]}, ["x.values.2: the list has 1 twice. Remove one."]),
    ({"values": [math.nan]}, [
        "x.values.0: expected text, a finite number, true, false, null or a list, got nan."
    ]),
    ({"values": [1, 2], "probabilities": [0.5, 0.6]}, [
        "x.probabilities: expected 2 positive numbers that sum to 1, got the list [0.5, 0.6]."
    ]),
    ({"values": [1, 2], "probabilities": [1, 0]}, [
        "x.probabilities: expected 2 positive numbers that sum to 1, got the list [1, 0]."
    ]),
    ({"values": [1, 2], "probabilities": [TOO_LONG, 1]}, [
        "x.probabilities: expected 2 positive numbers that sum to 1, got a number of thousands of digits."
    ]),
    ({"values": [1], "min": 0}, ["x: values and min and max can't be combined. Keep one of them."]),
    ({"values": [1], "value": 0}, ["x: values and value can't be combined. Keep one of them."]),
    ({"value": 1, "log": True}, ["x.log: 'log' has no effect with 'value'. Remove it."]),
    ({"value": math.inf}, ["x.value: expected text, a finite number, true, false, null or a list, got inf."]),
    ({"count": 3, "width": 5}, [
        "x.count: 'count' is a key of ranges, and this map has no values, min or max."
        " Write for example {min: 1e-4, max: 1e-1, log: true}; for a parameter of that name, choose another name."
    ]),
    ({}, ["x: expected a parameter, got an empty map. Write a value, values: [...], or min and max."]),
    ({"vales": [1, 2]}, ["x.vales: unknown key 'vales'. Did you mean 'values'?"]),
    ({1: 2}, ["x.1: expected text as a parameter's name, got 1. Put it in quotes."]),
    ({"": 2}, ["x.: expected text as a parameter's name, got the text ''. Put it in quotes."]),
    ({"a.b": 2}, [
        "x.a.b: expected a name without '.', '=' and control characters, got 'a.b'. Nest maps for dots."
    ]),
    ({"a=b": 2}, [
        "x.a=b: expected a name without '.', '=' and control characters, got 'a=b'. Nest maps for dots."
    ]),
    ({"a\nb": 2}, [
        "x.a\nb: expected a name without '.', '=' and control characters, got 'a\\nb'. Nest maps for dots."
    ]),
    ({"a" * 201: 2}, [f"x.{'a' * 201}: expected a name of at most 200 characters, got 201. Shorten it."]),
    (2**63, [
        "x: expected a whole number of at most 64 bits, got 9223372036854775808. Write it as text, in quotes."
    ]),
    (TOO_LONG, [
        "x: expected a whole number of at most 64 bits, got a number of thousands of digits."
        " Write it as text, in quotes."
    ]),
    *(
        (tree, [
            f"x{place}: a list is a constant, so the map {element} in it would not be searched. Write x: {{first: ...,"
            " second: ...} or an expr; for a list that contains this map, write x: {value: [...]}."
        ])
        for tree, place, element in [
            ([{"min": 16, "max": 64}, {"values": [8, 16]}], ".0", {"min": 16, "max": 64}),
            ([0.999, {"min": 0.8, "max": 0.95, "log": True}], ".1", {"min": 0.8, "max": 0.95, "log": True}),
            ([{"value": 3}, 4], ".0", {"value": 3}),
            ([[1, {"values": [8, 16]}]], ".0.1", {"values": [8, 16]}),
            ([{"distribution": "q_normal", "mu": 3}], ".0", {"distribution": "q_normal", "mu": 3}),
            ([{"expr": "2 * depth"}], ".0", {"expr": "2 * depth"}),
            ([{"width": {"min": 16, "max": 64}, "act": "relu"}], ".0.width", {"min": 16, "max": 64}),
        ]
    ),
    ([{"k": math.nan}], ["x.0.k: expected text, a finite number, true, false, null or a list, got nan."]),
    ([{3: 1}], ["x.0.3: a key must be text of at most 200 characters, got 3. Put it in quotes."]),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "sentences"), MISTAKES, ids=[str(sentences)[:60] for _, sentences in MISTAKES])
def test_a_mistake_is_one_sentence_at_its_place(tree: Any, sentences: list[str]) -> None:
    assert problems_of({"x": tree}) == [f"parameters.{sentence}" for sentence in sentences]


@pytest.mark.parametrize("tree", [None, 3, [], "lr"])
def test_parameters_must_be_a_map(tree: Any) -> None:
    assert problems_of(tree) == [
        f"parameters: expected a map of parameters, got {shown(tree)}."
        " Write for example lr: {min: 1e-4, max: 1e-1, log: true}."
    ]


def test_all_mistakes_are_found_and_the_good_parameters_kept() -> None:
    found: list[Problem] = []
    space = parse_space({"a": {"min": 2, "max": 1}, "b": 3, "c": {"d": {"values": []}}}, found)
    assert [problem.where for problem in found] == [("parameters", "a"), ("parameters", "c", "d", "values")]
    assert list(space.domains) == ["b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        ("a", "the text 'a'"),
        ([1], "the list [1]"),
        ({"a": 1}, "the map {'a': 1}"),
        (1.5, "1.5"),
        ("x" * 100, f"the text '{'x' * 56}..."),
        ([TOO_LONG], "a number of thousands of digits"),
    ],
)
def test_a_value_is_shown_short_and_with_its_kind(value: Any, text: str) -> None:
    assert shown(value) == text
