"""A copy of all state in the host's memory, from which an epoch can begin again; `checkpoint.py` is for disks."""

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
    """This rank's copy; it is taken anew into the same memory.

    Args:
        objects: What has a state, by name.
        device: This rank's, whose random state is taken.
    """

    def __init__(self, objects: Mapping[str, Stateful], device: torch.device) -> None:
        self._objects, self._device = objects, device
        self._copies: dict[str, Any] = {}
        self._rng: RngStates = {}

    def capture(self) -> None:
        """Copy everything as it is now."""
        for name, kept in self._objects.items():
            self._copies[name] = _copied(kept.state_dict(), self._copies.get(name))
        self._rng = get_rng_states(self._device)

    def restore(self) -> None:
        """Make everything what it was when the copy was taken; the copy stays good."""
        for name, kept in self._objects.items():
            kept.load_state_dict(_copied(self._copies[name]))  # optimizers keep what they are given
        set_rng_states(self._rng, self._device)


def _copied(value: Any, into: Any = None) -> Any:
    """A copy on the host; tensors go where the last copy had one of the same shape and type."""
    if isinstance(value, Tensor):
        return _host_tensor(value, into).copy_(value.detach())
    if isinstance(value, Mapping):
        old = into if isinstance(into, Mapping) else {}
        result: Any = copy.copy(value)  # keeps the kind of mapping, and what modules note on theirs
        for name, part in value.items():
            result[name] = _copied(part, old.get(name))
        return result
    if isinstance(value, list | tuple):
        olds = into if isinstance(into, list | tuple) and len(into) == len(value) else [None] * len(value)
        return type(value)(_copied(part, old) for part, old in zip(value, olds, strict=True))
    return copy.deepcopy(value)


def _host_tensor(like: Tensor, old: Any) -> Tensor:
    if isinstance(old, Tensor) and old.shape == like.shape and old.dtype == like.dtype:
        return old
    return torch.empty_like(like, device="cpu", pin_memory=like.is_cuda)
