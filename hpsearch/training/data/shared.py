"""`shared_data`: a data set that is in the memory of a machine once, however many trials train on it.

The first process that asks for a data set loads it and copies it into a sealed block of memory (`sealed_memory.py`).
All processes, the first one included, map that block. Arrays and tensors point into the mapping; a page that a process
writes to is copied for that process alone. Anything else, such as the keys of a dict or the attributes of a data set,
is unpickled in each call and not shared.
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
"""If more bytes than this of a data set can't be shared, there is a warning."""
NUM_BY_HAND = 4
"""Most data sets that a process outside of a sweep keeps in memory."""


def shared_data(load: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Load a data set once per machine, and share its memory between all trials and ranks.

    The first call runs `load(*arguments, **named)`; later calls with the same code, arguments and files, from any
    process of this user on this machine, return tensors and arrays in the same memory. A trial may write to them: it
    gets a private copy of the changed pages, and other trials do not see the change.

    Two calls share if they would load the same: the code of `load` and of the functions that it uses, the arguments,
    and names, sizes, times and inodes of the files at paths among the arguments and below `data.root`. This works
    outside of a sweep too, between processes that run at the same time. Nothing is written to disk; the memory is freed
    when the last process that uses it ends, even if it is killed.

    Args:
        load: Function that loads the data. Random generators are seeded with 0 while it runs, so that the result is
            the same for every trial; afterwards their states are restored.
        arguments: Arguments of `load`: numbers, texts, paths, functions, or lists and dicts of these.
        named: Keyword arguments of `load`, of the same types.

    Returns:
        What `load` returns: tensors, NumPy arrays, data sets of these, and lists, tuples, dicts and objects that
        contain them. CPU tensors and arrays of numbers share memory; of anything else each process has a copy.

    Raises:
        TypeError: An argument can't be compared between processes, or the result can't be moved between processes, for
            example tensors on a GPU or with a graph, open files or locks.
        OSError: There is not enough memory. While a data set is loaded, it needs twice its size.

    Example:
        >>> train_set, val_set = shared_data(load_images, "cifar-10-batches-bin")  # doctest: +SKIP
    """
    context = current_trial()
    list_files = file_listing if context.number is None else partial(_list_once, context)
    name = content_hash(load, arguments, named, data=context.data, list_files=list_files)
    with _blocks.lock:
        parts = map_block(_blocks.block(name, context, partial(_load_once, name, load, arguments, named)))
    return cast(T, pickle.loads(parts[-1], buffers=parts[:-1]))


@final
class _ProcessBlocks:
    """The blocks that this process keeps open for its later trials, whether they are mapped or not."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # reentrant: a loading function may call `shared_data` itself
        self._blocks: dict[str, int] = {}
        self._used: dict[str, int] = {}
        """Number of trials that had begun in this process when the block was last used."""
        self._trials = 0
        self._context: weakref.ref[TrialContext] | None = None

    def block(self, name: str, context: TrialContext, make: Callable[[], int]) -> int:
        """The block of this name: of this process, or else of another process of this machine, or else a new one.

        Args:
            name: Name of the block.
            context: The trial that uses it.
            make: Makes the block and returns its open file descriptor.
        """
        if self._context is None or self._context() is not context:
            self._context, self._trials = weakref.ref(context), self._trials + 1
        if name not in self._blocks:
            found = find_block(name)
            self._blocks[name] = make() if found is None else found
        self._used[name] = self._trials
        if context.sharing is not None:
            context.sharing.hold_block(name, self._blocks[name])
        self._close_unused(context)
        return self._blocks[name]

    def _close_unused(self, context: TrialContext) -> None:
        """Close blocks that neither this trial nor the one before has used; outside of a sweep, the oldest ones."""
        too_many = list(self._blocks)[:-NUM_BY_HAND] if context.number is None else []
        for name in list(self._blocks):
            if name in too_many or self._used[name] < self._trials - 1:
                os.close(self._blocks.pop(name))
                del self._used[name]


_blocks = _ProcessBlocks()
"""The blocks of this process."""


def _load_once(name: str, load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Make the block of this name, unless another process makes it while this one waits for the lock."""
    with exclusive_lock(name):
        found = find_block(name)
        return make_block(name, _load(load, arguments, named)) if found is None else found


def _load(load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
    """Call a loading function, and pack its result."""
    is_cached = hasattr(load, "cache_info")  # functools.cache would keep a second copy
    content = _call_seeded(getattr(load, "__wrapped__") if is_cached else load, arguments, named)  # noqa: B009
    return pack(content, what=f"shared_data({getattr(load, '__qualname__', repr(load))})")


def pack(content: Any, *, what: str) -> list[Any]:
    """Pickle an object with its tensors and arrays as separate buffers (pickle protocol 5).

    Args:
        content: Tensors, arrays, functions, and anything that contains these.
        what: Name of the content in messages.

    Returns:
        The buffers, and last the pickle: `pickle.loads(parts[-1], buffers=parts[:-1])` restores the content.

    Raises:
        TypeError: The content can't be moved to another process.
    """
    buffers: list[pickle.PickleBuffer] = []
    rest = io.BytesIO()
    try:
        _Pickler(rest, protocol=5, buffer_callback=buffers.append).dump(content)
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
        raise TypeError(
            f"{what}: the result can't be shared between processes: {error}. Return tensors on the"
            " CPU, arrays, and lists, dicts and objects of these; or call the function itself, once in each process."
        ) from error
    if rest.tell() > LARGE_BYTES:
        warnings.warn(
            f"{what}: {rest.tell() / 2**20:.0f} MiB of the result are not tensors or arrays of numbers,"
            " so each process has a copy of them. Convert them to arrays.",
            stacklevel=5,
        )
    return [*(buffer.raw() for buffer in buffers), rest.getbuffer()]


def _call_seeded(load: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Call a function with all generators seeded with 0, then restore them: loading must not change later draws."""
    device = current_trial().device
    before = get_rng_states(device)
    seed_everything(0)
    try:
        return load(*arguments, **named)
    finally:
        set_rng_states(before, device)


@final
class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # pickles classes of `__main__`, which ranks lack, by value
    """Passes on the memory of tensors and arrays instead of copying it."""

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
    """The digest of the files at a path, computed once for each rank of a sweep: folders of data can be large."""
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
    """SHA-256 of the listing of the files at a path."""
    return hashlib.sha256(file_listing(path).encode("utf-8", "surrogateescape")).hexdigest()
