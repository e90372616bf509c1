"""The model of the fence: a Gaussian process that regresses 1 (failed) and 0 (did not) on the unit cube.

Its length along each axis is chosen by the marginal likelihood, so that a fence across one parameter of ten is seen
after a few failures, whatever its shape. `docs/decisions/0028` has what was measured against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

LENGTHS = (0.15, 0.4, 1.0, 4.0)
"""In sides of the unit cube: from a narrow gap to a parameter that does not matter."""
PRIOR_RISK = 0.5
"""What is far from all trials is not likely to fail, even where most of them failed."""
SIGNAL, NOISE = 0.25, 0.03
"""Variances: of labels 0 and 1, and of failures that no configuration explains."""

Array = NDArray[np.float64]
Lengths = Array
"""(axis,)"""
PendingPlacements = Sequence[Sequence[float]]
"""(trial, axis), in the unit cube."""


@final
class Likeness:
    """How alike trials are to each other and to the places of a sample, in [0, 1], under the lengths chosen for now.

    A pair is worked out once: with a trial more, or another among the last, only that trial's pairs are new.
    """

    def __init__(self, lengths: Lengths, unordered: Sequence[bool], sample: PendingPlacements) -> None:
        """Of no trial yet; `sample` is (place, axis), in the unit cube."""
        self.lengths = lengths
        self._unordered = np.array(unordered)
        self._sample = np.array(sample).reshape(-1, len(lengths))
        self._places = np.empty((0, len(lengths)))
        self._numbers: tuple[int, ...] = ()
        self.among = np.empty((0, 0))
        """(trial, trial)"""
        self.to_sample = np.empty((len(self._sample), 0))
        """(place of the sample, trial)"""

    def set_trials(self, numbers: tuple[int, ...], places: PendingPlacements) -> None:
        """Look at these trials from now on; a number that was there before has the place that it had."""
        before = {number: position for position, number in enumerate(self._numbers)}
        kept = [position for position, number in enumerate(numbers) if number in before]
        new = [position for position, number in enumerate(numbers) if number not in before]
        were = [before[numbers[position]] for position in kept]
        self._numbers, self._places = numbers, np.array(places)
        among = np.empty((len(numbers), len(numbers)))
        among[np.ix_(kept, kept)] = self.among[np.ix_(were, were)]
        among[new] = self.of(self._places[new])
        among[:, new] = among[new].T
        to_sample = np.empty((len(self._sample), len(numbers)))
        to_sample[:, kept] = self.to_sample[:, were]
        to_sample[:, new] = self._of(self._sample, self._places[new])
        self.among, self.to_sample = among, to_sample

    def of(self, places: Array) -> Array:
        """(place, trial): any places, which are not kept."""
        return self._of(places, self._places)

    def _of(self, places: Array, others: Array) -> Array:
        squares = _squares(places[:, None], others, self._unordered)
        return np.asarray(np.exp(-0.5 * squares @ self.lengths**-2))


@final
class FenceModel:
    """A Gaussian process with everything worked out but for the place that is asked for."""

    def __init__(self, likeness: Likeness, labels: Sequence[float]) -> None:
        """Learn.

        Args:
            likeness: Of the trials, at least one.
            labels: 1 for a failure, 0 for none; one for each trial.
        """
        self._likeness = likeness
        self._mean, residuals = _residuals(labels)
        self._weights = solve(SIGNAL * likeness.among + NOISE * np.eye(len(residuals)), residuals)

    def risk(self, place: Sequence[float]) -> float:
        """How likely a place is to fail, in [0, 1]."""
        return float(self._risks(self._likeness.of(np.array([place])))[0])

    def risks_of_sample(self) -> Array:
        """(place of the sample,): how likely each is to fail, in [0, 1]."""
        return self._risks(self._likeness.to_sample)

    def _risks(self, alike: Array) -> Array:
        return np.asarray(np.clip(self._mean + SIGNAL * alike @ self._weights, 0.0, 1.0))


def choose_lengths(places: PendingPlacements, labels: Sequence[float], unordered: Sequence[bool]) -> Lengths:
    """The length of each axis by the marginal likelihood, one axis after the other, two rounds at most.

    Args:
        places: As of the model.
        labels: As of the model.
        unordered: As of the model.
    """
    table = np.array(places)
    squares = _squares(table[:, None], table, np.array(unordered))
    _, residuals = _residuals(labels)
    lengths = np.ones(table.shape[1])
    best = _likelihood(squares, lengths, residuals)
    for axis in [*range(len(lengths))] * 2:
        for length in LENGTHS:
            tried = lengths.copy()
            tried[axis] = length
            likelihood = _likelihood(squares, tried, residuals)
            if likelihood > best + 1e-9:
                best, lengths = likelihood, tried
    return lengths


def _residuals(labels: Sequence[float]) -> tuple[float, Array]:
    mean = min(sum(labels) / len(labels), PRIOR_RISK)
    return mean, np.array(labels) - mean


def _squares(a: Array, b: Array, unordered: NDArray[np.bool_]) -> Array:
    """Squared distances along each axis, which comes last."""
    squares = (a - b) ** 2
    squares[..., unordered] = squares[..., unordered] > 0
    return squares


def _likelihood(squares: Array, lengths: Lengths, residuals: Array) -> float:
    """Logarithm of the marginal likelihood, but for its constant."""
    root = cholesky(_covariance(squares @ lengths**-2))
    white = solve_lower(root, residuals)
    return float(-0.5 * white @ white - np.log(np.diag(root)).sum())


def _covariance(squares: Array) -> Array:
    return np.asarray(SIGNAL * np.exp(-0.5 * squares) + NOISE * np.eye(len(squares)))


BLOCK = 32
"""Rows of a block. With 64, the product of two blocks and all that is left of them was large enough for threads."""


def cholesky(matrix: Array) -> Array:
    """The lower triangle L of L L' = matrix.

    Args:
        matrix: (n, n), symmetric and positive definite.

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
    """(n,): x of L x = values, L being a lower triangle."""
    found = np.zeros_like(values)
    for rows in _blocks(len(lower)):
        left = lower[rows, : rows.start] @ found[: rows.start]
        found[rows] = np.linalg.solve(lower[rows, rows], values[rows] - left)
    return found


def solve(matrix: Array, values: Array) -> Array:
    """(n,): x of matrix x = values; the matrix as for `cholesky`."""
    lower = cholesky(matrix)
    halfway, found = solve_lower(lower, values), np.zeros_like(values)
    for rows in reversed(list(_blocks(len(lower)))):
        right = lower[rows.stop :, rows].T @ found[rows.stop :]
        found[rows] = np.linalg.solve(lower[rows, rows].T, halfway[rows] - right)
    return found


def _blocks(size: int, *, first: int = 0) -> Iterable[slice]:
    return (slice(start, min(start + BLOCK, size)) for start in range(first, size, BLOCK))
