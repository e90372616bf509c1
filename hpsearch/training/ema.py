"""The exponential moving average (EMA) of a model's weights, which often generalises better than the weights."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpsearch.errors import InvalidConfig


def make_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """A copy of the model whose weights are averaged by each call of `update_parameters`.

    Buffers, such as the running statistics of batch norm, are copied and not averaged.

    Args:
        model: The model on its device, neither wrapped (DDP) nor compiled.
        decay: Share of the average that each update keeps, in [0, 1), for example 0.999; None for no average.

    Returns:
        The averaged model, or None.

    Raises:
        InvalidConfig: `decay` is out of range.

    Source:
        `torch.optim.swa_utils`, https://pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema.
    """
    if decay is None:
        return None
    if not 0 <= decay < 1:
        raise InvalidConfig(f"ema_decay must be in [0, 1), got {decay}. Write for example 0.999.")
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
