"""YAML in: the core schema of 1.2, a line for every mistake, and bounds that hostile text does not get past."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpsearch.errors import Problem
from hpsearch.spec.file import MAX_BYTES
from hpsearch.spec.yaml_reader import LocatedValue, Location, read_yaml
from tests.support.calls import calls_of


def read(text: str) -> tuple[LocatedValue | None, list[str]]:
    problems: list[Problem] = []
    found = read_yaml(text, file="f", problems=problems)
    return found, [str(problem) for problem in problems]


def value_of(text: str) -> Any:
    found, problems = read(text)
    assert found is not None
    assert problems == []
    return found.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+12", 12),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1e999", math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01T10:00:00Z", "2020-01-01T10:00:00Z"),
        ("tRue", "tRue"),
        ("'1'", "1"),
        ('"null"', "null"),
        ("|\n  1\n", "1\n"),
        ("[1, [a], {b: 2}]", [1, ["a"], {"b": 2}]),
    ],
)
def test_a_value_is_read_by_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    found = value_of(f"x: {text}")["x"]
    assert (type(found), found) == (type(value), value)


def test_nan_is_a_number() -> None:
    assert math.isnan(value_of("x: .nan")["x"])


def test_a_byte_order_mark_a_directive_and_comments_are_no_content() -> None:
    assert value_of("%YAML 1.2\n---\n# c\na: 1 # d\n...\n") == {"a": 1}


TEXT = """\
a: 1
b:
  c:
    - x
    -
      d: 2
  "e f": {g: 3,
    h: 4}
