"""Writes plain values as YAML text for people: block style, with short lists and maps of scalars on one line.

The text reads back as equal values of the same types, also in tools that read YAML 1.1: the texts `no`, `1e-4` and
`2020-01-01` are quoted, and a float always has a point. Reading is in `yaml_reader.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_WIDTH = 100
"""Longest line for a whole list or map, in characters; longer ones become blocks."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*([: ][A-Za-z0-9_./+-]+)*")
_KEYWORDS_OF_YAML_1_1 = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """YAML text of `tree` with the keys in their order; ends with a line break.

    Args:
        tree: Maps with str keys, lists, tuples (which read back as lists), str, int, float, bool or None.

    Raises:
        TypeError: There is a value of another type, or a key that is not a str.

    Example:
        >>> print(dump_yaml({"name": "resnet", "parameters": {"lr": {"min": 1e-4, "max": 0.1}}}), end="")
        name: resnet
        parameters:
          lr: {min: 0.0001, max: 0.1}
    """
    return "".join(f"{line}\n" for line in _map_lines(tree)) or "{}\n"


def _map_lines(tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        line = f"{_text(key)}: {flow(value)}"
        if _fits(value, line):
            yield line
        else:
            yield f"{_text(key)}:"
            yield from (f"  {inner}" for inner in _block_lines(value))


def _list_lines(items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        line = f"- {flow(item)}"
        if _fits(item, line):
            yield line
        else:
            first, *rest = _block_lines(item)
            yield f"- {first}"
            yield from (f"  {inner}" for inner in rest)


def _block_lines(value: Any) -> Iterator[str]:
    return _map_lines(value) if isinstance(value, Mapping) else _list_lines(value)


def _fits(value: Any, line: str) -> bool:
    """Whether `value` is written on one line: a scalar, an empty collection, or a short collection of scalars."""
    parts = _parts(value)
    return not parts or (len(line) <= MAX_WIDTH and not any(_parts(part) for part in parts))


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return tuple(value.values())
    return value if isinstance(value, list | tuple) else ()


def flow(value: Any) -> str:
    """YAML text of a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    return _float(value) if isinstance(value, float) else _text(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa + ("" if "." in mantissa else ".0") + e + exponent


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, a number, true, false, null, a list or a map, got {value!r}")
    if _PLAIN.fullmatch(value) and value.lower() not in _KEYWORDS_OF_YAML_1_1:
        return value
    return "".join(char if char.isprintable() else _escaped(char) for char in json.dumps(value, ensure_ascii=False))


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
