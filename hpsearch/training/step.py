"""One optimizer step: gradient accumulation, all-reduce, clipping, gradient scaling and the average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from hpsearch.errors import InvalidConfig
from hpsearch.training.context import TrialContext
from hpsearch.training.data.loaders import Batch
from hpsearch.training.ema import make_average
from hpsearch.training.gradient_sync import GradientSync
from hpsearch.training.parallel import copy_from_rank_0, without_sync, wrap
from hpsearch.training.precision import autocast, check_precision, make_scaler
from hpsearch.training.pytree import map_tensors, split
from hpsearch.training.schedule import LearningRates
from hpsearch.training.stateful import Stateful

Loss = Callable[[Any, Any], Tensor]
"""Called with (outputs, targets) of a batch; returns the mean loss of its samples, a scalar tensor."""

IMAGE_AXES = 4
"""Number of axes of a batch of images: (batch, channel, height, width)."""


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options of training that depend neither on the model nor on the data; `fit` explains each."""

    precision: str
    """`fp32`, `tf32`, `bf16` or `fp16`."""
    clip_norm: float | None
    """Largest norm of the gradient over all parameters; a longer one is scaled down. None does not clip."""
    ema_decay: float | None
    """Share of the average of the weights that each step keeps, in [0, 1); None for no average."""
    compile: bool | str
    """Whether to compile the model; a text names the backend."""
    channels_last: bool
    """Whether the model and images use the channels-last memory format."""
    sync_batch_norm: bool
    """Whether batch norm statistics are computed over all ranks."""

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InvalidConfig(f"clip_norm must be above 0, got {self.clip_norm}. None sets no limit.")


