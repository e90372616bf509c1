"""For a pipe: one line for each trial that is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from hpsearch.engine.trial import Trial
from hpsearch.live.progress import MARKS, SweepProgress, describe
from hpsearch.text import counted, printable


@final
class Lines:
    """An observer of the engine."""

    def __init__(self, progress: SweepProgress, print_line: Callable[[str], None]) -> None:
        self._progress, self._print = progress, print_line

    def on_start(self, trial: Trial) -> None:
        """Nothing to say."""

    def on_report(self, trial: Trial) -> None:
        """Nothing to say."""

    def on_end(self, trial: Trial) -> None:
        """One line."""
        progress = self._progress
        point = describe(trial, progress.sweep)
        self._print(
            f"[{progress.states.total()}/{progress.total}] {MARKS.get(trial.state, ' ')} trial {trial.number}"
            f" {trial.state} after {counted(trial.epochs, 'epoch')}, {trial.duration_s:.1f} s:"
            f" {printable(self._what(trial))}{f' ({point})' if point else ''}"
        )

    def _what(self, trial: Trial) -> str:
        if trial.state == "failed":
            return f"{trial.cause}: {trial.evidence}"
        if trial.state == "queued":
            return f"is tried again: {trial.evidence}"
        if trial.best_epoch:
            return f"{self._progress.sweep.metric.name} {self._progress.best_text(trial)}"
        return trial.evidence or "no report"
