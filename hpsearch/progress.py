"""What is shown while a sweep runs: one live table on a terminal or in a notebook, one line a trial in a pipe."""

from __future__ import annotations

import html
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpsearch.space import canonical
from hpsearch.sweep import Sweep
from hpsearch.trial_run import TrialRun

REFRESH_S = 1.0
MAX_ROWS = 12
MAX_PARAMETERS = 6
MARKS = {"done": "+", "stopped": "-", "failed": "!", "queued": "~", "interrupted": "x", "paused": "=", "reused": "*"}
"""One sign for each state, so that nothing depends on colour."""


class Standing:
    """How far the sweep is; an observer of the engine."""

    def __init__(
        self, sweep: Sweep, *, past: Iterable[TrialRun] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to watch.

        Args:
            sweep: What runs.
            past: Trials of an earlier run of it.
            clock: Seconds that never go back.
        """
        self.sweep = sweep
        self.total = sweep.max_trials
        self.running: dict[int, TrialRun] = {}
        self.states: Counter[str] = Counter()
        self.best: TrialRun | None = None
        self.recent: list[TrialRun] = []
        self._left_as: dict[int, str] = {}
        self._clock = clock
        self._began = clock()
        for trial in past:
            if trial.best_epoch is not None and trial.state != "failed":
                self.on_report(trial)
            if trial.state not in ("queued", "running"):
                self.on_end(trial)
        self._past = self.ended

    def on_start(self, trial: TrialRun) -> None:
        """An attempt begins."""
        self.running[trial.number] = trial
        if (before := self._left_as.pop(trial.number, None)) is not None:  # promoted, or the sweep goes further now
            self.states[before] -= 1

    def on_report(self, trial: TrialRun) -> None:
        """An epoch is done."""
        if self.best is None or self.loss(trial) < self.loss(self.best):
            self.best = trial

    def on_end(self, trial: TrialRun) -> None:
        """A trial leaves its slot."""
        self.running.pop(trial.number, None)
        if trial.state == "queued":
            return
        self.states[trial.state] += 1
        self._left_as[trial.number] = trial.state
        self.recent = [*self.recent[-MAX_ROWS:], trial]

    def loss(self, trial: TrialRun) -> float:
        """Best loss so far: lower is better, whatever the goal."""
        return trial.losses[trial.best_epoch] if trial.best_epoch else float("inf")

    def value(self, trial: TrialRun) -> str:
        """Best value of the objective as text."""
        return f"{self.sweep.metric.sign * self.loss(trial):.5g}" if trial.best_epoch else "-"

    @property
    def ended(self) -> int:
        """Trials that are over."""
        return sum(self.states.values())

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the pace so far; None before the first trial is over."""
        fresh = self.ended - self._past
        if fresh < 1:
            return None
        return (self._clock() - self._began) / fresh * max(self.total - self.ended, 0)


class Lines:
    """For a pipe: one line for each trial that is over."""

    def __init__(self, standing: Standing, print_line: Callable[[str], None]) -> None:
        self._standing, self._print = standing, print_line

    def on_start(self, trial: TrialRun) -> None:
        """Nothing to say."""

    def on_report(self, trial: TrialRun) -> None:
        """Nothing to say."""

    def on_end(self, trial: TrialRun) -> None:
        """One line."""
        standing = self._standing
        what = (
            f"{standing.sweep.metric.name} {standing.value(trial)}"
            if trial.best_epoch
            else (trial.evidence or "no report")
        )
        if trial.state == "failed":
            what = f"{trial.cause}: {trial.evidence}"
        elif trial.state == "queued":
            what = f"is tried again: {trial.evidence}"
        self._print(
            f"[{standing.ended}/{standing.total}] {MARKS.get(trial.state, ' ')} trial {trial.number} {trial.state}"
            f" after {trial.epochs} epochs, {trial.duration_s:.1f} s: {what} ({describe(trial, standing.sweep)})"
        )


class LiveTable:
    """For a terminal: one table that is drawn anew at most once a second."""

    def __init__(self, standing: Standing, console: Console) -> None:
        self._standing = standing
        self._live = Live(console=console, auto_refresh=False, transient=True, get_renderable=self._render)
        self._drawn_at = 0.0

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def on_start(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def on_report(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def on_end(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def _draw(self) -> None:
        if time.monotonic() - self._drawn_at >= REFRESH_S:
            self._drawn_at = time.monotonic()
            self._live.refresh()

    def _render(self) -> RenderableType:
        return Group(headline(self._standing), _table(self._standing))


class NotebookTable:
    """For a notebook: one display, drawn anew at most once a second; what it showed last stays below the cell."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._drawn_at = 0.0
        self._handle: Any = None

    def __enter__(self) -> NotebookTable:
        from IPython.display import display  # who runs in a notebook has it

        self._handle = display(self._rendered(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._update()

    def on_start(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def on_report(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def on_end(self, trial: TrialRun) -> None:
        """Draw."""
        self._draw()

    def _draw(self) -> None:
        if time.monotonic() - self._drawn_at >= REFRESH_S:
            self._update()

    def _update(self) -> None:
        self._drawn_at = time.monotonic()
        self._handle.update(self._rendered(), raw=True)

    def _rendered(self) -> dict[str, str]:
        """The same as text, for front ends and converters without HTML."""
        line = f"{self._standing.sweep.name}: {headline(self._standing)}"
        return {"text/plain": line, "text/html": f"<p>{html.escape(line)}</p>{_html_table(self._standing)}"}


def headline(standing: Standing) -> Text:
    """Counts, the best value and the time to go, in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(standing.states.items()) if count)
    parts = [
        f"{standing.ended}/{standing.total} trials" + (f" ({counts})" if counts else ""),
        f"{len(standing.running)} running",
    ]
    if standing.best is not None:
        parts.append(
            f"best {standing.sweep.metric.name} {standing.value(standing.best)} (trial {standing.best.number})"
        )
    if standing.eta_s is not None:
        parts.append(f"about {duration_text(standing.eta_s)} to go")
    return Text(" | ".join(parts))


def describe(trial: TrialRun, sweep: Sweep) -> str:
    """The searched parameters of a trial, shortest form."""
    return " ".join(f"{name}={short(trial.point[name])}" for name in sweep.space.searched if name in trial.point)


def short(value: Any) -> str:
    """A parameter's value in few characters.

    Example:
        >>> short(0.000123456), short("adamw"), short([1, 2])
        ('0.000123', 'adamw', '[1,2]')
    """
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else canonical(value)


def duration_text(seconds: float) -> str:
    """A duration as a person says it.

    Example:
        >>> duration_text(4.2), duration_text(75), duration_text(7500)
        ('4 s', '1 min 15 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class _Row:
    """One trial of the table."""

    cells: tuple[str, ...]
    """As many as there are titles."""
    is_best: bool
    """Whether no trial is better so far."""


def _titles(standing: Standing) -> tuple[str, ...]:
    names = list(standing.sweep.space.searched)[:MAX_PARAMETERS]
    metric = standing.sweep.metric.name
    return ("", "trial", "state", "epoch", metric, *(name.rpartition(".")[2] for name in names), "s")


def _rows(standing: Standing) -> list[_Row]:
    """What runs, then what has ended lately, the latest first."""
    running = list(standing.running.values())[:MAX_ROWS]
    recent = standing.recent[max(len(standing.recent) - MAX_ROWS + len(running), 0) :]
    return [_row(standing, trial) for trial in [*running, *reversed(recent)]]


def _row(standing: Standing, trial: TrialRun) -> _Row:
    names = list(standing.sweep.space.searched)[:MAX_PARAMETERS]
    last = standing.sweep.max_epochs
    cells = (
        MARKS.get(trial.state, ">"),
        str(trial.number),
        trial.state if trial.cause is None else f"{trial.state}: {trial.cause}",
        f"{trial.epochs}/{last}" if last else str(trial.epochs),
        standing.value(trial),
        *(short(trial.point[name]) if name in trial.point else "-" for name in names),
        f"{trial.duration_s:.1f}",
    )
    return _Row(cells, standing.best is not None and trial.number == standing.best.number)


def _table(standing: Standing) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in _titles(standing):
        table.add_column(title, no_wrap=True)
    for row in _rows(standing):
        table.add_row(*map(Text, row.cells), style="bold" if row.is_best else None)
    return table


def _html_table(standing: Standing) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in _titles(standing))
    lines = []
    for row in _rows(standing):
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells)
        lines.append(f'<tr style="font-weight: bold">{cells}</tr>' if row.is_best else f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
