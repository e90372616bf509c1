"""What can be handed to `fit(metrics=...)`: functions of one batch's outputs and targets.

Each returns one value a sample, or their mean; `fit` weighs batches by their size, so that the mean over all samples is
exact. What is no mean over samples, as an area under a curve, can't be put together from batches.
"""

from __future__ import annotations

from torch import Tensor


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the highest score is that of the right class.

    Args:
        outputs: Scores, (batch, class), of any scale.
        targets: Class numbers, (batch,).

    Returns:
        bool, (batch,).
    """
    return outputs.argmax(dim=1) == targets
