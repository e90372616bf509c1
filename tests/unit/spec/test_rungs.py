"""Which epochs are rungs."""

from __future__ import annotations

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.rungs import rung_epochs


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "expected"),
    [(1, 27, 3, (1, 3, 9)), (1, 28, 3, (1, 3, 9, 27)), (2, 50, 4, (2, 8, 32)), (5, 5, 2, ()), (3, 4, 1000, (3,))],
)
def test_rungs_grow_by_eta_and_stop_before_the_last_epoch(
    min_epochs: int, max_epochs: int, eta: int, expected: tuple[int, ...]
) -> None:
    assert rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta) == expected


def test_rungs_without_a_last_epoch_go_on_further_than_any_trial() -> None:
    rungs = rung_epochs(min_epochs=1, max_epochs=None, eta=10)
    assert rungs == (1, 10, 100, 1000, 10**4, 10**5, 10**6)


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "message"),
    [
        (1, 9, 1, "eta must be at least 2, got 1."),
        (0, 9, 3, "min_iter must be at least 1, got 0."),
        (10, 9, 3, "the number of epochs must be at least min_iter 10, got 9."),
    ],
)
def test_a_rung_that_cannot_be_is_refused(min_epochs: int, max_epochs: int, eta: int, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        rung_epochs(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta)
    assert str(refused.value) == message
