"""Learning rates over the steps of a trial, put together of PyTorch's own schedulers."""

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
"""How the rate goes on after the warm-up: as it is, or to 0 at the last step."""

_KNOWN = ("constant", "cosine", "linear")


@final
class LearningRates:
    """A scheduler, if there is one, and when it is stepped.

    Args:
        optimizer: Whose rates they are.
        scheduler: The user's own, stepped after each epoch, or None.
        schedule: Ours, stepped after each optimizer step, or None.
    """

    def __init__(self, optimizer: Optimizer, *, scheduler: LRScheduler | None, schedule: LRScheduler | None) -> None:
        self.scheduler = scheduler or schedule
        self._optimizer = optimizer
        self._by_epoch, self._by_step = scheduler, schedule

    def after_step(self) -> None:
        """The optimizer made a step."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, val_loss: float | None) -> None:
        """An epoch is over; `val_loss` is None if it was not evaluated."""
        if not isinstance(self._by_epoch, ReduceLROnPlateau):
            if self._by_epoch is not None:
                self._by_epoch.step()
        elif val_loss is not None:
            self._by_epoch.step(val_loss)

    def metrics(self) -> dict[str, float]:
        """The first group's rate as a row's column; nothing where it never changes."""
        return {} if self.scheduler is None else {"lr": float(self._optimizer.param_groups[0]["lr"])}


def make_schedule(optimizer: Optimizer, kind: Schedule, *, warmup_steps: int, total_steps: int | None) -> LRScheduler:
    """A scheduler to be stepped after each optimizer step.

    Args:
        optimizer: Its rates now are the highest ones, reached at the end of the warm-up.
        kind: What follows the warm-up.
        warmup_steps: The rate rises by equal amounts, from 1 / (warmup_steps + 1) of the highest; 0 for no warm-up.
        total_steps: Steps of the whole trial, the warm-up included. None only for constant.

    Raises:
        InvalidConfig: There is no such schedule, or the warm-up leaves no step for what follows.
        ValueError: The schedule ends, and its length isn't given.
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
        raise ValueError(f"schedule '{kind}' has an end: give fit its length as epochs or steps.")
    if warmup_steps >= total_steps:
        raise InvalidConfig(
            f"a warm-up of {warmup_steps} steps leaves nothing of a trial of {total_steps}. Use fewer warmup_epochs."
        )
    return total_steps - warmup_steps
