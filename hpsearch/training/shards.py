"""The state of a model that `fully_shard` (FSDP2) has split: this rank's shards, as plain tensors."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


@final
class Shards:
    """This rank's shards of a model and of its optimizer, for `keep_own`.

    Nothing is gathered from other ranks, so saving needs no more memory than training. The state can therefore only be
    loaded by the number of ranks that saved it. A model that is not split is kept whole.

    Args:
        model: The model after `fully_shard`.
        optimizer: An optimizer of the parameters of the split model.

    Example:
        >>> start = hpsearch.current_trial().keep_own(shards=Shards(model, optimizer))  # doctest: +SKIP

    Source:
        https://pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """`model` and `optimizer`: this rank's shards as plain tensors on their device, by parameter name."""
        model, optimizer = get_state_dict(self._model, self._optimizer)
        return {"model": _local(model), "optimizer": _local(optimizer)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore a state that `state_dict` returned on the same rank."""
        model, optimizer = get_state_dict(self._model, self._optimizer)
        set_state_dict(
            self._model,
            self._optimizer,
            model_state_dict=_like(model, state["model"]),
            optim_state_dict=_like(optimizer, state["optimizer"]),
        )


def _local(state: Any) -> Any:
    """The state with each distributed tensor replaced by its local shard."""
    if isinstance(state, DTensor):
        return state.to_local()
    if isinstance(state, dict):
        return {name: _local(value) for name, value in state.items()}
    return [_local(value) for value in state] if isinstance(state, list) else state


def _like(pattern: Any, state: Any) -> Any:
    """`state` with its local shards turned into distributed tensors wherever `pattern` has one."""
    if isinstance(pattern, DTensor) and isinstance(state, Tensor):
        return DTensor.from_local(
            state.to(pattern.device),
            pattern.device_mesh,
            pattern.placements,
            shape=pattern.shape,
            stride=pattern.stride(),
        )
    if isinstance(state, dict):
        return {name: _like(pattern.get(name), value) for name, value in state.items()}
    return state
