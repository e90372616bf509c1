"""Learning rate schedules, composed of PyTorch's own schedulers."""

from __future__ import annotations

from typing import Literal, final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)

from hpsearch.errors import InvalidConfig, did_you_mean

Schedule = Literal["constant", "cosine", "linear"]
"""The learning rate after the warm-up: constant, or a cosine or linear decay to 0 at the last step."""
_KNOWN = ("constant", "cosine", "linear")
"""The values of `Schedule`."""


@final
class LearningRates:
    """Steps the learning rate scheduler of a training, if it has one.

    Args:
        optimizer: The optimizer whose learning rates change.
        scheduler: A scheduler of the user, stepped after each epoch; None for none.
        schedule: A built-in schedule, stepped after each optimizer step; None for none. At most one of the two is set.
    """

    def __init__(self, optimizer: Optimizer, *, scheduler: LRScheduler | None, schedule: LRScheduler | None) -> None:
        self.scheduler = scheduler or schedule
        self._optimizer = optimizer
        self._by_epoch, self._by_step = scheduler, schedule

    def after_step(self) -> None:
        """Call this after each optimizer step."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, val_loss: float | None) -> None:
        """Call this after each epoch.

        Args:
            val_loss: Validation loss, which ReduceLROnPlateau needs; None if the epoch was not evaluated.
        """
        if not isinstance(self._by_epoch, ReduceLROnPlateau):
            if self._by_epoch is not None:
                self._by_epoch.step()
        elif val_loss is not None:
            self._by_epoch.step(val_loss)

    def metrics(self) -> dict[str, float]:
        """`lr`, the learning rate of the first parameter group now; empty without a scheduler."""
        return {} if self.scheduler is None else {"lr": float(self._optimizer.param_groups[0]["lr"])}


def make_schedule(optimizer: Optimizer, kind: Schedule, *, warmup_steps: int, total_steps: int | None) -> LRScheduler:
    """A scheduler that is stepped after each optimizer step.

    Args:
        optimizer: The optimizer. Its current learning rates are the highest ones, reached at the end of the warm-up.
        kind: The schedule after the warm-up.
        warmup_steps: Steps in which the rate rises linearly from 1 / (warmup_steps + 1) of its highest value; 0 for no
            warm-up.
        total_steps: Optimizer steps of the whole trial, including the warm-up; may be None for `constant`.

    Raises:
        InvalidConfig: The schedule is unknown, or the warm-up is as long as the trial.
        ValueError: `cosine` or `linear` without `total_steps`.

    Source:
        Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2 (warm-up); Loshchilov and Hutter,
        "SGDR", arXiv:1608.03983 (cosine).
    """
    if kind not in _KNOWN:
        raise InvalidConfig(f"unknown schedule '{kind}'.{did_you_mean(kind, _KNOWN)} Known: {', '.join(_KNOWN)}.")
    if kind == "constant":
        main: LRScheduler = ConstantLR(optimizer, factor=1.0, total_iters=0)
    else:
        main = _decay(optimizer, kind, _steps_left(kind, warmup_steps, total_steps))
    if not warmup_steps:
        return main
    warmup = LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)
    return SequentialLR(optimizer, [warmup, main], milestones=[warmup_steps])


def _decay(optimizer: Optimizer, kind: Schedule, steps: int) -> LRScheduler:
    if kind == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)


def _steps_left(kind: Schedule, warmup_steps: int, total_steps: int | None) -> int:
    if total_steps is None:
        raise ValueError(f"fit: schedule '{kind}' needs to know where training ends. Set epochs or steps.")
    if warmup_steps >= total_steps:
        raise InvalidConfig(
            f"the warm-up takes {warmup_steps} steps, but the trial has only {total_steps}. Use fewer warmup_epochs."
        )
    return total_steps - warmup_steps
