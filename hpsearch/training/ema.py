"""The exponential moving average of a model's weights, which often validates better than the weights themselves."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpsearch.errors import InvalidConfig


def make_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """A copy of the model that follows it at each `update_parameters`; buffers, such as running means, are copied.

    Args:
        model: On its device, not wrapped and not compiled.
        decay: Share of the average that each step keeps, in [0, 1), for example 0.999; None for no average.

    Raises:
        InvalidConfig: `decay` is out of range.
    """
    if decay is None:
        return None
    if not 0 <= decay < 1:
        raise InvalidConfig(f"ema_decay must be in [0, 1), got {decay}. Write for example 0.999.")
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
