"""Functions with objects bound by `ray.tune.with_parameters`, for trials, which have no connection to Ray.

Such a function looks its objects up in a registry in its closure: in a process connected to Ray the registry reads
Ray's object store, in any other process its own dict. So a rank, which is connected, gets the objects from the
store, puts them into the registry, and stores the function in a sealed block of memory whose pages all its trials map.
"""

from __future__ import annotations

import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from hpsearch.training.data.sealed_memory import make_block, map_block


def ship(trainable: object) -> bytes:
    """Pickle a function, or the source that it is imported from, for the ranks.

    A function with bound objects is pickled by Ray's own pickler: other picklers lose the owner of the objects.
    """
    import cloudpickle

    plain: bytes = cloudpickle.dumps(trainable)
    ray: Any = sys.modules.get("ray")
    if not refers_to_ray(plain) or ray is None or not ray.is_initialized():
        return plain
    return ray.cloudpickle.dumps(trainable)  # type: ignore[no-any-return]


def refers_to_ray(trainable: bytes) -> bool:
    """Whether a pickled function has objects bound by `ray.tune.with_parameters`."""
    return b"_ParameterRegistry" in trainable


def resolve(trainable: bytes) -> int:
    """Store a function with its bound objects in a block of memory; for a process that is connected to Ray.

    Args:
        trainable: A pickled function.

    Returns:
        The open file of the block.

    Raises:
        OSError: There is not enough memory.
        RayError: An object is lost from Ray's store.
        TypeError: An object can't be moved to another process.
    """
    import ray

    from hpsearch.training.data.shared import pack

    function = ray.cloudpickle.loads(trainable)
    for registry in _registries(function):
        registry.to_flush.update({name: ray.get(object_) for name, object_ in registry.references.items()})
        registry.references.clear()
    return make_block(f"function-{uuid.uuid4().hex}", pack(function, what="tune.with_parameters"))


def load_block(block: int) -> Callable[..., Any]:
    """The function in a block that `resolve` has made."""
    parts = map_block(block)
    return pickle.loads(parts[-1], buffers=parts[:-1])  # type: ignore[no-any-return]


def _registries(function: Any) -> Iterator[Any]:
    """The registries in the closure of a function, or of a function in its closure."""
    for cell in getattr(function, "__closure__", None) or ():
        value = cell.cell_contents
        if type(value).__name__ == "_ParameterRegistry":
            yield value
        elif callable(value):
            yield from _registries(value)
