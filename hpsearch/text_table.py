"""A table as lines of text that fit a width: the texts of its cells, its columns, and which of them are shown.

The live display and the verbs that print tables draw them with this; HTML tables use the same texts of cells.
"""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

from hpsearch.plain import is_number, value_text
from hpsearch.text import display_width, printable

ABSENT = "-"
"""The text of a cell without a value: a parameter that is inactive, a metric that was not reported."""
PIPE_WIDTH = 200
"""Characters of a line in a pipe or a file at most."""
GAP = 2
"""Blanks between two columns."""
MAX_CELL = 40
"""Characters of a parameter's value or name at most, where a table is printed."""
MIN_WRAPPED = 24
"""Characters that a column whose texts are wrapped gets at least."""
MAX_NAMED = 8
"""Columns that are named where they are not shown; of more the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table of texts."""

    key: str
    """Its key in the cells of a row."""
    title: str
    """Text above it."""
    right: bool = False
    """Whether it is aligned to the right."""
    drop: int = 1
    """0 for a column that is shown whatever the width; the others are dropped by this number, the highest first."""
    wraps: bool = False
    """Whether a text that is too long continues on further lines; only for the last column."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table whose cells are texts already."""

    columns: tuple[Column, ...]
    """From left to right."""
    rows: tuple[Mapping[str, str], ...]
    """Key of a column to the text in it; `-` for those that are missing."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The columns of a table that fit a width."""

    columns: tuple[Column, ...]
    """From left to right."""
    left_out: tuple[Column, ...]
    """Those that don't fit."""
    widths: Mapping[str, int]
    """Key of a column to its width in characters."""

    def titles(self) -> str:
        """The line above the rows."""
        return self.line({column.key: column.title for column in self.columns})

    def line(self, cells: Mapping[str, str]) -> str:
        """One row in one line; a text that is wider than its column is shortened."""
        padded = (
            _padded(cells.get(column.key, ABSENT), self.widths[column.key], right=column.right)
            for column in self.columns
        )
        return (" " * GAP).join(padded).rstrip()

    def lines(self, cells: Mapping[str, str]) -> Iterator[str]:
        """One row; the text of a last column that wraps continues below."""
        last = self.columns[-1]
        parts = _wrapped(cells.get(last.key, ABSENT), self.widths[last.key]) if last.wraps else []
        yield self.line({**cells, **({last.key: parts[0]} if parts else {})})
        for part in parts[1:]:
            yield self.line({**{column.key: "" for column in self.columns}, last.key: part})


def fit(columns: Sequence[Column], rows: Sequence[Mapping[str, str]], *, width: int) -> Fit:
    """Choose the columns that fit.

    Those that are shown whatever the width come first, then the others by `drop`, of equals from left to right; a
    column that is too wide leaves its place to narrower ones.

    Args:
        columns: All columns, from left to right.
        rows: Key of a column to the text in it.
        width: Characters of a line.
    """
    widths = {column.key: _width(column, rows) for column in columns}
    chosen, used = set[str](), -GAP
    for column in sorted(columns, key=lambda column: column.drop):
        needed = min(widths[column.key], MIN_WRAPPED) if column.wraps else widths[column.key]
        if column.drop == 0 or used + GAP + needed <= width:
            chosen.add(column.key)
            used += GAP + needed
    if columns and columns[-1].wraps and columns[-1].key in chosen:
        last = columns[-1].key
        widths[last] = min(widths[last], min(widths[last], MIN_WRAPPED) + max(width - used, 0))
    return Fit(
        columns=tuple(column for column in columns if column.key in chosen),
        left_out=tuple(column for column in columns if column.key not in chosen),
        widths=widths,
    )


def table_of(rows: Sequence[Mapping[str, Any]], *, kept: Container[str] = (), wrapped: str | None = None) -> TextTable:
    """A table of values other than parameters, by `cell_text`; columns of numbers are aligned to the right.

    Args:
        rows: At least one; all have the columns of the first.
        kept: Columns that are shown whatever the width.
        wrapped: The last column, if its texts continue on further lines.
    """
    columns = tuple(
        Column(
            key=name,
            title=printable(name),
            right=all(row[name] is None or is_number(row[name]) for row in rows),
            drop=0 if name in kept else 1,
            wraps=name == wrapped,
        )
        for name in rows[0]
    )
    return TextTable(columns=columns, rows=tuple({name: cell_text(row[name]) for name in row} for row in rows))


def parameter_columns(points: Sequence[Mapping[str, Any]], names: Iterable[str], *, drop: int) -> Iterator[Column]:
    """A column for each parameter; its key is `parameter_key`, so that no other column has it."""
    for name in names:
        right = all(is_number(point[name]) for point in points if name in point)
        yield Column(key=parameter_key(name), title=truncate(printable(name), MAX_CELL), right=right, drop=drop)


def parameter_cells(point: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The cells of parameters, in at most MAX_CELL characters each."""
    return {parameter_key(name): parameter_text(point, name, most=MAX_CELL) for name in names}


def parameter_key(name: str) -> str:
    """Key of a parameter's column."""
    return f"param.{name}"


def listed(names: Sequence[str], *, most: int = MAX_NAMED) -> str:
    """Names in a sentence, and the number of those beyond the first `most`.

    Example:
        >>> listed(["lr", "width", "depth"], most=2)
        'lr, width and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def truncate(text: str, width: int) -> str:
    """The text in at most `width` columns of a terminal; an ellipsis at the end says that there were more.

    Example:
        >>> truncate("batch_size", 6)
        'batch…'
    """
    if display_width(text) <= width:
        return text
    ends = accumulate(map(display_width, text))
    return text[: sum(1 for _ in takewhile(lambda end: end < width, ends))] + "…"


def cell_text(value: Any, *, digits: int = 5) -> str:
    """A value other than a parameter's as the text of a cell: on one line, a text as it is, `-` for None.

    Args:
        value: What the cell has.
        digits: Significant digits of a float.

    Example:
        >>> cell_text(0.123456789), cell_text(12), cell_text("oom_gpu"), cell_text(None)
        ('0.12346', '12', 'oom_gpu', '-')
    """
    if value is None:
        return ABSENT
    return printable(value if isinstance(value, str) else value_text(value, digits=digits))


def parameter_text(point: Mapping[str, Any], name: str, *, digits: int = 5, most: int | None = None) -> str:
    """A parameter of a point as the text of a cell; `-` where it is inactive, `null` where its value is null.

    Args:
        point: Name of a parameter to its value; without those that are inactive.
        name: The parameter.
        digits: Significant digits of a float.
        most: Characters at most; None for any number.

    Example:
        >>> parameter_text({"depth": None}, "depth"), parameter_text({"depth": None}, "momentum")
        ('null', '-')
    """
    if name not in point:
        return ABSENT
    text = printable(value_text(point[name], digits=digits))
    return text if most is None else truncate(text, most)


def _width(column: Column, rows: Sequence[Mapping[str, str]]) -> int:
    return max([display_width(column.title), *(display_width(row.get(column.key, ABSENT)) for row in rows)])


def _padded(text: str, width: int, *, right: bool) -> str:
    """The text with blanks up to a width, on the left if it is aligned to the right; shortened if it is wider."""
    text = truncate(text, width)
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns; lines with wide characters may be shorter than needed."""
    most = width // 2 if any(display_width(character) > 1 for character in text) else width
    return textwrap.wrap(text, most, break_on_hyphens=False)
