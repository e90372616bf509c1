"""A configuration in words: one line for each group of parameters, as one would describe an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_words(config: Mapping[str, Any]) -> list[str]:
    """One line for each nested map of a configuration; what is not nested is left out.

    Args:
        config: Nested dicts, as a trainable gets it.

    Example:
        >>> in_words({"layer2": {"kind": "conv", "width": 16, "reads": {"layer1": True, "image": False}}, "lr": 0.1})
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
    return f"{name} {value}"
