"""Metrics for `fit(metrics=...)`: functions of the outputs and targets of one batch.

Each returns one value per sample, or their mean. `fit` weights batches by their size, so the mean over all samples is
exact. A metric that is not a mean over samples, such as the area under a ROC curve, can't be computed this way.
"""

from __future__ import annotations

from torch import Tensor


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each sample's highest score is that of its class; the mean is the top-1 accuracy.

    Args:
        outputs: Scores (logits or probabilities), float, (batch, class).
        targets: Class indices, int64, (batch,), on the same device.

    Returns:
        bool, (batch,), on the same device.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor([ True, False])
    """
    return outputs.argmax(dim=1) == targets
