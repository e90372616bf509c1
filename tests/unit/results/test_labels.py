"""Names and values as charts show them."""

from __future__ import annotations

import pytest

from hpsearch.results.labels import number, one_line, value_label


@pytest.mark.parametrize("most", [4, 11, 48])
def test_a_long_text_keeps_both_ends(most):
    text = one_line("a" * 5000 + "\nend", most=most)
    assert len(text) <= most
    assert text[0] == "a"


def test_control_characters_become_spaces():
    assert one_line("a\x1b[2J\nb\u202e") == "a [2J b "


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (3, "3"), (0.1 + 0.2, "0.3"), ([1, {"a": 2}], '[1,{"a":2}]'), ("sgd", "sgd")],
)
def test_values_are_short(value, text):
    assert value_label(value) == text


def test_numbers_and_durations_are_short():
    assert [number(value) for value in (None, 0.000123456, 2_000_000, float("inf"))] == [
        "-",
        "0.0001235",
        "2e+06",
        "inf",
    ]
