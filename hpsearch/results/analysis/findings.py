"""Everything that the report and the charts show of a sweep, read from the ledger once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.ledger.journal import last_change
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import FailureRecord, ReportRecord, SweepRecord, TrialRecord, best_of
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.best import varying_parameters
from hpsearch.results.analysis.common_epoch import ranking
from hpsearch.results.analysis.curves import Curve, Step, best_value_steps, learning_curves, rungs_reached
from hpsearch.results.analysis.edges import Edge, edges
from hpsearch.results.analysis.rungs import RungTable, rung_table
from hpsearch.results.analysis.scales import Scale, scales_of

if TYPE_CHECKING:
    from hpsearch.results.analysis.importance import Importance
    from hpsearch.spec.sweep import Sweep

NUM_SLICES = 4
"""How many of the most important parameters have a chart of their own."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A sweep at one moment; results of an analysis are computed when they are first used."""

    home: Path
    """Folder of the ledger."""
    sweep: SweepRecord
    """The sweep."""
    trials: list[TrialRecord]
    """All its trials by number; those that run with their reports so far."""
    reports: list[ReportRecord]
    """All its reports, in the order in which they arrived."""
    failures: list[FailureRecord]
    """All failed attempts, in the order in which they failed."""
    is_alive: bool = False
    """Whether a process runs the sweep, as far as this machine can tell."""
    change: str | None = None
    """The journal's last change that these contain; None if another process may be about to commit it."""

    @cached_property
    def spec(self) -> Sweep:
        """The sweep's stored spec, parsed once for all analyses."""
        from hpsearch.spec.sweep import Sweep

        return Sweep.from_stored(self.sweep.spec)

    @cached_property
    def best(self) -> TrialRecord | None:
        """The best successful trial; None before the first success."""
        return best_of(self.trials, sign=self.sweep.sign)

    @cached_property
    def leader(self) -> int | None:
        """Number of the trial to highlight: the best successful one, or the best so far before the first success."""
        if self.best is not None:
            return self.best.number
        return self.steps[-1].trial if self.steps else None

    @cached_property
    def curves(self) -> list[Curve]:
        """The learning curve of each trial."""
        return learning_curves(self.sweep, self.trials, self.reports)

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials were compared."""
        return rungs_reached(self.spec.rungs, self.curves)

    @cached_property
    def rung_table(self) -> RungTable:
        """What the stopping rule did at each rung."""
        return rung_table(self.sweep, self.curves, rungs=self.rungs)

    @cached_property
    def steps(self) -> list[Step]:
        """The best value so far."""
        return best_value_steps(self.sweep, self.trials, self.reports)

    @cached_property
    def importance(self) -> Importance:
        """The importance of each parameter."""
        from hpsearch.results.analysis.importance import importance

        return importance(self.sweep, self.trials, self.reports, space=self.spec.space)

    @cached_property
    def scales(self) -> list[Scale]:
        """Scales of the parameters that vary, the most important first, those of unknown importance last."""
        ranked = [row.parameter for row in self.importance.rows]
        varying = varying_parameters(self.trials)
        names = [*(name for name in ranked if name in varying), *(name for name in varying if name not in ranked)]
        return scales_of(self.spec.space.domains, [trial.point for trial in self.trials], names)

    @cached_property
    def edges(self) -> list[Edge]:
        """Ranges that should be widened."""
        return edges(self.trials, self.scales, sign=self.sweep.sign)

    @cached_property
    def values(self) -> Mapping[int, float]:
        """The objective of each trial at the common epoch, by number; of its best epoch where there is none."""
        if self.importance.epoch is not None:
            return {each.trial: each.value for each in ranking(self.curves, self.importance.epoch)}
        return {trial.number: trial.best_value for trial in self.trials if trial.best_value is not None}


def read_findings(home: Path, name: str | None, *, holds_lock: bool = False) -> Findings:
    """Read a sweep from the ledger.

    Args:
        home: Folder of the ledger.
        name: The sweep; None for the newest.
        holds_lock: Whether this process holds the sweep's lock, and has no transaction open.

    Raises:
        UnknownSweep: There is no such sweep.
        LedgerError: The ledger can't be read.
    """
    with Ledger(home) as ledger:
        sweep = ledger.sweep(name)
        change = last_change(home / sweep.folder)  # before the lock and the rows: they may be newer, not older
        is_alive = is_held(home / sweep.folder)
        return Findings(
            home=home,
            sweep=sweep,
            trials=ledger.current_trials(sweep),
            reports=ledger.reports(sweep),
            failures=ledger.failures(sweep),
            is_alive=is_alive,
            change=change if holds_lock or not is_alive else None,
        )
