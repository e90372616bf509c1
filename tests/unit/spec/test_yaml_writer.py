"""YAML out: readable, and read back equal and of the same types."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from hpsearch.errors import Problem
from hpsearch.spec.yaml_reader import read_yaml
from hpsearch.spec.yaml_writer import dump_yaml


def read(text: str) -> Any:
    problems: list[Problem] = []
    found = read_yaml(text, file="f", problems=problems)
    assert (problems, found is not None) == ([], True), text
    assert found is not None
    return found.value


def typed(value: Any) -> Any:
    """A value that is equal only to one of the same types, bit for bit."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


def test_short_collections_are_on_one_line_and_the_others_in_blocks() -> None:
    tree = {
        "name": "resnet",
        "trainable": "experiments.resnet:train",
        "parameters": {
            "lr": {"min": 1e-4, "max": 0.1, "log": True},
            "model": {"depth": {"values": [20, 32]}, "empty": {}, "none": []},
            "many": list(range(40)),
            "steps": [{"at": [1, 2], "by": 0.5}, [[1, 2], 3]],
        },
        "data": {"root": None},
    }
    lines = dump_yaml(tree).splitlines()
    assert lines[:8] == [
        "name: resnet",
        "trainable: experiments.resnet:train",
        "parameters:",
        "  lr: {min: 0.0001, max: 0.1, log: true}",
        "  model:",
        "    depth:",
        "      values: [20, 32]",
        "    empty: {}",
    ]
    assert lines[8:11] == ["    none: []", "  many:", "    - 0"]
    assert lines[-6:] == [
        "  steps:",
        "    - at: [1, 2]",
        "      by: 0.5",
        "    - - [1, 2]",
        "      - 3",
        "data: {root: null}",
    ]
    assert read(dump_yaml(tree)) == tree


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"),
        (1e-5, "1.0e-05"),
        (1e22, "1.0e+22"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (float("inf"), ".inf"),
        (1, "1"),
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ("no", '"no"'),
        ("Yes", '"Yes"'),
        ("null", '"null"'),
        ("1e-4", '"1e-4"'),
        ("2020-01-01", '"2020-01-01"'),
        ("1_000", '"1_000"'),
        ("~", '"~"'),
        ("a b", "a b"),
        ("path/to-it.yaml", "path/to-it.yaml"),
        ("m.n:f", "m.n:f"),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("- a", '"- a"'),
        (" a", '" a"'),
        ("é", '"é"'),
        ("\x1b[0m", '"\\u001b[0m"'),
        ("\U000e0001", '"\\U000e0001"'),
        ('"\\', '"\\"\\\\"'),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_a_scalar_is_written_so_that_it_stays_what_it_is(value: Any, text: str) -> None:
    assert dump_yaml({"x": value}) == f"x: {text}\n"
    assert typed(read(f"x: {text}\n")) == typed({"x": value})


def test_an_empty_map_is_yaml_too() -> None:
    assert dump_yaml({}) == "{}\n"


@pytest.mark.parametrize("tree", [{"a": object()}, {1: "a"}, {"a": {None: 1}}, {"a": b"x"}, {"a": {1, 2}}])
def test_what_yaml_here_does_not_hold_is_a_type_error(tree: Any) -> None:
    with pytest.raises(TypeError, match="got"):
        dump_yaml(tree)


WORDS = [
    "no",
    "yes",
    "on",
    "y",
    "null",
    "~",
    "1e-4",
    "2020-01-01",
    "1_000",
    "0x1f",
    ".inf",
    "-",
    "<<",
    "",
    "=",
    "true",
    "1:30",
    "a:",
    "?",
    "---",
    "...",
    "%YAML",
    "1.",
    "+1",
    ".5",
    "e5",
]
CHARACTERS = string.printable + "\x00\x07\x7f\x85\xa0\u2028\ufeff\ud7ff\ue000\uffff\U0001f600é²"


def random_text(rng: random.Random) -> str:
    return rng.choice(WORDS) if rng.random() < 0.4 else "".join(rng.choices(CHARACTERS, k=rng.randrange(8)))


def random_value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randrange(-(2**63), 2**63)
    if kind == 2:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
    if kind == 3:
        return rng.choice([0.0, -0.0, 1e16, 5e-324, 1e-5, 1.7976931348623157e308])
    if kind <= 5:
        return random_text(rng)
    if kind == 6:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    return {random_text(rng): random_value(rng, depth - 1) for _ in range(rng.randrange(5))}


def test_whatever_is_written_is_read_back_bit_for_bit() -> None:
    rng = random.Random(0)
    for _ in range(300):
        tree = {random_text(rng): random_value(rng, 3) for _ in range(4)}
        assert typed(read(dump_yaml(tree))) == typed(tree)
