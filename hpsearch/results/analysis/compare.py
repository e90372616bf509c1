"""Several sweeps side by side: what each spent, what it found, and what it had found at equal budgets; plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.errors import SpecError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.results.analysis.curves import Step, best_value_steps


@dataclass(frozen=True, kw_only=True)
class SweepRead:
    """One sweep as it was read."""

    sweep: SweepRecord
    """Its record."""
    trials: Sequence[TrialRecord]
    """All of them."""
    steps: Sequence[Step]
    """Best so far; what was reused counts as if it had been trained, or a sweep that reuses much would look lucky."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One sweep in the table: see `columns.COMPARE`."""

    sweep: str
    method: str
    state: str
    trials: int
    failed: int
    epochs: int
    training_s: float
    best: float | None
    best_trial: int | None
    best_at_equal_epochs: float | None
    best_at_equal_time: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sweeps of one metric."""

    metric: str
    """Its name."""
    is_minimized: bool
    """Whether lower is better."""
    equal_epochs: int
    """Epochs of the sweep that has the fewest, over all its trials; 0 if one has none yet."""
    equal_s: float
    """Seconds of training of the sweep that has the fewest."""
    rows: tuple[Compared, ...]
    """In the order in which the sweeps were named."""

    @property
    def sentence(self) -> str:
        """What the columns of equal budgets stand on."""
        goal = "lower" if self.is_minimized else "higher"
        if not self.equal_epochs:
            return f"{self.metric}, {goal} is better; one of the sweeps has no result yet, so there is no equal budget."
        budget = f"{self.equal_epochs} epochs, {self.equal_s:.4g} s of training"
        return f"{self.metric}, {goal} is better; equal budgets: {budget}, reused trials counted as if trained."


def read_sweep(sweep: SweepRecord, trials: Sequence[TrialRecord], reports: Iterable[ReportRecord]) -> SweepRead:
    """What the comparison needs of one sweep."""
    steps = best_value_steps(sweep, trials, reports, counts_reused=True)
    return SweepRead(sweep=sweep, trials=trials, steps=steps)


def compare_sweeps(sweeps: Sequence[SweepRead]) -> Comparison:
    """Put sweeps of one metric side by side.

    Args:
        sweeps: At least one.

    Raises:
        SpecError: They rank their trials by different metrics, or in different directions.
    """
    first = sweeps[0].sweep
    for other in sweeps[1:]:
        if (other.sweep.metric, other.sweep.sign) != (first.metric, first.sign):
            what = " and ".join(f"'{each.name}' ranks by {_goal(each)}" for each in (first, other.sweep))
            raise SpecError(f"{what}: their values can't be compared. Name sweeps of one metric and goal.")
    last = [each.steps[-1] if each.steps else None for each in sweeps]
    equal_epochs = min(step.epochs if step else 0 for step in last)
    equal_s = min(step.seconds if step else 0.0 for step in last)
    return Comparison(
        metric=first.metric,
        is_minimized=first.sign > 0,
        equal_epochs=equal_epochs,
        equal_s=equal_s,
        rows=tuple(_row(each, equal_epochs=equal_epochs, equal_s=equal_s) for each in sweeps),
    )


def _row(read: SweepRead, *, equal_epochs: int, equal_s: float) -> Compared:
    spent = [trial for trial in read.trials if trial.state != "reused"]
    last = read.steps[-1] if read.steps else None
    at_epochs = [step.value for step in read.steps if 0 < step.epochs <= equal_epochs]
    in_time = [step.value for step in read.steps if step.seconds <= equal_s]
    return Compared(
        sweep=read.sweep.name,
        method=_method(read.sweep),
        state=read.sweep.state,
        trials=len(read.trials),
        failed=sum(trial.state == "failed" for trial in read.trials),
        epochs=sum(trial.epochs_trained for trial in spent),
        training_s=sum(trial.duration_s or 0.0 for trial in spent),
        best=last.value if last else None,
        best_trial=last.trial if last else None,
        best_at_equal_epochs=at_epochs[-1] if at_epochs else None,
        best_at_equal_time=in_time[-1] if in_time else None,
    )


def _goal(sweep: SweepRecord) -> str:
    return f"{sweep.metric} ({sweep.spec['metric']['goal']})"


def _method(sweep: SweepRecord) -> str:
    """As `optuna/tpe + asha`."""
    spec = sweep.spec
    sampler = f"/{spec['sampler']}" if spec.get("sampler") else ""
    rule = spec["early_terminate"]["type"]
    return f"{spec['method']}{sampler}" + ("" if rule == "none" else f" + {rule}")
