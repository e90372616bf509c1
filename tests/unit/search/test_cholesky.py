"""Linear systems in blocks give what the library gives."""

from __future__ import annotations

import numpy as np
import pytest

from hpsearch.search.failure_gp import BLOCK, cholesky, solve, solve_lower


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK])
def test_blocks_of_any_number_and_size_give_what_one_piece_does(size: int) -> None:
    rng = np.random.default_rng(size)
    root, values = rng.normal(size=(size, size)), rng.normal(size=size)
    matrix = root @ root.T + np.eye(size)
    lower = cholesky(matrix)
    assert lower == pytest.approx(np.linalg.cholesky(matrix))
    assert lower @ solve_lower(lower, values) == pytest.approx(values)
    assert matrix @ solve(matrix, values) == pytest.approx(values)


def test_a_matrix_that_is_not_positive_definite_is_refused_in_a_later_block_too() -> None:
    matrix = np.eye(2 * BLOCK)
    matrix[-1, -1] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(matrix)
