"""The training loop: one process or many, CPU or GPU, the same path.

Not here: which samples a step sees (`data.py`), how ranks talk (`parallel.py`), number formats (`precision.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import count
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from hpsearch.errors import InvalidConfig
from hpsearch.training.data import Batch, Loader, SizedDataset, make_loader
from hpsearch.training.parallel import copy_from_rank_0, sum_over_ranks, without_sync, wrap
from hpsearch.training.precision import autocast, make_scaler
from hpsearch.training.trial import TrialContext, current_trial

Loss = Callable[[Any, Any], Tensor]
"""(outputs, targets) of a batch to the mean of its samples' losses, a scalar tensor."""
Metric = Callable[[Any, Any], Any]
"""(outputs, targets) of a batch to one number a sample, or to their mean."""


def fit(
    model: nn.Module,
    train_set: SizedDataset,
    val_set: SizedDataset,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    epochs: int | None = None,
    scheduler: LRScheduler | None = None,
    metrics: Mapping[str, Metric] | None = None,
    accumulate: int = 1,
    eval_batch_size: int | None = None,
) -> Iterator[dict[str, float]]:
    """Train, and yield one row of metrics for each epoch.

    Everything is kept (`current_trial().keep`), so a trial that is paused or killed goes on where it was. On a CPU it
    then gives the same numbers, bit for bit.

    Args:
        model: Moved to the trial's device. The optimizer was made of its parameters, on whatever device.
        train_set: Samples are pairs of inputs and targets: tensors, or lists and dicts of tensors.
        val_set: The same.
        loss: Mean over a batch's samples; a module is moved to the device too.
        optimizer: Any of `torch.optim`'s that needs no closure.
        batch_size: Samples of one optimizer step, over all workers: what it means does not change with their number.
        epochs: None goes on until nobody asks for another row, which a sweep does at `limits.epochs`. By hand, take a
            slice: `itertools.islice(fit(...), 10)`.
        scheduler: Stepped once an epoch; ReduceLROnPlateau is given `val_loss`.
        metrics: Column name to what is computed of it on the validation set.
        accumulate: Pieces that each worker cuts its share of a batch into, one after another, to save memory.
        eval_batch_size: Samples of one evaluation step over all workers; None for `batch_size`.

    Yields:
        `train_loss` (mean over the epoch, while the weights moved), `val_loss`, the metrics, and with a scheduler
        `lr`: the rate of the first parameter group that the epoch was trained with. Means over samples, exact.
        Non-finite values are yielded like others.

    Raises:
        InvalidConfig: The batch can't be split over workers and pieces.

    Example:
        >>> rows = fit(model, train_set, val_set, loss=F.cross_entropy, optimizer=optimizer,  # doctest: +SKIP
        ...            batch_size=64, epochs=3, metrics={"val_accuracy": accuracy})
        >>> for row in rows:  # doctest: +SKIP
        ...     print(row)
    """
    context = current_trial()
    _check_arguments(batch_size, accumulate, context, metrics or {})
    train_loader = make_loader(train_set, batch_size=batch_size, train=True, context=context)
    val_loader = make_loader(val_set, batch_size=eval_batch_size or batch_size, train=False, context=context)
    trainer = _Trainer(
        model, loss, optimizer, piece_size=batch_size // (context.world_size * accumulate), context=context
    )
    start = trainer.keep(scheduler)
    try:
        for epoch in count(start) if epochs is None else range(start, epochs):
            train_loader.set_epoch(epoch)
            lr = {"lr": float(optimizer.param_groups[0]["lr"])} if scheduler else {}
            sums = torch.cat([trainer.train(train_loader), trainer.evaluate(val_loader, metrics or {})])
            row = _to_row(sum_over_ranks(sums), len(train_set), len(val_set), metrics or {}) | lr
            _step(scheduler, row["val_loss"])
            yield row
    finally:
        train_loader.close()
        val_loader.close()


