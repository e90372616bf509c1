"""Compares sweeps by what each spent, its best value, and its best value at equal budgets; data for tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.errors import SpecError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.results.analysis.curves import Step, best_value_steps
from hpsearch.text import counted


@dataclass(frozen=True, kw_only=True)
class SweepRead:
    """One sweep as the comparison needs it."""

    sweep: SweepRecord
    """The sweep."""
    trials: Sequence[TrialRecord]
    """All its trials."""
    steps: Sequence[Step]
    """The best value so far; reused epochs count as trained, or a sweep that reuses many would look too good."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row of the table of sweeps; its columns are described in `columns.COMPARE` too."""

    sweep: str
    """Name of the sweep."""
    method: str
    """Search method, with its sampler and its stopping rule."""
    state: str
    """State of the sweep."""
    trials: int
    """Trials in the ledger."""
    failed: int
    """Trials that failed."""
    epochs: int
    """Epochs trained, over all trials but reused ones."""
    training_s: float
    """Seconds of training, summed over all trials but reused ones."""
    best: float | None
    """Best value of the objective; None before the first report."""
    best_trial: int | None
    """Number of the trial with that value."""
    best_at_equal_epochs: float | None
    """Best value after `Comparison.equal_epochs`; None if there was none by then."""
    best_at_equal_time: float | None
    """Best value after `Comparison.equal_s`; None if there was none by then."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sweeps with the same objective, compared."""

    metric: str
    """Name of the objective."""
    is_minimized: bool
    """Whether lower is better."""
    equal_epochs: int
    """Epochs of the sweep with the fewest, over all its trials; 0 if a sweep has none yet."""
    equal_s: float
    """Seconds of training of the sweep with the fewest, over all its trials."""
    rows: tuple[Compared, ...]
    """In the order in which the sweeps were named."""

    @property
    def sentence(self) -> str:
        """What the columns of equal budgets mean here, in one sentence."""
        goal = "lower" if self.is_minimized else "higher"
        if not self.equal_epochs:
            return f"{self.metric}, {goal} is better; one of the sweeps has no result yet, so there is no equal budget."
        budget = f"{counted(self.equal_epochs, 'epoch')}, {self.equal_s:.4g} s of training"
        return f"{self.metric}, {goal} is better; equal budgets: {budget}, reused trials counted as if trained."


def read_sweep(sweep: SweepRecord, trials: Sequence[TrialRecord], reports: Iterable[ReportRecord]) -> SweepRead:
    """Prepare one sweep for `compare_sweeps`; `reports` are in the order in which they arrived."""
    steps = best_value_steps(sweep, trials, reports, counts_reused=True)
    return SweepRead(sweep=sweep, trials=trials, steps=steps)


def compare_sweeps(sweeps: Sequence[SweepRead]) -> Comparison:
    """Compare sweeps with the same objective.

    Args:
        sweeps: At least one, as `read_sweep` gives them.

    Raises:
        SpecError: Their objectives or goals differ.
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
    """Method, sampler and stopping rule, such as `optuna/tpe + asha`."""
    spec = sweep.spec
    sampler = f"/{spec['sampler']}" if spec.get("sampler") else ""
    rule = spec["early_terminate"]["type"]
    return f"{spec['method']}{sampler}" + ("" if rule == "none" else f" + {rule}")
