"""Numbers, names and configurations as charts and the report show them: short, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.plain import is_number, value_text

MAX_TEXT = 48
"""Characters of a name or value in a chart at most; the middle of a longer one is left out."""


def number(value: float | None) -> str:
    """A number with at most four significant digits, a whole number below a million in full; `-` for None.

    Example:
        >>> number(0.000123456), number(1234567), number(64), number(None)
        ('0.0001235', '1.235e+06', '64', '-')
    """
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) and abs(value) < 1_000_000 else f"{value:.4g}"


def one_line(text: str, *, most: int = MAX_TEXT) -> str:
    """Text on one line, without control characters, its middle left out if it is long.

    Args:
        text: Any text.
        most: Characters of the result at most.

    Example:
        >>> one_line("a" * 20 + "end", most=11)
        'aaaaaa...nd'
    """
    line = "".join(character if character.isprintable() else " " for character in text[: 20 * most])
    if len(text) <= most:
        return line
    tail = (most - 3) // 3
    return f"{line[: most - 3 - tail]}...{line[-tail:]}" if tail else line[:most]


def value_label(value: Any, *, most: int = MAX_TEXT) -> str:
    """A parameter's value by `plain.value_text`, with at most four significant digits, in at most `most` characters."""
    text = value_text(value, digits=4)
    return number(value) if is_number(value) and len(text) > most else one_line(text, most=most)


def config_lines(config: Mapping[str, Any]) -> list[str]:
    """One line of text for each nested map of a configuration; values that are not nested are left out.

    Args:
        config: Nested dicts, as a trainable gets it.

    Example:
        >>> config_lines({"layer2": {"kind": "conv", "width": 16, "reads": {"layer1": True, "image": False}}, "lr": 1})
        ['layer2: kind conv, width 16, reads layer1']
    """
    return [f"{name}: {_phrases(part)}" for name, part in config.items() if isinstance(part, Mapping)]


def _phrases(part: Mapping[str, Any]) -> str:
    return ", ".join(_phrase(name, value) for name, value in part.items())


def _phrase(name: str, value: Any) -> str:
    if isinstance(value, Mapping) and value and all(isinstance(each, bool) for each in value.values()):
        return f"{name} {' and '.join(key for key, is_set in value.items() if is_set) or 'nothing'}"
    if isinstance(value, Mapping):
        return f"{name} ({_phrases(value)})"
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value_text(value)}"
