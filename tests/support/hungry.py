"""Models and optimizers that run out of memory on demand, with PyTorch's own exception: stand-ins for a full GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 6.00 GiB."


def run_out() -> None:
    raise torch.OutOfMemoryError(MESSAGE)


class _FailsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        run_out()


class Hungry(nn.Module):
    """A small network whose forward pass, the backward pass through its middle, or evaluation needs too much memory.

    Args:
        fits: (number of the call, samples) to whether that much fits.
        where: forward, backward or evaluation.
    """

    def __init__(self, fits: Callable[[int, int], bool], where: str, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout))
        self.second = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
        self.fits, self.where, self.calls = fits, where, 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training == (self.where != "evaluation"):
            self.calls += 1
            if not self.fits(self.calls, len(inputs)):
                if self.where != "backward":
                    run_out()
                return self.second(_FailsInBackward.apply(self.first(inputs)))
        return self.second(self.first(inputs))


class HungryAdamW(torch.optim.AdamW):
    """Runs out once, in call number `at` of `zero_grad` or of `step`, where it has changed some of the weights."""

    def __init__(self, parameters: Any, *, where: str, at: int, lr: float = 0.01) -> None:
        super().__init__(parameters, lr=lr)
        self.where, self.at, self.calls = where, at, 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._count("zero_grad")
        super().zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self._count("step")

    def _count(self, where: str) -> None:
        if where == self.where:
            self.calls += 1
            if self.calls == self.at:
                run_out()
