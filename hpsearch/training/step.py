"""One optimizer step: forward and backward in pieces, gradients over ranks, clipping, scaling, the weights' average."""

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
"""(outputs, targets) of a batch to the mean of its samples' losses, a scalar tensor."""

IMAGE_AXES = 4
"""Axes of a batch of images: (batch, channel, height, width)."""


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained, whatever it is and whatever on; `fit` says more of each."""

    precision: str
    """fp32 | tf32 | bf16 | fp16."""
    clip_norm: float | None
    """Gradients longer than this, over all parameters, are scaled down to it; None for no limit."""
    ema_decay: float | None
    """Share of the weights' average that each step keeps; None for no average."""
    compile: bool | str
    """Whether, or with which compiler, the model is compiled."""
    channels_last: bool
    """Whether images and their weights are laid out with channels last."""
    sync_batch_norm: bool
    """Whether batch norms take their statistics over all ranks."""

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InvalidConfig(f"clip_norm must be above 0, got {self.clip_norm}. None sets no limit.")


@final
class Learner:
    """A model and all that changes it, on this rank.

    Args:
        model: Moved to the context's device.
        loss: Mean over a batch's samples; a module is moved there too, and kept if it has a state.
        optimizer: Of the model's parameters.
        recipe: How it is trained.
        rates: Told of each step.
        context: Rank, world size, device, seed.

    Raises:
        InvalidConfig: A value of the recipe does not fit.
        ValueError: There are several ranks, and the loss has parameters to train.
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
        """Steps of this epoch that fp16's scaling left out since gradients overflowed."""
        self._memory_format = torch.channels_last if recipe.channels_last else torch.preserve_format
        self._model = _placed(model, context.device, self._memory_format)
        self._average = make_average(self._model, recipe.ema_decay)
        self.loss = _placed_loss(loss, context)
        self._optimizer, self._clip_norm = optimizer, recipe.clip_norm
        self._recipe, self._context = recipe, context
        self._scaler = make_scaler(recipe.precision, context.device)
        self._scale = 0.0
        if context.rank > 0:
            torch.manual_seed(context.seed + context.rank)  # replicas shall not drop the same units
        self._wrap()
        if recipe.compile:
            _compile(self.eval_model, recipe.compile)

    @property
    def eval_model(self) -> nn.Module:
        """The module whose loss and metrics count: the weights' average, if there is one."""
        return self._model if self._average is None else self._average.module

    @property
    def may_skip_steps(self) -> bool:
        """Whether steps may be skipped."""
        return self._scaler.is_enabled()

    def states(self) -> dict[str, Stateful]:
        """Everything that a step changes, by the names that checkpoints give it."""
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
        """Whether a rank can leave a step halfway without a word to the others: the model itself sends nothing."""
        return self._context.world_size == 1 or not self._recipe.sync_batch_norm

    def begin_epoch(self) -> None:
        """To be called before the first step of an epoch."""
        self._model.train()
        self._scale, self.skipped_steps = self._scaler.get_scale(), 0

    def end_epoch(self) -> None:
        """To be called after an epoch's last step: buffers become rank 0's everywhere, as nobody averages them."""
        copy_from_rank_0(self._model.buffers())
        if self._average is not None:
            copy_from_rank_0(self._average.module.buffers())

    def abort_step(self) -> None:
        """Send what the other ranks wait for in a step that this rank could not end; `restart` has to follow."""
        self._exchange.send_rest(self._replica)

    def restart(self) -> None:
        """Forget a step that was not ended; states that it changed are for the caller to put back."""
        self._optimizer.zero_grad(set_to_none=True)
        if isinstance(self._replica, DistributedDataParallel):
            # it stands halfway through a reduction, and its hooks are on the parameters for as long as it lives
            del self._replica
            self._wrap()
        if self._scaler.is_enabled():
            self._scaler.scale(torch.zeros((), device=self.device))  # its scale is made at the first use
            self._scaler.update(self._scaler.get_scale())  # forgets which gradients were unscaled

    def step(self, batch: Batch, piece_size: int) -> Tensor:
        """Change the weights once.

        Args:
            batch: This rank's samples.
            piece_size: Samples of one forward and backward pass, at least 1.

        Returns:
            Sum of the losses of this rank's samples, float64, (), on the device.
        """
        self._exchange.begin_step()
        self._optimizer.zero_grad(set_to_none=True)
        loss_sum = self._backward(batch, piece_size)
        if self._clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if self._update():
            self.rates.after_step()
            if self._average is not None:
                self._average.update_parameters(self._model)
        return loss_sum

    def micro_batches(self, batch: Batch, size: int) -> list[tuple[Any, Any, int]]:
        """(inputs, targets, samples that count) of a batch, where the model is; `size` samples in all but the last."""

        def move(tensor: Tensor) -> Tensor:
            layout = self._memory_format if tensor.dim() == IMAGE_AXES else torch.preserve_format
            return tensor.to(self.device, non_blocking=True, memory_format=layout)

        inputs, targets = map_tensors(move, batch.inputs), map_tensors(move, batch.targets)  # at once, if it is pinned
        if batch.num_samples <= size:
            return [(inputs, targets, batch.num_samples)]
        sizes = [min(size, batch.num_samples - start) for start in range(0, batch.num_samples, size)]
        return list(zip(split(inputs, size), split(targets, size), sizes, strict=True))

    def _backward(self, batch: Batch, piece_size: int) -> Tensor:
        """Gradients of one step; returns the sum of the samples' losses.

        The gradients of pieces and ranks are summed. So that the sum is the gradient of the mean over all samples, each
        piece is weighted by its part of the step's samples, of which ranks may have different numbers.
        """
        pieces = self.micro_batches(batch, piece_size)
        loss_sums: list[Tensor] = []
        for position, (inputs, targets, num_samples) in enumerate(pieces):
            weight = num_samples / batch.num_global
            with nullcontext() if position == len(pieces) - 1 else without_sync(self._replica):
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
        self._exchange = GradientSync(self._replica)
        if self._recipe.compile:
            _compile(self._replica, self._recipe.compile)

    def _update(self) -> bool:
        """Whether the optimizer made its step; fp16's scaler leaves out those with gradients that overflowed."""
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if not self._scaler.is_enabled():
            return True
        before, self._scale = self._scale, self._scaler.get_scale()
        self.skipped_steps += self._scale < before
        return self._scale >= before


def _placed(model: nn.Module, device: torch.device, memory_format: torch.memory_format) -> nn.Module:
    model = model.to(device)
    return model if memory_format == torch.preserve_format else model.to(memory_format=memory_format)  # type: ignore[call-overload]


def _placed_loss(loss: Loss, context: TrialContext) -> Loss:
    if not isinstance(loss, nn.Module):
        return loss
    if context.world_size > 1 and any(parameter.requires_grad for parameter in loss.parameters()):
        raise ValueError(
            "the loss has parameters to train, whose gradients nobody would sum over workers."
            " Make them a part of the model, or train with one worker."
        )
    return loss.to(context.device)


def _compile(module: nn.Module, compiler: bool | str) -> None:
    """In place, so that names of parameters stay; a DDP wrapper as a whole, so that graphs end where its buckets do."""
    module.compile(backend="inductor" if compiler is True else compiler)
