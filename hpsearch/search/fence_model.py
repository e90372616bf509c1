"""The model of the fence: a Gaussian process that regresses 1 (failed) and 0 (did not) on the unit cube.

Its length along each axis is chosen by the marginal likelihood, so that a fence across one parameter of ten is seen
after a few failures, whatever its shape. `docs/decisions/0028` has what was measured against it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
Places = Sequence[Sequence[float]]
"""(trial, axis), in the unit cube."""


@final
class FenceModel:
    """A Gaussian process with everything worked out but for the place that is asked for."""

    def __init__(self, places: Places, labels: Sequence[float], unordered: Sequence[bool], lengths: Lengths) -> None:
        """Learn.

        Args:
            places: Of the trials, at least one.
            labels: 1 for a failure, 0 for none; one for each trial.
            unordered: Of each axis, whether all its values are equally far from each other.
            lengths: Of each axis.
        """
        self._places, self._unordered, self._lengths = np.array(places), np.array(unordered), lengths
        self._mean, residuals = _residuals(labels)
        squares = _squares(self._places[:, None], self._places, self._unordered)
        self._weights = np.linalg.solve(_covariance(squares @ lengths**-2), residuals)

    def risk(self, place: Sequence[float]) -> float:
        """How likely a place is to fail, in [0, 1]."""
        return float(self.risks([place])[0])

    def risks(self, places: Places) -> Array:
        """(place,): how likely each is to fail, in [0, 1]."""
        squares = _squares(np.array(places)[:, None], self._places, self._unordered)
        risks = self._mean + SIGNAL * np.exp(-0.5 * squares @ self._lengths**-2) @ self._weights
        return np.asarray(np.clip(risks, 0.0, 1.0))


def choose_lengths(places: Places, labels: Sequence[float], unordered: Sequence[bool]) -> Lengths:
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
    root = np.linalg.cholesky(_covariance(squares @ lengths**-2))
    white = np.linalg.solve(root, residuals)
    return float(-0.5 * white @ white - np.log(np.diag(root)).sum())


def _covariance(squares: Array) -> Array:
    return np.asarray(SIGNAL * np.exp(-0.5 * squares) + NOISE * np.eye(len(squares)))
