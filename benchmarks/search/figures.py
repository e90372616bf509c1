"""Statistics of cells: means with intervals, ranks and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, wilcoxon

NUM_RESAMPLES = 1000
"""Number of bootstrap samples of an interval."""

Block = tuple[str, int]
"""Table and seed, on which all methods are compared."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method at one budget."""

    mean: float
    """Mean normalised regret; all tables have the same weight."""
    low: float
    """Lower end of the 95 % bootstrap interval of the mean; seeds are resampled within each table."""
    high: float
    """Upper end of the interval."""
    rank: float
    """Mean rank among the methods; 1 is best, and ties share the mean of their ranks."""
    num_blocks: int
    """Number of pairs of table and seed."""
    p_value: float | None
    """Two-sided Wilcoxon signed-rank test against the reference on the same blocks; None for the reference itself."""


def standings(regrets: Mapping[str, Mapping[Block, float]], reference: str) -> dict[str, Standing]:
    """The statistics of all methods at one budget.

    Args:
        regrets: Method to block to regret; only blocks that all methods have are used.
        reference: The method against which the others are tested.
    """
    blocks = sorted(set.intersection(*(set(each) for each in regrets.values())))
    table = np.array([[each[block] for block in blocks] for each in regrets.values()])  # (method, block)
    weights = _weights(blocks)
    ranks = (np.apply_along_axis(rankdata, 0, table) * weights).sum(1)
    row = list(regrets).index(reference)
    found = {}
    for number, name in enumerate(regrets):
        low, high = _interval(table[number], blocks)
        found[name] = Standing(
            mean=float((table[number] * weights).sum()),
            low=low,
            high=high,
            rank=float(ranks[number]),
            num_blocks=len(blocks),
            p_value=None if number == row else _p_value(table[number], table[row]),
        )
    return found


def _weights(blocks: Sequence[Block]) -> np.ndarray:
    names = [name for name, _ in blocks]
    weights = np.array([1 / names.count(name) for name in names])
    return np.asarray(weights / weights.sum())


def _interval(values: np.ndarray, blocks: Sequence[Block]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    names = np.array([name for name, _ in blocks])
    means = [
        rng.choice(values[names == name], (NUM_RESAMPLES, int((names == name).sum()))).mean(1)
        for name in sorted(set(names))
    ]
    low, high = np.percentile(np.mean(means, axis=0), (2.5, 97.5))
    return float(low), float(high)


def _p_value(values: np.ndarray, others: np.ndarray) -> float:
    return 1.0 if np.allclose(values, others) else float(wilcoxon(values, others, zero_method="zsplit").pvalue)
