"""Plain values as people read them."""

from __future__ import annotations

import pytest

from hpsearch.plain import value_text

ALIKE = (
    1,
    1.0,
    "1",
    "1.0",
    None,
    "null",
    "None",
    True,
    "true",
    "True",
    False,
    "-",
    "",
    [1],
    "[1]",
    {"a": 1},
    '{"a":1}',
)
"""Values that are easily taken for one another."""


def test_values_of_different_types_look_different():
    texts = [value_text(value) for value in ALIKE]
    assert len(set(texts)) == len(ALIKE)
    assert texts[:6] == ["1", "1.0", '"1"', '"1.0"', "null", '"null"']


@pytest.mark.parametrize("value", [1.0, 1e-5, 1e22, -3.0, 123456.0, 2.0000001])
@pytest.mark.parametrize("digits", [None, 3, 5])
def test_a_float_never_looks_like_a_whole_number(value, digits):
    assert not value_text(value, digits=digits).lstrip("-").isdecimal()


@pytest.mark.parametrize("text", ["sgd", "relu, then conv", "1e-4 and less", "no", "a b", "x-1", "v1.0", "(1, 2)"])
def test_an_ordinary_text_has_no_quotes(text):
    assert value_text(text) == text


@pytest.mark.parametrize("text", [" 1", "1e-4", ".5", "nan", "inf", "1_000", '"a"', "NULL", "a "])
def test_a_text_that_reads_as_another_value_is_in_quotes(text):
    assert value_text(text) not in (text, text.strip())


def test_a_whole_number_is_in_full_and_a_float_has_as_many_digits_as_asked_for():
    assert [value_text(value, digits=3) for value in (1234567, 0.000123456, 1234567.0)] == [
        "1234567",
        "0.000123",
        "1.23e+06",
    ]
    assert value_text(0.1 + 0.2) == "0.30000000000000004"
