"""Printing for all verbs: tables of text and JSON; also opens the ledger that `--home` names."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from hpsearch.text import printable, terminal_text
from hpsearch.text_table import PIPE_WIDTH, TextTable, cell_text, fit, listed, table_of, truncate

if TYPE_CHECKING:
    from hpsearch.ledger.store import Ledger

__all__ = [
    "cell_text",
    "line_width",
    "open_ledger",
    "print_json",
    "print_lines",
    "print_rows",
    "print_table",
    "print_text",
    "terminal_text",
]


def open_ledger(home: Path | None) -> Ledger:
    """Open the ledger of the folder that `--home` names, or of the default one; a context manager."""
    from hpsearch.ledger.store import Ledger
    from hpsearch.paths import home_dir

    return Ledger(home_dir(home))


def line_width() -> int:
    """Characters of a line at most: those of the terminal, PIPE_WIDTH in a pipe or a file."""
    return shutil.get_terminal_size((PIPE_WIDTH, 0)).columns if sys.stdout.isatty() else PIPE_WIDTH


def print_table(table: TextTable, *, complete: list[str]) -> None:
    """Print a table in lines that fit, and below it which columns did not.

    Args:
        table: Nothing is printed if it has no rows.
        complete: The commands that show all columns, for lines below it.
    """
    if not table.rows:
        return
    width = line_width()
    fitting = fit(table.columns, table.rows, width=width)
    for line in (fitting.titles(), *chain.from_iterable(map(fitting.lines, table.rows))):
        print(truncate(line, width))
    if fitting.left_out:
        names = listed([column.title for column in fitting.left_out])
        print_text([f"Columns that don't fit into {width} characters: {names}."])
        print_lines(f"All columns: {command}" for command in complete)


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, kept: Container[str], complete: list[str], wrapped: str = ""
) -> None:
    """Print rows of equal keys, none of which is a parameter, as a table; see `table_of` and `print_table`."""
    if rows:
        print_table(table_of(rows, kept=kept, wrapped=wrapped), complete=complete)


def print_text(lines: Iterable[str]) -> None:
    """Print lines of prose, with control characters replaced; in a pipe none has more than PIPE_WIDTH characters."""
    for line in map(printable, lines):
        print("\n".join(_broken(line)))


def _broken(line: str) -> list[str]:
    """The line in several lines, indented by two more characters, if a pipe would get too long a one."""
    if len(line) <= PIPE_WIDTH or sys.stdout.isatty():  # a terminal breaks lines by itself
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return wrap(line, PIPE_WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are, such as commands to be copied, with control characters of terminals replaced."""
    for line in lines:
        print(printable(line))


def print_json(value: Any) -> None:
    """Print a value as indented JSON, with control characters of terminals escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))
