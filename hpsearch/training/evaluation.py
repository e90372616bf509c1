"""A model's loss and metrics over the validation set, exact over ranks, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpsearch.training.data.loaders import Batch, Loader
from hpsearch.training.oom import MicroBatch
from hpsearch.training.precision import autocast
from hpsearch.training.step import Learner

Metric = Callable[[Any, Any], Any]
"""(outputs, targets) of a batch to one number a sample, or to their mean."""


def evaluate(learner: Learner, loader: Loader, metrics: Mapping[str, Metric], micro_batch: MicroBatch) -> Tensor:
    """Sums over this rank's samples: the loss, then each metric; float64, (1 + metrics,), on the device.

    Where `micro_batch` says afterwards that it ran out of memory, they are of no use.
    """
    model = learner.eval_model
    model.eval()
    columns = [learner.loss, *metrics.values()]
    total = torch.zeros(len(columns), dtype=torch.float64, device=learner.device)
    with torch.no_grad():  # not inference_mode: what a model caches there can't be used in training
        for batch in loader:
            sums = micro_batch.run(_sums, learner, model, columns, batch, micro_batch.size)
            if sums is None:
                break
            total += sums
    return total


def _sums(learner: Learner, model: nn.Module, columns: list[Metric], batch: Batch, size: int) -> Tensor:
    total = torch.zeros(len(columns), dtype=torch.float64, device=learner.device)
    for inputs, targets, num_samples in learner.micro_batches(batch, size):
        with autocast(learner.precision, learner.device):
            outputs = model(inputs)
            values = [of(outputs, targets) for of in columns]
        total += torch.stack([_mean(value, learner.device) for value in values]) * num_samples
    return total


def _mean(value: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=device).mean()
