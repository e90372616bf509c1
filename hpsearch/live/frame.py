"""One screen of a running sweep as lines of text: headline, notes, why no trial begins, the table of trials."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hpsearch.engine.status import IdleReason
from hpsearch.live.cells import BARS
from hpsearch.live.progress import SweepProgress, headline
from hpsearch.live.table import columns_of, fit_grid, rows_of
from hpsearch.text import duration_text, printable
from hpsearch.text_table import Column, truncate

Style = Literal["", "bold", "dim"]
"""Styles as rich names them; an empty text is the usual one."""
Line = tuple[str, Style]
"""A line of the screen, with the style in which all of it is drawn."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Notes and columns that are shown besides the trials' progress."""

    notes: Sequence[str] = ()
    """Lines below the headline."""
    columns: Sequence[Column] = ()
    """Further columns of the table."""
    cells: Mapping[int, Mapping[str, str]] | None = None
    """Number of a trial to its texts in these columns, by the column's key."""


def frame(
    progress: SweepProgress, *, width: int, height: int, bars: str = BARS, extras: Extras | None = None
) -> list[Line]:
    """The lines of one screen.

    Args:
        progress: Progress of the sweep.
        width: Characters of a line at most.
        height: Lines at most; the last one says how much is not shown.
        bars: Eight characters for the curves, the lowest first.
        extras: Notes and columns besides those of the progress; None for none.
    """
    extras = extras or Extras()
    above = [
        *wrapped(f"{progress.sweep.name} | {headline(progress)}".split(" | "), width),
        *map(printable, extras.notes),
    ]
    reason = progress.idle_reason
    if reason is not None:
        above.append(idle_line(reason, progress.idle_s(reason)))
    max_rows = max(height - len(above) - 2, 1)  # titles, and the line on what is not shown
    rows, num_hidden = rows_of(progress, max_rows, bars=bars)
    rows = [replace(row, cells={**row.cells, **(extras.cells or {}).get(row.number, {})}) for row in rows]
    grid = fit_grid(columns_of(progress, extras.columns), rows, width=width, num_hidden_running=num_hidden)
    lines: list[Line] = [(line, "") for line in above]
    if rows:
        (titles, _), *cells = grid.lines()
        lines += [(titles, "dim"), *((line, "bold" if is_best else "") for line, is_best in cells)]
    if grid.hidden:
        lines.append((f"({'; '.join(grid.hidden)})", "dim"))
    return [(truncate(line, width), style) for line, style in lines]


def idle_line(reason: IdleReason, idle_s: float) -> str:
    """Why no trial begins, and for how long if that is a second or more.

    Args:
        reason: The reason; one sentence without a full stop.
        idle_s: Seconds since the reason arose.
    """
    since = f" (for {duration_text(idle_s)})" if idle_s >= 1 else ""
    return f"No trial begins: {printable(reason.text)}{since}"


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts, separated by bars, on as many lines as they need.

    Args:
        parts: Texts that are not broken.
        width: Characters of a line at most, unless a part alone is longer.

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
    """Characters and lines of the terminal; 100 and 40 where there is none."""
    size = shutil.get_terminal_size((100, 40))
    return size.columns, size.lines
