"""The regression of `failure_model.py`: a Gaussian process on the unit cube; failed trials have label 1, others 0.

The length scale of each axis is chosen by the marginal likelihood, so that a limit on one parameter of ten is seen
after a few failures, whatever its shape. docs/decisions/0028 has what it was measured against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

LENGTH_SCALES = (0.15, 0.4, 1.0, 4.0)
"""Candidates, in sides of the unit cube: from a narrow gap to a parameter that does not matter."""
PRIOR_RISK = 0.5
"""Upper bound of the mean: a point far from all trials is not likely to fail, even where most of them failed."""
SIGNAL, NOISE = 0.25, 0.03
"""Variances: of labels 0 and 1, and of failures that no configuration explains."""

BLOCK = 32
"""Rows of a block of the Cholesky decomposition. With 64, the products were large enough for BLAS to use several
threads, which wait for each other on a busy machine: docs/decisions/0028."""

Array = NDArray[np.float64]
LengthScales = Array
"""The length scale of each axis: float64, (axis,)."""
Coordinates = Sequence[Sequence[float]]
"""Points in the unit cube, (point, axis); -1 on the axis of an inactive parameter."""


@final
class CachedKernel:
    """The correlations, in [0, 1], of trials with each other and with the points of a sample, for fixed length scales.

    Each pair is computed once: if one trial is added or replaced, only the pairs of that trial are computed.
    """

    def __init__(self, length_scales: LengthScales, unordered: Sequence[bool], sample: Coordinates) -> None:
        """Make a kernel without trials.

        Args:
            length_scales: (axis,), above 0, in sides of the unit cube.
            unordered: For each axis, whether all different values are equally far from each other.
            sample: Points for which `sample_to_trials` is kept.
        """
        self.length_scales = length_scales
        self._unordered = np.array(unordered)
        self._sample = np.array(sample).reshape(-1, len(length_scales))
        self._trials = np.empty((0, len(length_scales)))
        self._numbers: tuple[int, ...] = ()
        self.between_trials = np.empty((0, 0))
        """Correlations of the trials with each other: float64, (trial, trial)."""
        self.sample_to_trials = np.empty((len(self._sample), 0))
        """Correlations of the sample's points with the trials: float64, (point of the sample, trial)."""

    def set_trials(self, numbers: tuple[int, ...], points: Coordinates) -> None:
        """Replace the trials by these; a trial that is kept, by its number, must have the same point as before."""
        before = {number: position for position, number in enumerate(self._numbers)}
        kept = [position for position, number in enumerate(numbers) if number in before]
        new = [position for position, number in enumerate(numbers) if number not in before]
        were = [before[numbers[position]] for position in kept]
        self._numbers, self._trials = numbers, np.array(points)
        between_trials = np.empty((len(numbers), len(numbers)))
        between_trials[np.ix_(kept, kept)] = self.between_trials[np.ix_(were, were)]
        between_trials[new] = self.to_trials(self._trials[new])
        between_trials[:, new] = between_trials[new].T
        sample_to_trials = np.empty((len(self._sample), len(numbers)))
        sample_to_trials[:, kept] = self.sample_to_trials[:, were]
        sample_to_trials[:, new] = self._between(self._sample, self._trials[new])
        self.between_trials, self.sample_to_trials = between_trials, sample_to_trials

    def to_trials(self, points: Array) -> Array:
        """Correlations of any points, (point, axis), with the trials: (point, trial). They are not cached."""
        return self._between(points, self._trials)

    def _between(self, points: Array, others: Array) -> Array:
        squares = _squares(points[:, None], others, self._unordered)
        return np.asarray(np.exp(-0.5 * squares @ self.length_scales**-2))


