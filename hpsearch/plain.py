"""Plain values: those that specs and the ledger can hold, how they are checked, and their texts.

`canonical` is the text by which values are compared, `value_text` the one that people read in a table or a chart. How a
message shows a value is in `text.py`; what is wrong with a spec is in `errors.Problem`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from hpsearch.errors import Problem
from hpsearch.paths import LEDGER_NAME
from hpsearch.text import shown

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(~[1-9][0-9]{0,5})?")
"""Names of sweeps: up to 64 letters, digits, dots, hyphens and underscores; the first is a letter or a digit.

A tilde and a number may follow: hpsearch renames a sweep so where a new one gets its name. Messages don't offer it.
"""
MAX_KEY_LENGTH = 200
"""Characters of a key in a spec, such as the name of a parameter."""
MAX_DEPTH = 32
"""Levels of nesting of a spec, the top level included."""

Key = str | int
"""A key of a map or a position in a list."""
KeyPath = tuple[Key, ...]
"""Keys and positions that lead from the top of a spec to a value; empty for the whole spec."""


def wrong_name(name: str) -> str | None:
    """What is wrong with a text as the name of a sweep, in a sentence; None if nothing is.

    Example:
        >>> wrong_name("ledger.db")
        "'ledger.db' is the name of the ledger's own file. Choose another."
    """
    if name.startswith(LEDGER_NAME):
        return f"'{name[:60]}' is the name of the ledger's own file. Choose another."
    if NAME_PATTERN.fullmatch(name):
        return None
    expected = "letters, digits, '.', '_' or '-', a letter or digit first, at most 64 in all"
    return f"expected {expected}, got {shown(name)}."


def check_plain(value: object, where: KeyPath, problems: list[Problem]) -> bool:
    """Whether the ledger can store `value`: text, a finite number, true, false, null, or lists and maps of these.

    Args:
        value: At most MAX_DEPTH levels deep.
        where: Keys that lead from the top of the spec to `value`.
        problems: One entry is added for each mistake.
    """
    before = len(problems)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or len(key) > MAX_KEY_LENGTH:
                wrong = (
                    f"a key must be text of at most {MAX_KEY_LENGTH} characters, got {shown(key)}. Put it in quotes."
                )
                problems.append(Problem(where=(*where, str(key)[:60]), message=wrong))
            check_plain(inner, (*where, key), problems)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            check_plain(inner, (*where, position), problems)
    elif (message := _wrong_scalar(value)) is not None:
        problems.append(Problem(where=where, message=message))
    return len(problems) == before


def _wrong_scalar(value: object) -> str | None:
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"expected a whole number of at most 64 bits, got {shown(value)}. Write it as text, in quotes."
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return None
    return f"expected text, a finite number, true, false, null or a list, got {shown(value)}."


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is an int or a float; True and False are not numbers.

    Example:
        >>> is_number(0.5), is_number(True), is_number("1")
        (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values in any order of keys, and different for True, 1 and 1.0.

    Example:
        >>> canonical({"b": 1, "a": 1.0})
        '{"a":1.0,"b":1}'
    """
    return _encode(value)


_WORDS_OF_OTHER_VALUES = frozenset(("", "-", "~", "null", "none", "true", "false"))
"""Texts, in lower case, that are in quotes: they would read as null, true, false or as a missing value."""


def value_text(value: Any, *, digits: int | None = None) -> str:
    """A parameter's value as people read it, so that values of different types look different: `1`, `1.0`, `"1"`.

    A text is in quotes only where it would read as another value without them. A float has a point or an exponent.

    Args:
        value: A value that `check_plain` accepts.
        digits: Significant digits of a float at most; None for all that tell it from other floats.

    Example:
        >>> [value_text(value) for value in (1, 1.0, "1", None, "null", True, "true", "sgd", [1, "a"])]
        ['1', '1.0', '"1"', 'null', '"null"', 'true', '"true"', 'sgd', '[1,"a"]']
        >>> value_text(0.000123456, digits=3), value_text(2.00001, digits=3)
        ('0.000123', '2.0')
    """
    if isinstance(value, str):
        return canonical(value) if _reads_as_another_value(value) else value
    if isinstance(value, float) and digits is not None:
        text = f"{value:.{digits}g}"
        return f"{text}.0" if text.lstrip("-").isdecimal() else text
    return canonical(value)


def _reads_as_another_value(text: str) -> bool:
    if text.lower() in _WORDS_OF_OTHER_VALUES or text != text.strip() or text.startswith(('"', "[", "{")):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
