"""The table of a running sweep, as plain cells, and as many of its rows and columns as fit on a screen.

What is shown is decided here, how it is drawn (on a terminal, in a notebook) is not. Running trials come first, then
the best one, then those that ended last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.engine.trial import Trial
from hpsearch.live.cells import BARS, clock_text, scale_of, sparkline
from hpsearch.live.progress import DIGITS, MARKS, SweepProgress
from hpsearch.text import printable
from hpsearch.text_table import Column, Fit, fit, listed, parameter_key, parameter_text, truncate

CURVE_WIDTH = 12
"""Characters of a curve at most."""
MAX_CELL = 18
"""Characters of a parameter's value at most; a longer one is truncated."""
MAX_NAMED = 3
"""Columns that are named where they don't fit; of more the rest is counted."""


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
class Grid:
    """The part of the table that fits on a screen."""

    fit: Fit
    """The columns that fit."""
    rows: tuple[Row, ...]
    """Rows from top to bottom."""
    hidden: tuple[str, ...] = ()
    """Phrases that say what does not fit."""

    def lines(self) -> list[tuple[str, bool]]:
        """The titles and every row as a line each, with whether it is the best trial's."""
        return [(self.fit.titles(), False), *((self.fit.line(row.cells), row.is_best) for row in self.rows)]


def columns_of(progress: SweepProgress, extra: Sequence[Column] = ()) -> list[Column]:
    """All columns from left to right, `extra` between the best value and the parameters."""
    sweep = progress.sweep
    metric = printable(sweep.metric.name)
    better = "lower" if sweep.metric.sign > 0 else "higher"
    names = progress.varying
    return [
        Column(key="", title="", drop=0),
        Column(key="trial", title="trial", right=True, drop=0),
        Column(key="state", title="state", drop=0),
        Column(key="epoch", title="epoch", right=True, drop=0),
        Column(key="curve", title=f"{better} better"),
        Column(key="last", title="last", right=True, drop=2),
        Column(key="best", title=f"best {metric}", right=True, drop=0),
        *extra,
        *(Column(key=parameter_key(name), title=title, right=True) for name, title in _titles(names).items()),
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
    point = trial.point
    cells |= {parameter_key(name): parameter_text(point, name, digits=DIGITS, most=MAX_CELL) for name in point}
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


def fit_grid(columns: Sequence[Column], rows: Sequence[Row], *, width: int, num_hidden_running: int = 0) -> Grid:
    """The columns that fit, by `text_table.fit`, with phrases that say what does not.

    Args:
        columns: All columns.
        rows: The rows that are shown.
        width: Characters of a line.
        num_hidden_running: Running trials that have no row.
    """
    fitting = fit(columns, [row.cells for row in rows], width=width)
    left_out = [_name(column) for column in fitting.left_out]
    hidden = [f"{num_hidden_running} more trials running"] if num_hidden_running else []
    hidden += [f"columns not shown: {listed(left_out, most=MAX_NAMED)}"] if left_out else []
    return Grid(fit=fitting, rows=tuple(rows), hidden=tuple(hidden))


def _titles(names: Iterable[str]) -> dict[str, str]:
    """Dotted name to the title of its column: the last part, or the whole name where two have the same last part."""
    names = list(names)
    last = [name.rpartition(".")[2] for name in names]
    return {
        name: truncate(printable(part if last.count(part) == 1 else name), MAX_CELL)
        for name, part in zip(names, last, strict=True)
    }


def _name(column: Column) -> str:
    return column.title if column.key.startswith(parameter_key("")) else column.key
