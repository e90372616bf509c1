"""Short texts for people: how messages and tables show values, durations and counts, and text made safe to print."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

_NUMBER = re.compile(r"(?<![\w.:])(?<!signal )(?<!code )[-+]?(?:0x[0-9a-f]+|\d+\.?\d*(?:e[-+]?\d+)?)")
"""A number in a text, unless it is part of a name or a line of code, or is that of a signal or an exit code."""
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("bytes", 1))
"""Units of sizes, with the bytes of each, the largest first."""


def shown(value: object) -> str:
    """A value for a message: short, and with its type where that is not obvious.

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
    except ValueError:  # Python refuses to convert an int of more than 4300 digits
        return "a number of thousands of digits"
    return kind + (text if len(text) <= 60 else text[:57] + "...")


def writable(text: str) -> str:
    """Text that can be encoded as UTF-8: lone surrogates, which Python has in file names that are not UTF-8, become
    escape sequences.

    Example:
        >>> writable("caf\\udce9.png")
        'caf\\\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Text on one line without control characters, each of which becomes a question mark.

    Example:
        >>> printable("a\\nb\\x1b[2Jc")
        'a?b?[2Jc'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character, none for a mark above or below another one.

    Example:
        >>> display_width("adam"), display_width("学習率")
        (4, 6)
    """
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def size_text(num_bytes: int) -> str:
    """A size in the largest unit that fits.

    Example:
        >>> size_text(12), size_text(1536), size_text(5 * 2**30)
        ('12 bytes', '1.5 KiB', '5.0 GiB')
    """
    unit, scale = next((unit, scale) for unit, scale in _UNITS if num_bytes >= scale or scale == 1)
    return f"{num_bytes / scale:.1f} {unit}" if scale > 1 else f"{num_bytes} {unit}"


def duration_text(seconds: float) -> str:
    """A duration in the units that suit its length.

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


def without_numbers(text: str) -> str:
    """A sentence on a failure with `#` for each number that may differ between two failures that are the same.

    Signals, exit codes, lines of code and digits within names stay.

    Example:
        >>> without_numbers("rank 0 (process 411) was killed by signal 9 (Killed)")
        'rank # (process #) was killed by signal 9 (Killed)'
        >>> without_numbers("reported top1 = tensor([0.25, 1e-3]), which is no number (train.py:12 in train)")
        'reported top1 = tensor([#, #]), which is no number (train.py:12 in train)'
    """
    return _NUMBER.sub("#", text)


def minute_text(moment: str) -> str:
    """A time of day of the ledger, without seconds.

    Example:
        >>> minute_text("2026-11-26T12:10:03.654866+00:00")
        '2026-11-26 12:10'
    """
    return moment[:16].replace("T", " ")


def counted(number: float, what: str) -> str:
    """A number with its noun, in the plural unless the number is 1.

    Args:
        number: How many there are.
        what: The noun in the singular; its plural ends in `s`.

    Example:
        >>> counted(1, "trial"), counted(12, "trial"), counted(2, "process")
        ('1 trial', '12 trials', '2 processes')
    """
    shown = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}" if number == 1 else f"{shown} {what}{'es' if what.endswith('s') else 's'}"


def points_text(number: int | None) -> str:
    """A number of points, in powers of ten from a billion on; None means infinitely many."""
    if number is None:
        return "infinitely many"
    return f"{number:,}" if number < 10**9 else f"about 10^{math.log10(number):.0f}"


def terminal_text(text: str) -> str:
    """Text of several lines without other control characters than tabs; progress bars become lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in lines)
