"""Tables of the report as HTML elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpsearch.ledger.records import TrialRecord
from hpsearch.plain import is_number
from hpsearch.results.analysis.best import ranked_successes
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.analysis.rungs import RungTable
from hpsearch.results.html.elements import Element, Node, element
from hpsearch.results.labels import one_line, value_label
from hpsearch.text import duration_text
from hpsearch.text_table import ABSENT

NUM_TOP = 10
"""Most trials in the table of the best trials."""
PROSE = 32
"""A cell with more characters than this is wrapped."""
MANY = 11
"""Most columns that fit on paper in normal size; a table with more is printed smaller."""
MAX_PARAMETERS = 12
"""Most parameters in the table of the best trials, the most important ones."""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], *, marked: int | None = None) -> Element:
    """A table, which scrolls horizontally if it is wider than the page.

    Args:
        caption: What the table shows.
        head: Names of the columns.
        rows: Cells of each row. Columns of numbers are right-aligned.
        marked: Position of the row to highlight; None for none.
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
    content: Node = cell if isinstance(cell, Element | str) else ABSENT if cell is None else value_label(cell)
    is_long = isinstance(cell, str) and len(cell) > PROSE
    return element("td", content, class_="prose" if is_long else kind)


def facts(rows: Mapping[str, Node]) -> Element:
    """A table of two columns without a header: names and values."""
    lines = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows.items()]
    return element("div", element("table", element("tbody", *lines)), class_="table", tabindex="0")


def top_table(findings: Findings) -> Element | None:
    """The table of the best trials; None while no trial has succeeded."""
    able = ranked_successes(findings.trials, sign=findings.sweep.sign)
    ranked = able[:NUM_TOP]
    names = [scale.name for scale in findings.scales[:MAX_PARAMETERS]]
    if not ranked:
        return None
    shortened = [one_line(name, most=24) for name in (findings.sweep.metric, *names)]
    head = ["trial", shortened[0], "at epoch", "epochs", "state", *shortened[1:], "training time"]
    caption = f"The best {len(ranked)} of {len(able)} trials that succeeded, ranked by their best epoch."
    return table(caption, head, [_top_row(trial, names) for trial in ranked], marked=0)


def _top_row(trial: TrialRecord, names: Iterable[str]) -> list[Any]:
    values = [_value(trial.point[name]) if name in trial.point else None for name in names]
    time = ABSENT if trial.duration_s is None else duration_text(trial.duration_s)
    return [trial.number, trial.best_value, trial.best_epoch, trial.epochs_trained, trial.state, *values, time]


def _value(value: Any) -> Any:
    """The value itself if it is a number, else its text."""
    return value if is_number(value) else value_label(value)


def rungs_table(rung_table: RungTable) -> Element | None:
    """The table of rungs: how many trials reached each and what became of them; None for a sweep without rungs."""
    if not rung_table.rows:
        return None
    head = ["epochs", "trials that reached it", "promoted", "stopped here", "paused or ended here", "epochs saved"]
    rows = [(r.epoch, r.entered, r.promoted, r.stopped, r.waiting, r.saved_epochs) for r in rung_table.rows]
    return table("At each rung the trials that reached it are compared. The last row is full training.", head, rows)
