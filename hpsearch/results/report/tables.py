"""The tables of the report, as elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpsearch.ledger.records import TrialRecord
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.analysis.rungs import RungTable
from hpsearch.results.html.elements import Element, Node, element
from hpsearch.results.labels import number, one_line, value_text
from hpsearch.text import duration_text

NUM_TOP = 10
"""Trials of the table of the best."""
PROSE = 32
"""Characters from which a cell is broken into lines."""
MANY = 11
"""Columns that fit on paper with no word broken; more are printed smaller."""
MAX_PARAMETERS = 12
"""Columns of parameters in that table, the most important ones."""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], *, marked: int | None = None) -> Element:
    """A table that scrolls by itself where it is too wide.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells; numbers stand on the right.
        marked: Position of the row to bring out.
    """
    rows = list(rows)
    numeric = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(head))]
    kinds = ["number" if right else None for right in numeric]
    titles = element(
        "tr", *(element("th", name, scope="col", class_=kind) for name, kind in zip(head, kinds, strict=True))
    )
    lines = [
        element(
            "tr",
            *(_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True)),
            class_="best" if i == marked else None,
        )
        for i, row in enumerate(rows)
    ]
    inner = element("table", element("caption", caption), element("thead", titles), element("tbody", *lines))
    kind = "table many" if len(head) > MANY else "table"
    return element("div", inner, class_=kind, tabindex="0")


def _cell(cell: Any, kind: str | None) -> Element:
    content: Node = cell if isinstance(cell, Element | str) else number(cell)
    is_long = isinstance(cell, str) and len(cell) > PROSE
    return element("td", content, class_="prose" if is_long else kind)


def facts(rows: Mapping[str, Node]) -> Element:
    """A table of names and what they are."""
    lines = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows.items()]
    return element("div", element("table", element("tbody", *lines)), class_="table", tabindex="0")


def top_table(found: Findings) -> Element | None:
    """The best trials; None while there are none."""
    sign = found.sweep.sign
    able = [trial for trial in found.trials if trial.succeeded and trial.best_value is not None]
    ranked = sorted(able, key=lambda trial: sign * (trial.best_value or 0.0))[:NUM_TOP]
    names = [scale.name for scale in found.scales[:MAX_PARAMETERS]]
    if not ranked:
        return None
    shortened = [one_line(name, most=24) for name in (found.sweep.metric, *names)]
    head = ["trial", shortened[0], "at epoch", "epochs", "state", *shortened[1:], "training"]
    caption = f"The best {len(ranked)} of {len(able)} trials that succeeded, each by its best epoch."
    return table(caption, head, [_top_row(trial, names) for trial in ranked], marked=0)


def _top_row(trial: TrialRecord, names: Iterable[str]) -> list[Any]:
    values = [_value(trial.point[name]) if name in trial.point else None for name in names]
    time = "-" if trial.duration_s is None else duration_text(trial.duration_s)
    return [trial.number, trial.best_value, trial.best_epoch, trial.epochs_trained, trial.state, *values, time]


def _value(value: Any) -> Any:
    """A number as it is, anything else as text."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else value_text(value)


def rungs_table(found: RungTable) -> Element | None:
    """What the stopping rule did; None for a sweep without rungs."""
    if not found.rows:
        return None
    head = ["epochs", "trials that got there", "went on", "stopped here", "wait or ended here", "epochs saved"]
    rows = [(r.epoch, r.entered, r.promoted, r.stopped, r.waiting, r.saved_epochs) for r in found.rows]
    return table("Each rung compares the trials that trained so far; the last line is full training.", head, rows)
