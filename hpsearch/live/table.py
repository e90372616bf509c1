"""The table of a running sweep, as plain cells, and as many of its rows and columns as fit on a screen.

What is shown is decided here, how it is drawn (on a terminal, in a notebook) is not. Running trials come first, then
the best one, then those that ended last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hpsearch.engine.trial import Trial
from hpsearch.live.cells import BARS, clock_text, scale_of, short, sparkline, truncate
from hpsearch.live.progress import MARKS, SweepProgress
from hpsearch.text import printable

GAP = 2
"""Blanks between two columns."""
CURVE_WIDTH = 12
"""Characters of a curve at most."""
MAX_CELL = 18
"""Characters of a parameter's value at most; a longer one is truncated."""
ALWAYS_SHOWN = ("", "trial", "state", "epoch", "best")
"""Keys of the columns that are shown whatever the width."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial of the table."""

    number: int
    """The trial's number."""
    cells: Mapping[str, str]
    """Key of a column to the text in it."""
    is_best: bool
    """Whether it is the best trial so far."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table."""

    key: str
    """Its key in the cells of a row."""
    title: str
    """Text above it."""
    right: bool = False
    """Whether it is aligned to the right."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The part of the table that fits on a screen."""

    columns: tuple[Column, ...]
    """Columns from left to right."""
    rows: tuple[Row, ...]
    """Rows from top to bottom."""
    hidden: tuple[str, ...] = ()
    """Phrases that say what does not fit."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Key of a column to its width in characters."""


def columns_of(progress: SweepProgress, extra: Sequence[Column] = ()) -> list[Column]:
    """All columns from left to right, `extra` between the best value and the parameters."""
    sweep = progress.sweep
    metric = printable(sweep.metric.name)
    better = "lower" if sweep.metric.sign > 0 else "higher"
    names = progress.varying
    return [
        Column(key="", title=""),
        Column(key="trial", title="trial", right=True),
        Column(key="state", title="state"),
        Column(key="epoch", title="epoch", right=True),
        Column(key="curve", title=f"{better} better"),
        Column(key="last", title="last", right=True),
        Column(key="best", title=f"best {metric}", right=True),
        *extra,
        *(Column(key=f"param.{name}", title=title, right=True) for name, title in _titles(names).items()),
        Column(key="time", title="trained", right=True),
    ]


def row_of(
    progress: SweepProgress, trial: Trial, *, best: int | None, scale: tuple[float, float], bars: str = BARS
) -> Row:
    """The cells of one trial.

    Args:
        progress: Progress of the sweep.
        trial: The trial.
        best: Number of the best trial; None if there is none yet.
        scale: Lowest and highest value of the curves, the same for all rows.
        bars: Eight characters for the curves, the lowest first.
    """
    last = progress.sweep.max_epochs
    cells = {
        "": MARKS.get(trial.state, ">"),
        "trial": str(trial.number),
        "state": progress.state_text(trial),
        "epoch": f"{trial.epochs}/{last}" if last else str(trial.epochs),
        "curve": sparkline(progress.values(trial), scale=scale, width=CURVE_WIDTH, bars=bars),
        "last": progress.last_text(trial),
        "best": progress.best_text(trial),
        "time": clock_text(trial.duration_s),
    }
    cells |= {f"param.{name}": truncate(short(value), MAX_CELL) for name, value in trial.point.items()}
    return Row(number=trial.number, cells=cells, is_best=trial.number == best)


def rows_of(progress: SweepProgress, max_rows: int, *, bars: str = BARS) -> tuple[list[Row], int]:
    """The rows of running trials, the best trial and those that ended last, in this order.

    Args:
        progress: Progress of the sweep.
        max_rows: Rows at most.
        bars: Eight characters for the curves, the lowest first.

    Returns:
        The rows, and the number of running trials that have none.
    """
    running, best = progress.running, progress.best
    shown = dict.fromkeys(trial.number for trial in running)
    others = [trial for trial in ([best] if best else []) + progress.latest if trial.number not in shown]
    unique = list({trial.number: trial for trial in others}.values())
    chosen = [*running, *unique][:max_rows]
    scale = scale_of((progress.values(trial) for trial in chosen), sign=progress.sweep.metric.sign)
    number = None if best is None else best.number
    rows = [row_of(progress, trial, best=number, scale=scale, bars=bars) for trial in chosen]
    return rows, max(len(running) - max_rows, 0)


def fit_columns(columns: Sequence[Column], rows: Sequence[Row], *, width: int, num_hidden_running: int = 0) -> Grid:
    """Choose the columns that fit: those of ALWAYS_SHOWN, then the others from left to right, the last value last.

    Args:
        columns: All columns.
        rows: The rows that are shown.
        width: Characters of a line.
        num_hidden_running: Running trials that have no row.
    """
    natural = {column.key: _width(column, rows) for column in columns}
    order = sorted(columns, key=lambda column: (column.key not in ALWAYS_SHOWN, column.key == "last"))
    chosen, used = set[str](), -GAP
    for column in order:
        if column.key in ALWAYS_SHOWN or used + GAP + natural[column.key] <= width:
            chosen.add(column.key)
            used += GAP + natural[column.key]
    left_out = [_name(column) for column in columns if column.key not in chosen]
    hidden = [f"{num_hidden_running} more trials running"] if num_hidden_running else []
    hidden += [f"columns not shown: {_listed(left_out)}"] if left_out else []
    return Grid(
        columns=tuple(column for column in columns if column.key in chosen),
        rows=tuple(rows),
        hidden=tuple(hidden),
        widths=natural,
    )


def text_lines(grid: Grid) -> list[tuple[str, bool]]:
    """The titles and every row as a line each, with whether it is the best trial's."""
    titles = _line(grid, {column.key: column.title for column in grid.columns})
    return [(titles, False), *((_line(grid, row.cells), row.is_best) for row in grid.rows)]


def _line(grid: Grid, cells: Mapping[str, str]) -> str:
    padded = (
        text.rjust(grid.widths[column.key]) if column.right else text.ljust(grid.widths[column.key])
        for column in grid.columns
        for text in [cells.get(column.key, "-")]
    )
    return (" " * GAP).join(padded).rstrip()


def _width(column: Column, rows: Sequence[Row]) -> int:
    return max([len(column.title), *(len(row.cells.get(column.key, "-")) for row in rows)])


def _titles(names: Iterable[str]) -> dict[str, str]:
    """Dotted name to the title of its column: the last part, or the whole name where two have the same last part."""
    names = list(names)
    last = [name.rpartition(".")[2] for name in names]
    return {
        name: truncate(printable(part if last.count(part) == 1 else name), MAX_CELL)
        for name, part in zip(names, last, strict=True)
    }


def _name(column: Column) -> str:
    return column.title if column.key.startswith("param.") else column.key


def _listed(titles: Sequence[str]) -> str:
    shown = ", ".join(titles[:3])
    return shown if len(titles) <= 3 else f"{shown} and {len(titles) - 3} more"
