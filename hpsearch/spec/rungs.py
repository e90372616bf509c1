"""Rungs: the epochs after which a successive-halving rule compares trials. What a rule does there is in `stopping/`."""

from __future__ import annotations

from hpsearch.errors import SpecError

MAX_EPOCHS = 10_000_000
"""Upper bound of the rungs of a sweep whose trainable decides on the number of epochs."""


def rung_epochs(*, min_epochs: int, max_epochs: int | None, eta: int) -> tuple[int, ...]:
    """Epochs after which ASHA may stop a trial, earliest first.

    The last epoch is left out: a trial that gets there is finished, so stopping it saves nothing.

    Args:
        min_epochs: Epochs that no trial is stopped before; at least 1.
        max_epochs: Epochs of a full trial, at least min_epochs; None if unknown, for rungs up to ten million.
        eta: One trial in this many passes a rung; at least 2, no unit.

    Returns:
        Epoch counts, strictly rising, all in [min_epochs, max_epochs).

    Raises:
        SpecError: A value is out of range; the message names it and its limit.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934.

    Example:
        >>> rung_epochs(min_epochs=1, max_epochs=27, eta=3)
        (1, 3, 9)
    """
    if eta < 2:
        raise SpecError(f"eta must be at least 2, got {eta}.")
    if min_epochs < 1:
        raise SpecError(f"min_iter must be at least 1, got {min_epochs}.")
    last = MAX_EPOCHS if max_epochs is None else max_epochs
    if last < min_epochs:
        raise SpecError(f"the number of epochs must be at least min_iter {min_epochs}, got {last}.")
    rungs = []
    epoch = min_epochs
    while epoch < last:
        rungs.append(epoch)
        epoch *= eta
    return tuple(rungs)
