"""For a pipe: one line for each trial that is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from hpsearch.engine.trial import TrialRun
from hpsearch.live.progress import MARKS, Standing, describe
from hpsearch.text import counted, printable


@final
class Lines:
    """An observer of the engine."""

    def __init__(self, standing: Standing, print_line: Callable[[str], None]) -> None:
        self._standing, self._print = standing, print_line

    def on_start(self, trial: TrialRun) -> None:
        """Nothing to say."""

    def on_report(self, trial: TrialRun) -> None:
        """Nothing to say."""

    def on_end(self, trial: TrialRun) -> None:
        """One line."""
        standing = self._standing
        point = describe(trial, standing.sweep)
        self._print(
            f"[{standing.states.total()}/{standing.total}] {MARKS.get(trial.state, ' ')} trial {trial.number}"
            f" {trial.state} after {counted(trial.epochs, 'epoch')}, {trial.duration_s:.1f} s:"
            f" {printable(self._what(trial))}{f' ({point})' if point else ''}"
        )

    def _what(self, trial: TrialRun) -> str:
        if trial.state == "failed":
            return f"{trial.cause}: {trial.evidence}"
        if trial.state == "queued":
            return f"is tried again: {trial.evidence}"
        if trial.best_epoch:
            return f"{self._standing.sweep.metric.name} {self._standing.best_text(trial)}"
        return trial.evidence or "no report"
