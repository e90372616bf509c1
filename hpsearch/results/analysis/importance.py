"""Importance of parameters: PED-ANOVA at a common epoch, with intervals by bootstrap.

Under a stopping rule, finished trials are few and alike in the parameters that matter, so that they alone say little.
So trials are compared at the last epoch that nine tenths of them reached (`common_epoch.common_epoch`), stopped ones
included. The value that a random choice of best trials would give is subtracted. NumPy is needed, Optuna is not; see
`ped_anova.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.results.analysis.common_epoch import common_epoch
from hpsearch.results.analysis.curves import learning_curves
from hpsearch.results.analysis.ped_anova import MAX_CELLS, Binned, Floats, by_chance, cells_of_range, divergences
from hpsearch.search.coding import Coding, num_codes
from hpsearch.space.space import Choice, Integer, Searched, Shaped, Space
from hpsearch.spec.sweep import Sweep

MIN_TRIALS = 10
"""Number of trials at the common epoch below which no importance is given."""
BEST_SHARE = 0.15
"""Share of the trials that count as the best ones. Why not a tenth: docs/decisions/0036."""
MIN_BEST = 10
"""Least number of trials that count as the best ones, unless that is more than half of all."""
NUM_RESAMPLES = 200
"""Resamples of the bootstrap."""
NUM_RANDOM_CHOICES = 100
"""Random choices of best trials, which give the importance that arises by chance."""
INTERVAL = (0.05, 0.95)
"""Quantiles of the resampled importances that the interval reaches from and to."""


@dataclass(frozen=True, kw_only=True)
class ImportanceRow:
    """The importance of one parameter."""

    parameter: str
    """Dotted name."""
    importance: float
    """Its share of the sum of all importances, from 0 to 1."""
    low: float
    """Lower end of the interval that has the share in nine of ten bootstrap resamples."""
    high: float
    """Upper end of that interval."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each parameter matters, and which trials this is based on."""

    epoch: int | None
    """Trials are compared by their best value up to here; None before the first report."""
    num_trials: int
    """Trials that were compared."""
    num_failed: int
    """Failed trials, which are left out."""
    rows: tuple[ImportanceRow, ...]
    """The most important parameter first; empty if nothing can be said, and `sentence` says why."""

    @property
    def sentence(self) -> str:
        """What the numbers are based on, or why there are none."""
        left_out = f"; {self.num_failed} failed ones are left out" if self.num_failed else ""
        if self.num_trials < MIN_TRIALS:
            return f"Importance needs {MIN_TRIALS} trials at a common epoch; there are {self.num_trials}{left_out}."
        if not self.rows:
            return f"No parameter makes a difference among the {self.num_trials} trials{left_out}."
        return f"PED-ANOVA at epoch {self.epoch} over {self.num_trials} trials{left_out}."


def importance(
    sweep: SweepRecord,
    trials: Iterable[TrialRecord],
    reports: Iterable[ReportRecord],
    *,
    space: Space | None = None,
) -> Importance:
    """How much each parameter that varies decides whether a trial is among the best, beyond what chance gives.

    Computed parameters and constants have no importance, since they follow from the others. The same trials give the
    same numbers.

    Args:
        sweep: The sweep.
        trials: All its trials.
        reports: All its reports.
        space: Its search space; None to parse it from the stored spec.
    """
    trials = list(trials)
    curves = learning_curves(sweep, trials, reports)
    epoch = common_epoch(curves)
    coding = Coding(Sweep.from_stored(sweep.spec).space if space is None else space)
    coded, losses = [], []
    for trial, curve in zip(trials, curves, strict=True):
        value = None if epoch is None or trial.state == "failed" else curve.best_until(epoch)
        codes = None if value is None else coding.encode(dict(trial.point))
        if codes is not None and value is not None:
            coded.append(codes)
            losses.append(sweep.sign * value)
    return Importance(
        epoch=epoch,
        num_trials=len(losses),
        num_failed=sum(trial.state == "failed" for trial in trials),
        rows=_rows(coding.domains, coded, np.array(losses)) if len(losses) >= MIN_TRIALS else (),
    )


def binned(domain: Searched, codes: Sequence[float | None]) -> Binned:
    """A parameter's codes on the grid that Optuna would use.

    Args:
        domain: The parameter.
        codes: Its code in each trial; None where it is inactive. (trial,)
    """
    inactive = np.array([code is None for code in codes])
    values = np.array([np.nan if code is None else float(code) for code in codes])
    low, high, num_cells, is_log = _grid(domain)
    if is_log:
        values, low, high = np.log(values), log(low), log(high)
    shares = np.where(inactive, 0.0, (values - low) / (high - low))
    cells = cells_of_range(shares, num_cells)
    return Binned(cells=np.where(inactive, -1, cells), num_cells=num_cells, is_ordered=not isinstance(domain, Choice))


def _grid(domain: Searched) -> tuple[float, float, int, bool]:
    """(First code, last code, number of cells, whether the scale is logarithmic)."""
    if isinstance(domain, Choice):
        return 0, domain.size - 1, domain.size, False
    if (size := num_codes(domain)) is not None:
        return 0, size - 1, min(size, MAX_CELLS), False
    if isinstance(domain, Shaped):
        return 0.0, 1.0, MAX_CELLS, False
    if isinstance(domain, Integer):
        return domain.min, domain.max, min(ceil(log(domain.max - domain.min + 1) / log(2)) + 1, MAX_CELLS), True
    return domain.min, domain.max, MAX_CELLS, domain.log


def _rows(
    domains: Mapping[str, Searched], coded: Sequence[Mapping[str, float]], losses: Floats
) -> tuple[ImportanceRow, ...]:
    columns = {name: [codes.get(name) for codes in coded] for name in domains}
    varying = [name for name, column in columns.items() if len(set(column) - {None}) > 1]
    if not varying or np.ptp(losses) == 0:
        return ()
    parameters = [binned(domains[name], columns[name]) for name in varying]
    quantile = max(BEST_SHARE, min(MIN_BEST, len(losses) / 2) / len(losses))
    as_they_are = np.ones((NUM_RANDOM_CHOICES, len(losses)))
    share = _shares(parameters, losses, as_they_are[:1], chance_over=as_they_are, quantile=quantile)[0]
    resamples = _resamples(len(losses))
    shares = _shares(parameters, losses, resamples, chance_over=resamples[:NUM_RANDOM_CHOICES], quantile=quantile)
    low, high = np.quantile(shares, INTERVAL, axis=0)
    rows = [
        ImportanceRow(parameter=name, importance=float(value), low=float(min(a, value)), high=float(max(b, value)))
        for name, value, a, b in zip(varying, share, low, high, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: -row.importance))


def _resamples(num_trials: int) -> Floats:
    """How often each trial was drawn with replacement. (resample, trial)"""
    return np.random.default_rng(0).multinomial(num_trials, [1 / num_trials] * num_trials, NUM_RESAMPLES).astype(float)


def _shares(
    parameters: list[Binned], losses: Floats, weights: Floats, *, chance_over: Floats, quantile: float
) -> Floats:
    """Importances beyond what chance gives, which sum to 1 in each row or are all 0. (weighting, parameter)"""
    found = divergences(parameters, losses, weights, quantile=quantile)
    found = np.maximum(found - by_chance(parameters, chance_over, quantile=quantile), 0.0)
    total = found.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
    return shares
