"""PED-ANOVA over arrays: which parameters decide whether a trial is among the best.

The numbers are those of `optuna.importance.PedAnovaImportanceEvaluator`, which a test compares; but many weightings of
the trials are computed at once, as a bootstrap needs them.

A parameter is important if its values among the best trials are distributed differently from those among all trials:
its importance is the Pearson divergence of two kernel density estimates on a grid of at most 50 cells. A conditional
parameter is compared among the trials where it is active, weighted by their share of the best trials.

Source:
    Watanabe et al., "PED-ANOVA", arXiv:2304.10255; Kinoshita et al., "Conditional PED-ANOVA", arXiv:2601.20800.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_CELLS = 50
"""Cells of the grid that a range is divided into."""
MIN_ACTIVE = 2
"""Trials in which a parameter must be active; with fewer its importance is 0."""
MIN_SIGMA = 0.5 / 1.64
"""Narrowest kernel, in cells: nine tenths of it lie in its own cell."""
EPSILON = 1e-12
"""Added to each density, so that none is zero."""


@dataclass(frozen=True, kw_only=True)
class Binned:
    """One parameter's values, put on a grid."""

    cells: NDArray[np.int64]
    """Cell of each trial, from 0; -1 where the parameter is inactive. (trial,)"""
    num_cells: int
    """Number of cells, at least 2."""
    is_ordered: bool
    """Whether the cells are parts of a range; if not, they are choices without an order."""


def divergences(parameters: list[Binned], losses: Floats, weights: Floats, *, quantile: float) -> Floats:
    """Importances, not normalised, for each weighting of the trials and each parameter.

    Args:
        parameters: The values of each parameter.
        losses: Finite, lower is better. (trial,), or different ones for each weighting, (weighting, trial)
        weights: How often each trial counts; whole numbers, with the same sum in each row. (weighting, trial)
        quantile: Share of the trials that are the best ones, in (0, 1).

    Returns:
        float64, (weighting, parameter), at least 0.
    """
    best = weights * _is_best(np.atleast_2d(losses), weights, quantile)
    return np.stack([_divergence(each, best, weights) for each in parameters], axis=1)


def by_chance(parameters: list[Binned], weights: Floats, *, quantile: float) -> Floats:
    """The mean of `divergences` over all weightings, where the best trials are a random choice. (parameter,)

    It is more than 0, and grows with the number of cells and with fewer best trials: if it were not subtracted, a range
    without any effect would outrank a choice with a small one.
    """
    lots = np.random.default_rng(0).permuted(np.tile(np.arange(weights.shape[1]), (len(weights), 1)), axis=1)
    level: Floats = divergences(parameters, lots.astype(float), weights, quantile=quantile).mean(axis=0)
    return level


def cells_of_range(shares: Floats, num_cells: int) -> NDArray[np.int64]:
    """The nearest cells of values given as shares of their range, in [0, 1]; the lower of two equally near ones."""
    nearest = np.ceil(shares * (num_cells - 1) - 0.5).astype(np.int64)
    return np.clip(nearest, 0, num_cells - 1)


def _is_best(losses: Floats, weights: Floats, quantile: float) -> NDArray[np.bool_]:
    """Which trials are among the best of each weighting, ties included. (weighting, trial)"""
    order = np.argsort(losses, axis=1, kind="stable")
    order, losses = np.broadcast_to(order, weights.shape), np.broadcast_to(losses, weights.shape)
    counts = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    last = np.argmax(counts >= np.ceil(quantile * counts[:, -1:]), axis=1)[:, None]
    cutoff = np.take_along_axis(losses, np.take_along_axis(order, last, axis=1), axis=1)
    return losses <= cutoff


def _divergence(parameter: Binned, best: Floats, weights: Floats) -> Floats:
    is_active = parameter.cells >= 0
    one_hot = np.eye(parameter.num_cells)[parameter.cells[is_active]]
    among_best, among_all = best[:, is_active] @ one_hot, weights[:, is_active] @ one_hot
    num_best, num_all = among_best.sum(axis=1), among_all.sum(axis=1)
    can_tell = (num_best > 0) & (num_all >= MIN_ACTIVE)
    found = np.zeros(len(weights))
    if can_tell.any():
        density = _smooth if parameter.is_ordered else _shrunk
        here, there = (density(counts[can_tell]) + EPSILON for counts in (among_best, among_all))
        pearson = (there * (here / there - 1) ** 2).sum(axis=1)
        share_of_best = num_best[can_tell] / best[can_tell].sum(axis=1)
        share_of_all = num_all[can_tell] / weights[can_tell].sum(axis=1)
        found[can_tell] = share_of_best**2 / share_of_all * pearson
    return found


def _shrunk(counts: Floats) -> Floats:
    """Shares of choices, shrunk towards equal ones by a kernel for each choice that occurs. (weighting, cell)"""
    num_cells, total = counts.shape[1], counts.sum(axis=1, keepdims=True)
    lent = 1 / ((counts > 0).sum(axis=1, keepdims=True) + 1)
    kernels = (total * lent + counts) / (num_cells * lent + 1)
    shares: Floats = (kernels + 1 / num_cells) / (total + 1)
    return shares


def _smooth(counts: Floats) -> Floats:
    """Shares of the cells of a range, smoothed by normal kernels of Scott's width. (weighting, cell)"""
    num_cells, total = counts.shape[1], counts.sum(axis=1, keepdims=True)
    kernels = _kernels(_scott_sigma(counts), np.arange(num_cells), num_cells)
    prior = _kernels(np.array([float(num_cells)]), np.array([(num_cells - 1) / 2]), num_cells)
    mixed: Floats = np.einsum("wi,wij->wj", counts, kernels) + prior[:, 0]
    mixed /= total + 1
    return mixed


def _scott_sigma(counts: Floats) -> Floats:
    """Width of the kernels, in cells, by Scott's rule. (weighting,)"""
    at, total = np.arange(counts.shape[1]), counts.sum(axis=1)
    mean = counts @ at / total
    variance = (counts * (at - mean[:, None]) ** 2).sum(axis=1) / np.maximum(total - 1, 1)
    below = np.cumsum(counts, axis=1)
    first_quarter = np.argmax((counts > 0) & (below >= (total // 4)[:, None]), axis=1)
    third_quarter = np.argmax(below > (total * 3 // 4)[:, None], axis=1)
    spread = np.minimum((third_quarter - first_quarter) / 1.34, np.sqrt(variance))
    sigma: Floats = np.maximum(1.059 * spread * total**-0.2, MIN_SIGMA)
    return sigma


def _kernels(sigma: Floats, centres: NDArray[Any], num_cells: int) -> Floats:
    """Mass of each cell in a truncated normal distribution about each centre. (weighting, centre, cell)"""
    distances, where = np.unique(np.arange(num_cells + 1) - 0.5 - centres[:, None], return_inverse=True)
    below = _cumulative(distances / sigma[:, None])[:, where.reshape(len(centres), num_cells + 1)]
    masses: Floats = np.diff(below, axis=2)
    masses /= masses.sum(axis=2, keepdims=True)
    return masses


def _cumulative(x: Floats) -> Floats:
    """The standard normal distribution function."""
    error: Floats = np.asarray(np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)), dtype=np.float64)
    share: Floats = (1 + error) / 2
    return share