@final
class Learner:
    """A model with its loss, optimizer and learning rates, on this rank.

    Args:
        model: The model; it is moved to the context's device.
        loss: Mean loss of a batch. A module is moved to the device, and its state is part of checkpoints.
        optimizer: An optimizer of the model's parameters.
        recipe: Options of training.
        rates: The learning rate scheduler, which is stepped after each optimizer step.
        context: Rank, world size, device and seed of the trial.

    Raises:
        InvalidConfig: A value of the recipe is out of range.
        ValueError: There are several ranks, and the loss has trainable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Loss,
        optimizer: Optimizer,
        recipe: Recipe,
        rates: LearningRates,
        context: TrialContext,
    ) -> None:
        self.device, self.precision, self.rates = context.device, recipe.precision, rates
        self.skipped_steps = 0
        """Steps of this epoch that were skipped because fp16 gradients overflowed."""
        self._memory_format = torch.channels_last if recipe.channels_last else torch.preserve_format
        self._model = _to_device(model, context.device, self._memory_format)
        self._average = make_average(self._model, recipe.ema_decay)
        self.loss = _loss_to_device(loss, context)
        self._optimizer, self._clip_norm = optimizer, recipe.clip_norm
        self._recipe, self._context = recipe, context
        self._scaler = make_scaler(recipe.precision, context.device)
        self._scale = 0.0
        if context.rank > 0:
            torch.manual_seed(context.seed + context.rank)  # so that dropout differs between ranks
        self._wrap()
        if recipe.compile:
            _compile(self.eval_model, recipe.compile)

    @property
    def eval_model(self) -> nn.Module:
        """The module to evaluate: the average of the weights if there is one, else the model."""
        return self._model if self._average is None else self._average.module

    @property
    def may_skip_steps(self) -> bool:
        """Whether steps with overflowed gradients are skipped, which is so in fp16."""
        return self._scaler.is_enabled()

    def states(self) -> dict[str, Stateful]:
        """Name in checkpoints to object: everything that a step changes."""
        states: dict[str, Stateful | None] = {
            "model": self._model,
            "optimizer": self._optimizer,
            "scheduler": self.rates.scheduler,
            "scaler": self._scaler if self.may_skip_steps else None,
            "average": self._average,
            "loss": self.loss if isinstance(self.loss, nn.Module) and self.loss.state_dict() else None,
        }
        return {name: state for name, state in states.items() if state is not None}

    @property
    def can_abort_alone(self) -> bool:
        """Whether a rank can abort a step while the others finish it.

        It can't if the model itself makes collective calls, as SyncBatchNorm does.
        """
        return self._context.world_size == 1 or not self._recipe.sync_batch_norm

    def begin_epoch(self) -> None:
        """Call this before the first step of each epoch."""
        self._model.train()
        self._scale, self.skipped_steps = self._scaler.get_scale(), 0

    def end_epoch(self) -> None:
        """Call this after the last step of each epoch. It copies rank 0's buffers to all ranks: DDP averages none."""
        copy_from_rank_0(self._model.buffers())
        if self._average is not None:
            copy_from_rank_0(self._average.module.buffers())

    def abort_step(self) -> None:
        """Complete the all-reduce of a step that this rank could not finish; call `restart` afterwards."""
        self._gradient_sync.send_missing_buckets(self._replica)

    def restart(self) -> None:
        """Discard a step that was not finished. The caller restores the states that it may have changed."""
        self._optimizer.zero_grad(set_to_none=True)
        if isinstance(self._replica, DistributedDataParallel):
            # its reduction is unfinished, and its hooks stay on the parameters for as long as it exists
            del self._replica
            self._wrap()
        if self._scaler.is_enabled():
            self._scaler.scale(torch.zeros((), device=self.device))  # creates the scale, if this is the first use
            self._scaler.update(self._scaler.get_scale())  # resets which gradients were unscaled

    def step(self, batch: Batch, micro_batch_size: int) -> Tensor:
        """Make one optimizer step.

        Args:
            batch: This rank's samples of the step.
            micro_batch_size: Samples of one forward and backward pass, at least 1; gradients are accumulated.

        Returns:
            The sum of the losses of this rank's samples: float64, (), on the device.
        """
        self._gradient_sync.begin_step()
        self._optimizer.zero_grad(set_to_none=True)
        loss_sum = self._backward(batch, micro_batch_size)
        if self._clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if self._update():
            self.rates.after_step()
            if self._average is not None:
                self._average.update_parameters(self._model)
        return loss_sum

    def micro_batches(self, batch: Batch, size: int) -> list[tuple[Any, Any, int]]:
        """Move a batch to the model's device and split it.

        Args:
            batch: This rank's samples.
            size: Samples of each micro-batch but the last, at least 1.

        Returns:
            (inputs, targets, number of samples) of each micro-batch. The number is 0 for the stand-in of a rank that
            has no samples in this step.
        """

        def move(tensor: Tensor) -> Tensor:
            layout = self._memory_format if tensor.dim() == IMAGE_AXES else torch.preserve_format
            return tensor.to(self.device, non_blocking=True, memory_format=layout)

        inputs, targets = map_tensors(move, batch.inputs), map_tensors(move, batch.targets)
        if batch.num_samples <= size:
            return [(inputs, targets, batch.num_samples)]
        sizes = [min(size, batch.num_samples - start) for start in range(0, batch.num_samples, size)]
        return list(zip(split(inputs, size), split(targets, size), sizes, strict=True))

    def _backward(self, batch: Batch, micro_batch_size: int) -> Tensor:
        """Compute the gradients of one step, and return the sum of the losses of this rank's samples.

        Gradients are summed over micro-batches and ranks. The loss of each micro-batch is weighted by its share of the
        samples of the step, of which ranks may have different numbers; so the sum is the gradient of the mean loss.
        """
        micro_batches = self.micro_batches(batch, micro_batch_size)
        loss_sums: list[Tensor] = []
        for position, (inputs, targets, num_samples) in enumerate(micro_batches):
            weight = num_samples / batch.num_global
            with nullcontext() if position == len(micro_batches) - 1 else without_sync(self._replica):
                with autocast(self.precision, self.device):
                    loss = self.loss(self._replica(inputs), targets)
                self._scaler.scale(loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]
            loss_sums.append(loss.detach().double() * num_samples)
        return sum(loss_sums[1:], start=loss_sums[0])

    def _wrap(self) -> None:
        self._replica = wrap(
            self._model,
            world_size=self._context.world_size,
            device=self._context.device,
            parallel=self._context.parallel,
            sync_batch_norm=self._recipe.sync_batch_norm,
        )
        self._gradient_sync = GradientSync(self._replica)
        if self._recipe.compile:
            _compile(self._replica, self._recipe.compile)

    def _update(self) -> bool:
        """Step the optimizer; False if the step was skipped because fp16 gradients overflowed."""
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if not self._scaler.is_enabled():
            return True
        before, self._scale = self._scale, self._scaler.get_scale()
        self.skipped_steps += self._scale < before
        return self._scale >= before


def _to_device(model: nn.Module, device: torch.device, memory_format: torch.memory_format) -> nn.Module:
    model = model.to(device)
    return model if memory_format == torch.preserve_format else model.to(memory_format=memory_format)  # type: ignore[call-overload]


def _loss_to_device(loss: Loss, context: TrialContext) -> Loss:
    """The loss on the trial's device.

    Raises:
        ValueError: There are several ranks, and the loss has trainable parameters.
    """
    if not isinstance(loss, nn.Module):
        return loss
    if context.world_size > 1 and any(parameter.requires_grad for parameter in loss.parameters()):
        raise ValueError(
            "fit: the loss has trainable parameters, and their gradients would not be summed over workers."
            " Make them part of the model, or train with one worker."
        )
    return loss.to(context.device)


def _compile(module: nn.Module, compiler: bool | str) -> None:
    """Compile in place, which keeps parameter names. DDP is compiled as a whole, so graphs break at its buckets."""
    module.compile(backend="inductor" if compiler is True else compiler)
