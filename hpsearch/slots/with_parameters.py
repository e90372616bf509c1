"""Objects that `ray.tune.with_parameters` has bound to a function: taken out of Ray's store once, and mapped by trials.

Such a function looks its objects up in a registry that it closes over: in a process that Ray has connected it asks
Ray's store, in any other it takes what the registry itself holds. So a rank, which Ray has connected, puts them there,
and the whole lies in a sealed block of memory, of which each trial maps the same pages.
"""

from __future__ import annotations

import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from hpsearch.training.data.sealed_memory import make_block, map_block


def ship(trainable: object) -> bytes:
    """A function, or the place where it is, pickled for the ranks.

    References to objects of Ray know their owner only if Ray's own pickler has written them.
    """
    import cloudpickle

    plain: bytes = cloudpickle.dumps(trainable)
    ray: Any = sys.modules.get("ray")
    if not refers_to_ray(plain) or ray is None or not ray.is_initialized():
        return plain
    return ray.cloudpickle.dumps(trainable)  # type: ignore[no-any-return]


def refers_to_ray(trainable: bytes) -> bool:
    """Whether a pickled function has objects bound to it."""
    return b"_ParameterRegistry" in trainable


def resolve(trainable: bytes) -> int:
    """The function with its objects in a block of memory, as an open file; for a process that Ray has connected.

    Args:
        trainable: A pickled function.

    Raises:
        OSError: There is not enough memory.
        RayError: An object is lost.
    """
    import ray

    from hpsearch.training.data.shared import pack

    function = ray.cloudpickle.loads(trainable)
    for registry in _registries(function):
        registry.to_flush.update({name: ray.get(object_) for name, object_ in registry.references.items()})
        registry.references.clear()
    return make_block(f"function-{uuid.uuid4().hex}", pack(function, what="tune.with_parameters"))


def load_block(block: int) -> Callable[..., Any]:
    """The function out of such a block."""
    parts = map_block(block)
    return pickle.loads(parts[-1], buffers=parts[:-1])  # type: ignore[no-any-return]


def _registries(function: Any) -> Iterator[Any]:
    """The registries that a function closes over, itself or over another one."""
    for cell in getattr(function, "__closure__", None) or ():
        value = cell.cell_contents
        if type(value).__name__ == "_ParameterRegistry":
            yield value
        elif callable(value):
            yield from _registries(value)