i: &i {j: 5}
k: *i
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ((), 1),
        (("a",), 1),
        (("b",), 2),
        (("b", "c"), 3),
        (("b", "c", 0), 4),
        (("b", "c", 1), 6),
        (("b", "c", 1, "d"), 6),
        (("b", "e f"), 7),
        (("b", "e f", "g"), 7),
        (("b", "e f", "h"), 8),
        (("k",), 10),
        (("k", "j"), 9),
        (("b", "missing", "deep"), 2),
        (("b", "c", 7), 3),
    ],
)
def test_a_place_is_the_line_of_the_key_or_of_the_nearest_one_around_it(
    where: tuple[str | int, ...], line: int
) -> None:
    found, _ = read(TEXT)
    assert found is not None
    assert found.location_of(where) == Location(file="f", line=line)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f:3: a: the key is there twice, here and in line 1. Keep one."]),
        ("a: {b: 1,\n b: 2}", ["f:2: a.b: the key is there twice, here and in line 1. Keep one."]),
        ("a: !!python/object/apply:os.system [x]", [
            "f:1: a: expected a value without a tag, got !!python/object/apply:os.system. Remove it;"
            " for text, use quotes."
        ]),
        ("a: !foo\n  b: ! 1", [
            "f:1: a: expected a value without a tag, got !foo. Remove it; for text, use quotes.",
            "f:2: a.b: expected a value without a tag, got !. Remove it; for text, use quotes.",
        ]),
        ("a: !!float x", ["f:1: a: expected a number after !!float, got x. Remove the tag."]),
        ("a: !!float [1]", ["f:1: a: expected a value without a tag, got !!float. Remove it; for text, use quotes."]),
        ("a: !!str 5", ["f:1: a: expected a value without a tag, got !!str. Remove it; for text, use quotes."]),
        ("1: a\ntrue: b", [
            "f:1: expected text as a key, got 1. Put it in quotes.",
            "f:2: expected text as a key, got true. Put it in quotes.",
        ]),
        (": a", ["f:1: expected text as a key, got nothing. Put it in quotes."]),
        (
            "a: {{b}}",
            ["f:1: a: expected text as a key, got a list or map. Put text that begins with { or [ in quotes."],
        ),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  d: 2", [
            "f:3: c: '<<' is not part of YAML 1.2. Write the keys out, or use an alias for the whole map."
        ]),
        ("a: *b", ["f:1: a: unknown alias '*b'. Write '&b' before the value that it repeats."]),
        ("a: &a [*a]", ["f:1: a.0: unknown alias '*a'. Write '&a' before the value that it repeats."]),
        ("", ["f:1: expected a map with metric and parameters, got nothing. Write both."]),
        ("# only\n# comments\n", ["f:3: expected a map with metric and parameters, got nothing. Write both."]),
        ("a: 1\n---\nb: 2", ["f:2: expected one document, got a second one. Remove '---', or write two files."]),
        ("%YAML 1.1\n---\na: no", ["f:2: expected YAML 1.2, in which no and 1_000 are text. Remove the line %YAML."]),
        ("a: 1\nb: [1, 2\n", ["f:2: this is not YAML: expected ',' or ']', but got '<stream end>'."]),
        ("a: 1\n\tb: 2", ["f:2: this is not YAML: found character '\\t' that cannot start any token."]),
        ("a: b: c", ["f:1: this is not YAML: mapping values are not allowed here."]),
        ("a: 1\nb: \x00", ["f:2: this is not YAML: character 0x00 is not allowed."]),
        ('a: "\\UFFFFFFFF"', ["f: this is not YAML: an escape or the %YAML line holds an impossible number."]),
        (
            "a: " + "9" * 101,
            ["f:1: a: expected a number of at most 100 characters, got 101. Shorten it; for text, use quotes."],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line(text: str, sentences: list[str]) -> None:
    assert read(text)[1] == sentences


def test_reading_continues_after_a_mistake_that_is_not_in_the_syntax() -> None:
    found, problems = read("a: 1\na: 2\n3: 4\nb: !t 5\n")
    assert found is not None
    assert (found.value, len(problems)) == ({"a": 1, "b": 5}, 3)


def test_an_alias_is_the_same_value() -> None:
    assert value_of("a: &a {x: [1]}\nb: *a\nc: [*a]") == {"a": {"x": [1]}, "b": {"x": [1]}, "c": [{"x": [1]}]}


def test_an_anchor_given_twice_means_the_latest() -> None:
    assert value_of("a: &x 1\nb: &x 2\nc: *x")["c"] == 2


def test_the_location_is_the_argument_if_there_are_no_lines() -> None:
    problems: list[Problem] = []
    read_yaml("[1", file="--set a=[1", problems=problems, where=("a",), numbered=False)
    assert str(problems[0]) == "--set a=[1: a: this is not YAML: expected ',' or ']', but got '<stream end>'."


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_depth_is_bounded_for_what_is_written_and_for_what_aliases_make_of_it() -> None:
    assert value_of(nested(32)) is not None
    assert read(nested(33)) == (None, ["f:1: 0: expected at most 32 levels of nesting, got more. Write fewer levels."])
    chain = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    assert read(chain)[1] == ["f:31: a30: expected at most 32 levels of nesting, got more. Write fewer levels."]


def test_the_number_of_values_is_bounded_for_what_is_written_and_for_what_aliases_make_of_it() -> None:
    assert len(value_of("- 1\n" * 9_999)) == 9_999
    too_many = "expected at most 10000 values, aliases expanded, got more. Write a shorter spec."
    assert read("- 1\n" * 10_000) == (None, [f"f:10000: {too_many}"])
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{key}: &{key} [{','.join([f'*{before}'] * 10)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert read(bomb) == (None, [f"f:4: {too_many}"])


HOSTILE = {
    "many short words": "a: " + "x y " * (MAX_BYTES // 4),
    "open lists": "[" * MAX_BYTES,
    "a long tag": "!" + "a" * (MAX_BYTES - 5) + " x",
    "a key many times": "a: 1\n" * (MAX_BYTES // 5),
    "anchors": "".join(f"- &a{i} x\n" for i in range(MAX_BYTES // 12)),
}
"""The slowest of some thirty kinds that were tried."""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_largest_hostile_file_is_a_second_of_work(text: str) -> None:
    assert calls_of(lambda: read(text[:MAX_BYTES])) < 8_000_000, (
        "half of that; what grows by squares has a hundred times"
    )


def test_a_number_behind_float_is_one_with_a_fraction() -> None:
    problems: list[Problem] = []
    found = read_yaml("{a: !!float 1e-5, b: !!float 3}", file="f", problems=problems)
    assert found is not None and problems == []
    assert [repr(value) for value in found.value.values()] == ["1e-05", "3.0"]
