"""A batch's inputs or targets: tensors, or lists, tuples and dicts of them, nested as deep as one likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def map_tensors(change: Callable[[Tensor], Any], part: Any) -> Any:
    """`change` applied to each tensor; tuples become lists, what is no tensor stays."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, Mapping):
        return {name: map_tensors(change, value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [map_tensors(change, value) for value in part]
    return part


def split(part: Any, size: int) -> list[Any]:
    """Pieces of at most `size` samples; whatever is nested is cut alike.

    Args:
        part: First axis of every tensor: sample. A list of texts has one for each sample.
        size: Samples; at least 1.
    """
    if isinstance(part, Tensor):
        return list(torch.split(part, size))
    if isinstance(part, Mapping):
        columns = zip(*(split(value, size) for value in part.values()), strict=True)
        return [dict(zip(part, values, strict=True)) for values in columns]
    if isinstance(part[0], Tensor | Mapping | list | tuple):
        return [list(values) for values in zip(*(split(value, size) for value in part), strict=True)]
    return [part[start : start + size] for start in range(0, len(part), size)]  # texts, one a sample
