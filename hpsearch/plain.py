"""Plain values: what a spec and the ledger can hold, and how a message shows them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from hpsearch.errors import Problem

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a sweep."""
MAX_NAME_LENGTH = 200
MAX_DEPTH = 32
"""Levels of nesting of a spec, the top one included."""

Key = str | int
Where = tuple[Key, ...]
"""Keys and positions that lead from the top of a spec to a value."""


def shown(value: object) -> str:
    """A value as a message shows it: short, and with its kind where the kind is the mistake.

    Example:
        >>> shown("small"), shown(None), shown([1, 2])
        ("the text 'small'", 'nothing', 'the list [1, 2]')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {str: "the text ", Mapping: "the map ", Sequence: "the list "}
    kind = next((text for known, text in kinds.items() if isinstance(value, known)), "")
    try:
        text = repr(value)
    except ValueError:  # Python spells out no number of more than 4300 digits
        return "a number of thousands of digits"
    return kind + (text if len(text) <= 60 else text[:57] + "...")


def writable(text: str) -> str:
    """Text that a file and a ledger can hold: halves of characters, as Python has for names of files that are no UTF-8,
    are spelled out.

    Example:
        >>> writable("caf\\udce9.png")
        'caf\\\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Text on one line, with nothing that a terminal obeys.

    Example:
        >>> printable("a\\nb\\x1b[2Jc")
        'a?b?[2Jc'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def duration_text(seconds: float) -> str:
    """A duration as a person says it.

    Example:
        >>> duration_text(4.2), duration_text(42.4), duration_text(75), duration_text(7500), duration_text(200_000)
        ('4.2 s', '42 s', '1 min 15 s', '2 h 05 min', '2 d 07 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24:02d} h"


def counted(number: int, what: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "trial"), counted(12, "trial")
        ('1 trial', '12 trials')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def points_text(number: int | None) -> str:
    """A number of points, which may have thousands of digits; None for infinitely many."""
    if number is None:
        return "infinitely many"
    return f"{number:,}" if number < 10**9 else f"about 10^{math.log10(number):.0f}"


def terminal_text(text: str) -> str:
    """Text of many lines with nothing else that a terminal obeys; progress bars become lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in lines)


def check_plain(value: object, where: Where, problems: list[Problem]) -> bool:
    """Whether the ledger can keep `value`: text, finite number, true, false, null, or lists and maps of these.

    Args:
        value: At most MAX_DEPTH levels deep.
        where: Keys that lead from the top of the spec to `value`.
        problems: Gets one entry for each mistake.
    """
    before = len(problems)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or len(key) > MAX_NAME_LENGTH:
                expected = f"a key must be text of at most {MAX_NAME_LENGTH} characters"
                problems.append(_problem((*where, str(key)[:60]), f"{expected}, got {shown(key)}. Put it in quotes."))
            check_plain(inner, (*where, key), problems)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            check_plain(inner, (*where, position), problems)
    elif (message := _wrong_scalar(value)) is not None:
        problems.append(_problem(where, message))
    return len(problems) == before


def _wrong_scalar(value: object) -> str | None:
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"expected a whole number of at most 64 bits, got {shown(value)}. Write it as text, in quotes."
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return None
    return f"expected text, a finite number, true, false, null or a list, got {shown(value)}."


def _problem(where: Where, message: str) -> Problem:
    return Problem(where=where, message=message)
