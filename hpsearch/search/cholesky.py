"""Linear systems of a few hundred unknowns, in blocks so small that no linear algebra library starts threads for them.

The driver shares its machine with the trials. There, the threads of OpenBLAS wait for each other, and spin for a while
after: `numpy.linalg.solve` of 256 unknowns took 67 ms and 32 ms of CPU on two busy cores instead of 1 ms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Rows of a block. With 64, the product of two blocks and all that is left of them was large enough for threads."""

Array = NDArray[np.float64]


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
