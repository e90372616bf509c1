"""What a rank keeps of a model that `fully_shard` has split: its shards, as plain tensors."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


@final
class Shards:
    """This rank's part of a model and of its optimizer: `current_trial().keep_own(shards=Shards(model, optimizer))`.

    Nothing is collected from other ranks, so that saving needs no more memory than training; in turn the state is read
    by as many ranks as have written it. A model that isn't split is kept whole.

    Args:
        model: After `fully_shard`.
        optimizer: Of the split model's parameters.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """The shards, and the optimizer's state by the names of the parameters."""
        model, optimizer = get_state_dict(self._model, self._optimizer)
        return {"model": _local(model), "optimizer": _local(optimizer)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over what `state_dict` gave to this rank."""
        model, optimizer = get_state_dict(self._model, self._optimizer)
        set_state_dict(
            self._model,
            self._optimizer,
            model_state_dict=_like(model, state["model"]),
            optim_state_dict=_like(optimizer, state["optimizer"]),
        )


def _local(state: Any) -> Any:
    if isinstance(state, DTensor):
        return state.to_local()
    if isinstance(state, dict):
        return {name: _local(value) for name, value in state.items()}
    return [_local(value) for value in state] if isinstance(state, list) else state


def _like(pattern: Any, state: Any) -> Any:
    """`state` with its local tensors made parts of distributed ones where `pattern` has these."""
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
