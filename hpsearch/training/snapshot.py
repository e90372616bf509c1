"""A copy of all training state in host memory, from which an epoch can be repeated after running out of memory.

The copy on disk, which survives the process, is in `checkpoint.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from hpsearch.training.rng import RngStates, get_rng_states, set_rng_states
from hpsearch.training.stateful import Stateful


@final
class Snapshot:
    """A copy of this rank's state in host memory, which each `capture` overwrites.

    Args:
        objects: Name to object with a state.
        device: Device of this rank, whose random state is copied too.
    """

    def __init__(self, objects: Mapping[str, Stateful], device: torch.device) -> None:
        self._objects, self._device = objects, device
        self._copies: dict[str, Any] = {}
        self._rng: RngStates = {}

    def capture(self) -> None:
        """Copy the current state of all objects and random generators."""
        for name, kept in self._objects.items():
            self._copies[name] = _copied(kept.state_dict(), self._copies.get(name))
        self._rng = get_rng_states(self._device)

    def restore(self) -> None:
        """Restore the state of the last `capture`; this can be done more than once."""
        for name, kept in self._objects.items():
            kept.load_state_dict(_copied(self._copies[name]))  # a copy, since optimizers keep the tensors they get
        set_rng_states(self._rng, self._device)


def _copied(value: Any, into: Any = None) -> Any:
    """A copy in host memory; tensors reuse the memory of `into` where it has one of the same shape and dtype."""
    if isinstance(value, Tensor):
        return _host_tensor(value, into).copy_(value.detach())
    if isinstance(value, Mapping):
        old = into if isinstance(into, Mapping) else {}
        result: Any = copy.copy(value)  # keeps the type, and the metadata that modules attach to a state dict
        for name, part in value.items():
            result[name] = _copied(part, old.get(name))
        return result
    if isinstance(value, list | tuple):
        olds = into if isinstance(into, list | tuple) and len(into) == len(value) else [None] * len(value)
        return type(value)(_copied(part, old) for part, old in zip(value, olds, strict=True))
    return copy.deepcopy(value)


def _host_tensor(like: Tensor, old: Any) -> Tensor:
    """A CPU tensor of the shape and dtype of `like`, pinned for tensors on a GPU; `old` itself if it fits."""
    if isinstance(old, Tensor) and old.shape == like.shape and old.dtype == like.dtype:
        return old
    return torch.empty_like(like, device="cpu", pin_memory=like.is_cuda)
