"""The display for a notebook: a table below the cell, updated at most once a second; its last state remains there."""

from __future__ import annotations

import html
import time
from typing import Any, final

from hpsearch.engine.trial import Trial
from hpsearch.live.frame import idle_line
from hpsearch.live.progress import SweepProgress, headline
from hpsearch.live.table import columns_of, rows_of
from hpsearch.text_table import ABSENT

REFRESH_S = 1.0
"""Seconds between two updates at least."""
MAX_ROWS = 12
"""Trials that the table shows at most."""


@final
class NotebookTable:
    """A context manager and an observer of the engine: the table is displayed for the duration of the block.

    It draws in the engine's thread, since the output of another thread appears below another cell.
    """

    def __init__(self, progress: SweepProgress) -> None:
        """Prepare; nothing is displayed yet.

        Args:
            progress: Progress of the sweep.
        """
        self._progress = progress
        self._drawn_at = 0.0
        self._handle: Any = None

    def __enter__(self) -> NotebookTable:
        from IPython.display import display  # installed wherever a notebook runs

        self._handle = display(self._rendered(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._update()

    def on_start(self, trial: Trial) -> None:
        """An attempt begins: update the table."""
        self._draw()

    def on_report(self, trial: Trial) -> None:
        """An epoch is finished: update the table."""
        self._draw()

    def on_end(self, trial: Trial) -> None:
        """A trial has left its slot: update the table."""
        self._draw()

    def _draw(self) -> None:
        if time.monotonic() - self._drawn_at >= REFRESH_S:
            self._update()

    def _update(self) -> None:
        self._drawn_at = time.monotonic()
        self._handle.update(self._rendered(), raw=True)

    def _rendered(self) -> dict[str, str]:
        """The display as HTML, and as text for front ends and converters without HTML."""
        progress, reason = self._progress, self._progress.idle_reason
        lines = [f"{progress.sweep.name}: {headline(progress)}"]
        lines += [] if reason is None else [idle_line(reason, progress.idle_s(reason))]
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        return {"text/plain": "\n".join(lines), "text/html": text + _html_table(progress)}


def _html_table(progress: SweepProgress) -> str:
    columns, (rows, _) = columns_of(progress), rows_of(progress, MAX_ROWS)
    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in columns)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{html.escape(row.cells.get(column.key, ABSENT))}</td>" for column in columns)
        lines.append(f'<tr style="font-weight: bold">{cells}</tr>' if row.is_best else f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
