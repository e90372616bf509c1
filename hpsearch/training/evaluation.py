"""A model's loss and metrics over the validation set, exact over ranks, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hpsearch.training.data import Loader
from hpsearch.training.parallel import copy_from_rank_0
from hpsearch.training.precision import autocast
from hpsearch.training.step import Learner

Metric = Callable[[Any, Any], Any]
"""(outputs, targets) of a batch to one number a sample, or to their mean."""


def evaluate(learner: Learner, loader: Loader, metrics: Mapping[str, Metric]) -> Tensor:
    """Sums over this rank's samples: the loss, then each metric; float64, (1 + metrics,), on the device."""
    model = learner.evaluated
    model.eval()
    copy_from_rank_0(model.buffers())
    total = torch.zeros(1 + len(metrics), dtype=torch.float64, device=learner.device)
    with torch.no_grad():  # not inference_mode: what a model caches there can't be used in training
        for batch in loader:
            inputs, targets = learner.to_device(batch)
            with autocast(learner.precision, learner.device):
                outputs = model(inputs)
                values = [of(outputs, targets) for of in (learner.loss, *metrics.values())]
            total += torch.stack([_mean(value, learner.device) for value in values]) * batch.num_samples
    return total


def _mean(value: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=device).mean()
