"""`shared_data`: a data set in the memory of a machine once, whatever number of trials train on it.

The first process that asks loads it and puts it into a sealed block of memory (`sealed_memory.py`); everybody, the
first included, maps that. Arrays and tensors point into the map, and a page that is written to is copied for the writer
alone. What isn't an array (a dict's keys, the attributes of a data set) is unpickled for each call and not shared.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast, final

import cloudpickle
import numpy
import torch
from torch import Tensor

from hpsearch.training.context import TrialContext, current_trial
from hpsearch.training.data.content_hash import content_hash, file_listing
from hpsearch.training.data.sealed_memory import exclusive_lock, find_block, make_block, map_block
from hpsearch.training.rng import get_rng_states, seed_everything, set_rng_states

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 64 * 2**20
"""More than this that can't be shared is worth a warning."""
NUM_BY_HAND = 4
"""Data sets that a process without a sweep holds on to."""


def shared_data(load: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `load(*arguments, **named)` returns, loaded once for each machine and held in memory once.

    Every trial that asks for the same gets tensors and arrays that lie in the same memory; what a trial writes into
    them it alone sees. Data sets are the same if they would be loaded by the same code, with the same arguments, from
    files of the same names, sizes and times of change (those at paths among the arguments, and below `data.root`). It
    works by hand as well: processes that run at the same time share. Nothing is written to disk, and the memory is free
    again with the end of the last process that uses it, however that ends.

    Args:
        load: A function. Whatever it draws at random is drawn from the seed 0, so it is the same for every trial.
        arguments: Numbers, texts, paths, functions, or lists and dicts of these.
        named: The same.

    Returns:
        Tensors, arrays, data sets that are made of these, and lists, tuples, dicts and objects of any of them. What
        isn't a tensor on the CPU or an array of numbers is there, but each process has a copy of its own.

    Raises:
        TypeError: An argument can't be compared between processes, or what was returned can't leave its process:
            tensors on a GPU or in a graph, open files, locks.
        OSError: The memory does not suffice; while it is loaded, a data set needs twice its size.

    Example:
        >>> train_set, val_set = shared_data(load_images, "cifar-10-batches-bin")  # doctest: +SKIP
    """
    context = current_trial()
    list_files = file_listing if context.number is None else partial(_list_once, context)
    name = content_hash(load, arguments, named, data=context.data, list_files=list_files)
    with _shelf.lock:
        parts = map_block(_shelf.block(name, context, partial(_load_alone, name, load, arguments, named)))
    return cast(T, pickle.loads(parts[-1], buffers=parts[:-1]))


@final
class _ProcessBlocks:
    """The blocks that this process holds, mapped or not, so that its next trial finds them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a function that loads may call `shared_data` for a part
        self._blocks: dict[str, int] = {}
        self._used: dict[str, int] = {}
        """Trials of this process that had begun when the block was last asked for."""
        self._trials = 0
        self._context: weakref.ref[TrialContext] | None = None

    def block(self, name: str, context: TrialContext, make: Callable[[], int]) -> int:
        """The block of this name: this process's, or that of another one of the machine, or a new one."""
        if self._context is None or self._context() is not context:
            self._context, self._trials = weakref.ref(context), self._trials + 1
        if name not in self._blocks:
            found = find_block(name)
            self._blocks[name] = make() if found is None else found
        self._used[name] = self._trials
        if context.sharing is not None:
            context.sharing.hold_block(name, self._blocks[name])
        self._let_go(context)
        return self._blocks[name]

    def _let_go(self, context: TrialContext) -> None:
        """Of what neither this trial nor the one before asked for; by hand, where all is one trial, of the oldest."""
        too_many = list(self._blocks)[:-NUM_BY_HAND] if context.number is None else []
        for name in list(self._blocks):
            if name in too_many or self._used[name] < self._trials - 1:
                os.close(self._blocks.pop(name))
                del self._used[name]


_shelf = _ProcessBlocks()


def _load_alone(name: str, load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
    """The block of this name: made here, unless another process has made it while this one waited for its turn."""
    with exclusive_lock(name):
        found = find_block(name)
        return make_block(name, _load(load, arguments, named)) if found is None else found


def _load(load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
    """What a function that loads data returns, packed."""
    cached = hasattr(load, "cache_info")  # functools.cache would keep a copy of its own
    content = _same_random(getattr(load, "__wrapped__") if cached else load, arguments, named)  # noqa: B009
    return pack(content, what=f"shared_data({getattr(load, '__qualname__', repr(load))})")


def pack(content: Any, *, what: str) -> list[Any]:
    """Buffers, and last the pickled rest, of which `pickle.loads` makes the content again.

    Args:
        content: Tensors, arrays, functions, and anything of these.
        what: In messages.

    Raises:
        TypeError: It can't leave this process.
    """
    buffers: list[pickle.PickleBuffer] = []
    rest = io.BytesIO()
    try:
        _Pickler(rest, protocol=5, buffer_callback=buffers.append).dump(content)
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
        raise TypeError(
            f"{what}: what it returns can't be shared between processes: {error}. Return tensors on the"
            " CPU, arrays, and lists, dicts and objects of these; or call the function itself, once in each process."
        ) from error
    if rest.tell() > LARGE_BYTES:
        warnings.warn(
            f"{what}: {rest.tell() / 2**20:.0f} MiB of what it returns are no tensors or arrays of"
            " numbers; every process has a copy of these. Make arrays of them.",
            stacklevel=5,
        )
    return [*(buffer.raw() for buffer in buffers), rest.getbuffer()]


def _same_random(load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Called under a random state of its own: who loads must go on like those that find it loaded."""
    device = current_trial().device
    before = get_rng_states(device)
    seed_everything(0)
    try:
        return load(*arguments, **named)
    finally:
        set_rng_states(before, device)


@final
class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # by value what `__main__` defines: ranks have another one
    """Hands over the memory of tensors and arrays instead of copying it."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, Tensor):
            if thing.device.type != "cpu":
                raise TypeError(f"a tensor is on {thing.device}")
            if (
                type(thing) is Tensor
                and thing.layout is torch.strided
                and not (thing.requires_grad or thing.is_quantized)
            ):
                plain = thing.resolve_conj().resolve_neg().contiguous().flatten()
                buffer = pickle.PickleBuffer(plain.view(torch.uint8).numpy().data) if plain.numel() else None
                return _tensor, (buffer, thing.dtype, tuple(thing.shape))
        if type(thing) is numpy.ndarray and not thing.dtype.hasobject and not thing.flags.forc:
            return numpy.ascontiguousarray(thing).__reduce_ex__(5)
        return super().reducer_override(thing)


def _tensor(buffer: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if buffer is None:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape)


def _list_once(context: TrialContext, path: Path) -> str:
    """What lies at a path, looked at once for each rank: what a sweep trains on does not change, and may be large."""
    sharing = context.sharing
    if sharing is None:
        return _listed_here(path)
    known = sharing.find_listing(str(path))
    if known is None:
        known = _digest_of(path)
        sharing.store_listing(str(path), known)
    return known


@cache
def _listed_here(path: Path) -> str:
    return _digest_of(path)


def _digest_of(path: Path) -> str:
    """A text that is short, whatever number of files there is."""
    return hashlib.sha256(file_listing(path).encode("utf-8", "surrogateescape")).hexdigest()
