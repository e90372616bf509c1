"""The display for a pipe: one line for each trial that ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.live.progress import MARKS, SweepProgress, describe
from hpsearch.text import counted, printable
from hpsearch.text_table import PIPE_WIDTH


@final
class Lines:
    """Prints a line for each trial that leaves its slot; an observer of the engine."""

    def __init__(self, progress: SweepProgress, print_line: Callable[[str], None]) -> None:
        """Prepare; nothing is printed yet.

        Args:
            progress: Progress of the sweep.
            print_line: Prints one line.
        """
        self._progress, self._print = progress, print_line

    def on_start(self, trial: Trial) -> None:
        """An attempt begins: nothing is printed."""

    def on_report(self, trial: Trial) -> None:
        """An epoch is finished: nothing is printed."""

    def on_end(self, trial: Trial) -> None:
        """Print the trial's line: its number among all, state, epochs, seconds, result and parameters."""
        progress = self._progress
        line = (
            f"[{progress.states.total()}/{progress.total}] {MARKS.get(trial.state, ' ')} trial {trial.number}"
            f" {trial.state} after {counted(trial.epochs, 'epoch')}, {trial.duration_s:.1f} s{self._outlook(trial)}:"
            f" {printable(self._result(trial))}"
        )
        point = describe(trial, progress.sweep, most=PIPE_WIDTH - len(line) - len(" ()"))
        self._print(f"{line} ({point})" if point else line)

    def _outlook(self, trial: Trial) -> str:
        """That a paused trial may continue: the last line of a sweep may be one of them."""
        return " (may continue)" if trial.state == "paused" else ""

    def _result(self, trial: Trial) -> str:
        if trial.state == "failed":
            return f"{trial.cause}: {trial.evidence}"
        if trial.state == "queued":
            return f"is retried: {trial.evidence}"
        if trial.best_epoch:
            return f"{self._progress.sweep.metric.name} {self._progress.best_text(trial)}"
        return trial.evidence or "no report"
