"""The loss and metrics of a model on the validation set, without gradients: exact means over all ranks."""

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
"""Called with (outputs, targets) of a batch; returns one value per sample, (batch,), or their mean, a scalar."""


def evaluate(learner: Learner, loader: Loader, metrics: Mapping[str, Metric], micro_batch: MicroBatch) -> Tensor:
    """Sum the loss and the metrics over this rank's samples.

    Args:
        learner: The model, its loss and its device.
        loader: This rank's batches of the validation set.
        metrics: Name to metric.
        micro_batch: Size of a forward pass. If it ran out of memory afterwards, the sums are incomplete and must not
            be used.

    Returns:
        The sum of the loss, then of each metric: float64, (1 + number of metrics,), on the learner's device.
    """
    model = learner.eval_model
    model.eval()
    columns = [learner.loss, *metrics.values()]
    total = torch.zeros(len(columns), dtype=torch.float64, device=learner.device)
    with torch.no_grad():  # not inference_mode: tensors that a model caches there can't be used in training
        for batch in loader:
            sums = micro_batch.run(_sums, learner, model, columns, batch, micro_batch.size)
            if sums is None:
                break
            total += sums
    return total


def _sums(learner: Learner, model: nn.Module, columns: list[Metric], batch: Batch, size: int) -> Tensor:
    """The sums of one batch, computed in micro-batches of `size` samples; float64, (number of columns,)."""
    total = torch.zeros(len(columns), dtype=torch.float64, device=learner.device)
    for inputs, targets, num_samples in learner.micro_batches(batch, size):
        with autocast(learner.precision, learner.device):
            outputs = model(inputs)
            values = [column(outputs, targets) for column in columns]
        total += torch.stack([_mean(value, learner.device) for value in values]) * num_samples
    return total


def _mean(value: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=device).mean()
