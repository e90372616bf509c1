"""Printing for all verbs: tables of text and JSON; also opens the ledger that `--home` names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.text import printable, terminal_text

if TYPE_CHECKING:
    from hpsearch.ledger.store import Ledger

__all__ = ["cell_text", "open_ledger", "print_json", "print_lines", "print_rows", "terminal_text"]


def open_ledger(home: Path | None) -> Ledger:
    """Open the ledger of the folder that `--home` names, or of the default one; a context manager."""
    from hpsearch.ledger.store import Ledger
    from hpsearch.paths import home_dir

    return Ledger(home_dir(home))


def print_rows(rows: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows of equal keys as an aligned table, or as JSON."""
    rows = list(rows)
    if as_json:
        print_json(rows)
        return
    if not rows:
        return
    cells = [[printable(name) for name in rows[0]], *([cell_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    numeric = [all(isinstance(row[key], int | float | None) for row in rows) for key in rows[0]]
    for line in cells:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, with control characters of terminals replaced."""
    for line in lines:
        print(printable(line))


def cell_text(value: Any) -> str:
    """A value as the text of one table cell: short, on one line, with control characters of terminals replaced."""
    if value is None:
        return "-"
    text = f"{value:.5g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return printable(text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON, with control characters of terminals escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))