@final
class _Trainer:
    """A model and what updates it, on this rank."""

    def __init__(
        self, model: nn.Module, loss: Loss, optimizer: Optimizer, *, piece_size: int, context: TrialContext
    ) -> None:
        self._model = model.to(context.device)
        self._loss = loss.to(context.device) if isinstance(loss, nn.Module) else loss
        self._optimizer = optimizer
        self._piece_size = piece_size
        self._context = context
        self._device = context.device
        self._replica = wrap(self._model, context)
        self._scaler = make_scaler(context.precision, context.device)

    def keep(self, scheduler: LRScheduler | None) -> int:
        """Register all state, restore it if there is a checkpoint; returns the epoch to begin with."""
        if self._context.rank > 0:
            torch.manual_seed(self._context.seed + self._context.rank)  # replicas shall not drop the same units
        objects: dict[str, Any] = {"model": self._model, "optimizer": self._optimizer}
        if scheduler is not None:
            objects["scheduler"] = scheduler
        if self._scaler.is_enabled():
            objects["scaler"] = self._scaler
        return self._context.keep(**objects)

    def train(self, loader: Loader) -> Tensor:
        """One epoch; returns the sum of the samples' losses, float64, (1,), on the device."""
        self._model.train()
        total = torch.zeros(1, dtype=torch.float64, device=self._device)
        for batch in loader:
            self._optimizer.zero_grad(set_to_none=True)
            total += self._backward(batch)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        return total

    def evaluate(self, loader: Loader, metrics: Mapping[str, Metric]) -> Tensor:
        """Sums over this rank's samples: the loss, then each metric; float64, (1 + metrics,), on the device."""
        self._model.eval()
        copy_from_rank_0(self._model.buffers())
        total = torch.zeros(1 + len(metrics), dtype=torch.float64, device=self._device)
        with torch.no_grad():  # not inference_mode: what a model caches there can't be used in training
            for batch in loader:
                inputs, targets = self._to_device(batch)
                with autocast(self._context.precision, self._device):
                    outputs = self._model(inputs)
                    values = [of(outputs, targets) for of in (self._loss, *metrics.values())]
                total += torch.stack([self._mean(value) for value in values]) * batch.num_samples
        return total

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of one step; returns the sum of the samples' losses.

        DDP takes the mean over ranks of gradients of means over their samples, which is the mean over all samples only
        if all have equally many. So each piece is weighted by its part of the step's samples.
        """
        pieces = self._pieces(batch)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for position, (some_inputs, some_targets) in enumerate(pieces):
            num_samples = min(self._piece_size, batch.num_samples - position * self._piece_size)
            weight = num_samples * self._context.world_size / batch.num_global
            with nullcontext() if position == len(pieces) - 1 else without_sync(self._replica):
                with autocast(self._context.precision, self._device):
                    loss = self._loss(self._replica(some_inputs), some_targets)
                self._scaler.scale(loss * weight).backward()
            loss_sum += loss.detach() * num_samples
        return loss_sum

    def _pieces(self, batch: Batch) -> list[tuple[Any, Any]]:
        inputs, targets = self._to_device(batch)
        if batch.num_samples <= self._piece_size:
            return [(inputs, targets)]
        return list(zip(_split(inputs, self._piece_size), _split(targets, self._piece_size), strict=True))

    def _to_device(self, batch: Batch) -> tuple[Any, Any]:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self._device, non_blocking=True)  # returns at once where memory is pinned

        return _map(move, batch.inputs), _map(move, batch.targets)

    def _mean(self, value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=self._device).mean()


def _check_arguments(batch_size: int, accumulate: int, context: TrialContext, metrics: Mapping[str, Metric]) -> None:
    pieces = context.world_size * accumulate
    if accumulate < 1 or batch_size < 1 or batch_size % pieces:
        raise InvalidConfig(
            f"batch_size {batch_size} can't be split over {context.world_size} workers times {accumulate} pieces"
            f" (accumulate). Use a multiple of {pieces}."
        )
    taken = {"train_loss", "val_loss", "lr"} & metrics.keys()
    if taken:
        raise ValueError(f"metrics: the name {min(taken)} is fit's own. Use another.")


def _to_row(sums: Tensor, num_train: int, num_val: int, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """The epoch's one transfer to the host."""
    train_sum, *val_sums = sums.tolist()
    means = (value / num_val for value in val_sums)
    return {"train_loss": train_sum / num_train} | dict(zip(("val_loss", *metrics), means, strict=True))


def _step(scheduler: LRScheduler | None, val_loss: float) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(val_loss)
    elif scheduler is not None:
        scheduler.step()


def _map(change: Callable[[Tensor], Any], part: Any) -> Any:
    """`change` applied to each tensor in nested lists, tuples and dicts."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, Mapping):
        return {name: _map(change, value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_map(change, value) for value in part]
    return part


def _split(part: Any, size: int) -> list[Any]:
    """Pieces of at most `size` samples; whatever is nested is cut alike."""
    if isinstance(part, Tensor):
        return list(torch.split(part, size))
    if isinstance(part, Mapping):
        columns = zip(*(_split(value, size) for value in part.values()), strict=True)
        return [dict(zip(part, values, strict=True)) for values in columns]
    if isinstance(part[0], Tensor | Mapping | list | tuple):
        return [list(values) for values in zip(*(_split(value, size) for value in part), strict=True)]
    return [part[start : start + size] for start in range(0, len(part), size)]  # texts, one a sample