@final
class GaussianProcess:
    """A Gaussian process fitted to trials, of which only the mean is computed.

    Source:
        Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
    """

    def __init__(self, kernel: CachedKernel, labels: Sequence[float]) -> None:
        """Fit the process.

        Args:
            kernel: A kernel with at least one trial; must not change while the process is in use.
            labels: 1 for a failure, else 0; one for each trial.
        """
        self._kernel = kernel
        self._mean, residuals = _residuals(labels)
        self._weights = solve(SIGNAL * kernel.between_trials + NOISE * np.eye(len(residuals)), residuals)

    def risk(self, point: Sequence[float]) -> float:
        """How likely a point (axis,) is to fail, in [0, 1]."""
        return float(self._risks(self._kernel.to_trials(np.array([point])))[0])

    def risks_of_sample(self) -> Array:
        """How likely each point of the kernel's sample is to fail, in [0, 1]; (point of the sample,)."""
        return self._risks(self._kernel.sample_to_trials)

    def _risks(self, correlations: Array) -> Array:
        return np.asarray(np.clip(self._mean + SIGNAL * correlations @ self._weights, 0.0, 1.0))


def choose_length_scales(points: Coordinates, labels: Sequence[float], unordered: Sequence[bool]) -> LengthScales:
    """The length scale of each axis by the marginal likelihood, one axis after the other, in two rounds.

    Args:
        points: The points of the trials, at least one.
        labels: 1 for a failure, else 0; one for each trial.
        unordered: For each axis, whether all different values are equally far from each other.
    """
    table = np.array(points)
    squares = _squares(table[:, None], table, np.array(unordered))
    _, residuals = _residuals(labels)
    scales = np.ones(table.shape[1])
    best = _likelihood(squares, scales, residuals)
    for axis in [*range(len(scales))] * 2:
        for scale in LENGTH_SCALES:
            tried = scales.copy()
            tried[axis] = scale
            likelihood = _likelihood(squares, tried, residuals)
            if likelihood > best + 1e-9:
                best, scales = likelihood, tried
    return scales


def _residuals(labels: Sequence[float]) -> tuple[float, Array]:
    mean = min(sum(labels) / len(labels), PRIOR_RISK)
    return mean, np.array(labels) - mean


def _squares(a: Array, b: Array, unordered: NDArray[np.bool_]) -> Array:
    """Squared distances along each axis, which is the last one of the result."""
    squares = (a - b) ** 2
    squares[..., unordered] = squares[..., unordered] > 0
    return squares


def _likelihood(squares: Array, length_scales: LengthScales, residuals: Array) -> float:
    """Logarithm of the marginal likelihood, without its constant."""
    root = cholesky(_covariance(squares @ length_scales**-2))
    white = solve_lower(root, residuals)
    return float(-0.5 * white @ white - np.log(np.diag(root)).sum())


def _covariance(squares: Array) -> Array:
    return np.asarray(SIGNAL * np.exp(-0.5 * squares) + NOISE * np.eye(len(squares)))


def cholesky(matrix: Array) -> Array:
    """The lower triangle L of L L' = matrix, block by block.

    Args:
        matrix: float64, (n, n), symmetric and positive definite.

    Raises:
        numpy.linalg.LinAlgError: It is not positive definite.
    """
    lower = np.zeros_like(matrix)
    for rows in _blocks(len(matrix)):
        left = lower[rows, : rows.start]
        lower[rows, rows] = np.linalg.cholesky(matrix[rows, rows] - left @ left.T)
        inverse = np.linalg.inv(lower[rows, rows])
        for below in _blocks(len(matrix), first=rows.stop):
            lower[below, rows] = (matrix[below, rows] - lower[below, : rows.start] @ left.T) @ inverse.T
    return lower


def solve_lower(lower: Array, values: Array) -> Array:
    """The x of L x = values, L being a lower triangle (n, n); values and x are (n,)."""
    found = np.zeros_like(values)
    for rows in _blocks(len(lower)):
        left = lower[rows, : rows.start] @ found[: rows.start]
        found[rows] = np.linalg.solve(lower[rows, rows], values[rows] - left)
    return found


def solve(matrix: Array, values: Array) -> Array:
    """The x of matrix x = values; the matrix is as for `cholesky`, values and x are (n,)."""
    lower = cholesky(matrix)
    halfway, found = solve_lower(lower, values), np.zeros_like(values)
    for rows in reversed(list(_blocks(len(lower)))):
        right = lower[rows.stop :, rows].T @ found[rows.stop :]
        found[rows] = np.linalg.solve(lower[rows, rows].T, halfway[rows] - right)
    return found


def _blocks(size: int, *, first: int = 0) -> Iterable[slice]:
    return (slice(start, min(start + BLOCK, size)) for start in range(first, size, BLOCK))
