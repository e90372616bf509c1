"""Inputs and targets of a batch as pytrees: tensors, or nested lists, tuples and dicts of tensors.

`torch.utils._pytree` is private and does not split a tree; these two functions are all that training needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to each tensor of a pytree.

    Args:
        function: Called with each tensor.
        tree: The pytree. Leaves that are not tensors stay as they are.

    Returns:
        A tree of the same structure; tuples become lists.

    Example:
        >>> map_tensors(lambda tensor: tensor.tolist(), {"pixels": torch.zeros(2), "name": ("a", torch.ones(1))})
        {'pixels': [0.0, 0.0], 'name': ['a', [1.0]]}
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [map_tensors(function, value) for value in tree]
    return tree


def split(tree: Any, size: int) -> list[Any]:
    """Split a pytree along the sample axis, like `torch.split`.

    Args:
        tree: The pytree. The first axis of every tensor is the sample; a list of texts has one text per sample.
        size: Samples of each part but the last; at least 1.

    Returns:
        Pytrees of the same structure with at most `size` samples each; tuples become lists.

    Example:
        >>> split({"tokens": torch.tensor([1, 2, 3]), "text": ["a", "b", "c"]}, 2)
        [{'tokens': tensor([1, 2]), 'text': ['a', 'b']}, {'tokens': tensor([3]), 'text': ['c']}]
    """
    if isinstance(tree, Tensor):
        return list(torch.split(tree, size))
    if isinstance(tree, Mapping):
        columns = zip(*(split(value, size) for value in tree.values()), strict=True)
        return [dict(zip(tree, values, strict=True)) for values in columns]
    if isinstance(tree[0], Tensor | Mapping | list | tuple):
        return [list(values) for values in zip(*(split(value, size) for value in tree), strict=True)]
    return [tree[start : start + size] for start in range(0, len(tree), size)]  # a list of texts, one per sample
