"""One screen of a running sweep as lines of text: headline, why nothing begins, the table, what found no room."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hpsearch.engine.status import IdleReason
from hpsearch.live.cells import BARS, cut
from hpsearch.live.progress import SweepProgress, headline
from hpsearch.live.table import Column, columns_of, fit, rows_of, text_lines
from hpsearch.text import duration_text, printable

Style = Literal["", "bold", "dim"]
Line = tuple[str, Style]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is shown besides the trials."""

    notes: Sequence[str] = ()
    """Lines below the headline."""
    columns: Sequence[Column] = ()
    """More columns."""
    cells: Mapping[int, Mapping[str, str]] | None = None
    """Number of a trial to its texts in them."""


def frame(
    progress: SweepProgress, *, width: int, height: int, bars: str = BARS, beside: Beside | None = None
) -> list[Line]:
    """At most `height` lines of at most `width` characters; what is left out is counted in the last one."""
    beside = beside or Beside()
    above = [
        *wrapped(f"{progress.sweep.name} | {headline(progress)}".split(" | "), width),
        *map(printable, beside.notes),
    ]
    wait = progress.wait
    if wait is not None:
        above.append(wait_line(wait, progress.waits_s(wait)))
    max_rows = max(height - len(above) - 2, 1)  # titles, and what finds no room
    rows, num_hidden = rows_of(progress, max_rows, bars=bars)
    rows = [replace(row, cells={**row.cells, **(beside.cells or {}).get(row.number, {})}) for row in rows]
    grid = fit(columns_of(progress, beside.columns), rows, width=width, num_hidden_running=num_hidden)
    lines: list[Line] = [(line, "") for line in above]
    if rows:
        (titles, _), *cells = text_lines(grid)
        lines += [(titles, "dim"), *((line, "bold" if is_best else "") for line, is_best in cells)]
    if grid.hidden:
        lines.append((f"({'; '.join(grid.hidden)})", "dim"))
    return [(cut(line, width), style) for line, style in lines]


def wait_line(wait: IdleReason, waits_s: float) -> str:
    """Why no trial begins, and for how long, from one second on."""
    since = f" (for {duration_text(waits_s)})" if waits_s >= 1 else ""
    return f"No trial begins: {printable(wait.text)}{since}"


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Parts with bars between them, on as many lines as they need.

    Example:
        >>> wrapped(["net", "3 running", "best 0.5"], 16)
        ['net | 3 running', 'best 0.5']
    """
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" | {part}"
        else:
            lines.append(part)
    return lines


def screen_size() -> tuple[int, int]:
    """(characters, lines) of the terminal; 100 x 40 where there is none."""
    size = shutil.get_terminal_size((100, 40))
    return size.columns, size.lines
