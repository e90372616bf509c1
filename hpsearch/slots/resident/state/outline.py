"""The outline of a Python value: a summary that is small enough to keep and exact enough to detect changes.

It has numbers and texts themselves, the members of containers and objects, and shape, address and some numbers of
tensors and arrays. A value whose members Python can't see (a lock, an open file) is represented by its identity alone.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import itertools
import pathlib
import random
import sys
import uuid
from collections import deque
from collections.abc import ItemsView, Iterator
from itertools import islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, final

from hpsearch.slots.resident.state.user_files import is_users_code

MAX_BITS = 128
"""Most bits of an int that a message shows; Python refuses to print an int of more than 4300 digits."""
MAX_DEPTH = 8
"""Most containers and objects inside each other that an outline includes."""
MAX_MEMBERS = 512
"""A container with more members is represented by its length and some of them."""
MAX_BYTES = 16 * 2**10
"""A tensor or array with more bytes is represented by some of its numbers."""
MAX_WEIGHTS = 10_000
"""Most modules and tensors of a model that are represented, in addition to its outline."""
SAMPLED = 64
"""Number of members, or numbers, that represent a large container, tensor or array."""
_SCALARS: frozenset[type] = frozenset({
    int, float, complex, bool, str, bytes, type(None), type(Ellipsis), range, pathlib.PosixPath, pathlib.PurePosixPath,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID,
})  # fmt: skip
"""Types of immutable values; an outline contains such a value itself."""
_SHOWS_ITS_STATE = (itertools.count, itertools.repeat)
"""Iterators whose `repr` shows their position."""
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
"""Containers whose length is part of messages and of identities."""
_OPAQUE = frozenset({
    "_thread", "asyncio", "click", "concurrent", "hpsearch", "logging", "loguru", "mlflow", "multiprocessing", "ray",
    "re", "rich", "structlog", "threading", "tqdm", "typer", "wandb",
})  # fmt: skip
"""Packages whose objects change themselves in ways that do not matter; they are compared by identity."""
INSIDE_TORCH = ("torch._dynamo", "torch._inductor", "torch._functorch", "torch.distributed")
"""Packages of PyTorch that keep state of their own, and patch what they trace."""

Outline = tuple[Any, ...]
"""Nested tuples of plain values, to be compared by `==`."""


def outline(value: object, *, budget: int, kept: list[object]) -> tuple[Outline, int]:
    """Make the outline of a value.

    Args:
        value: Any value.
        budget: Most values to visit; those beyond it are represented by their identity alone.
        kept: List that gets the objects that are represented by identity, so that no other object gets the same id.

    Returns:
        (outline, number of values that were visited).
    """
    outliner = _Outliner(budget, kept)
    found = outliner.of(value)
    return found, budget - outliner.left


@final
class _Outliner:
    """Makes the outline of one value.

    Args:
        budget: Most values to visit.
        kept: List that gets the objects that are represented by identity.
    """

    def __init__(self, budget: int, kept: list[object]) -> None:
        self.left, self._kept = budget, kept
        self._above: list[int] = []
        self._in_model = False

    def of(self, value: Any) -> Outline:
        """The outline of a value, or of one of its members."""
        self.left -= 1
        kind = type(value)
        if kind in _SCALARS:
            return (kind, value) if value == value else (kind, None)  # noqa: PLR0124 - NaN is not
        if self.left < 0 or len(self._above) >= MAX_DEPTH or id(value) in self._above:
            return self._identity(value)
        self._above.append(id(value))
        try:
            return self._members(value, kind)
        except Exception:  # for example a proxy that raises, or a tensor without memory
            return self._identity(value)
        finally:
            self._above.pop()

    def _members(self, value: Any, kind: type) -> Outline:
        if issubclass(kind, dict | MappingProxyType):
            items = dict.items(value) if issubclass(kind, dict) else value.items()
            return (*self._mapping(items), *self._state(value))
        if issubclass(kind, list | tuple | deque):
            return (kind, len(value), *map(self.of, _some(value)), *self._state(value))
        if issubclass(kind, set | frozenset):
            return (kind, len(value), frozenset(map(self.of, islice(value, MAX_MEMBERS))), *self._state(value))
        if kind is FunctionType:
            return self._function(value)
        if issubclass(kind, type | ModuleType | BuiltinFunctionType):
            return self._identity(value)
        if issubclass(kind, bytearray | memoryview):
            return (*self._identity(value), hash(bytes(value[:MAX_BYTES])))
        for part in (self._wrapped, self._stateful, self._of_torch, self._of_numpy):
            found = part(value, kind)
            if found is not None:
                return found
        return self._object(value, kind)

    def _identity(self, value: object) -> Outline:
        self._kept.append(value)
        return (type(value), id(value), _length(value))

    def _mapping(self, items: ItemsView[Any, Any]) -> Outline:
        return (dict, len(items), *((self.of(key), self.of(member)) for key, member in _some(items)))

    def _function(self, function: FunctionType) -> Outline:
        """A function with its defaults, its attributes and, if it is the user's, its closure."""
        parts: list[object] = [function.__defaults__, function.__kwdefaults__, function.__dict__]
        if function.__closure__ and is_users_code(function.__code__):
            parts += [cell.cell_contents for cell in function.__closure__ if not _is_empty(cell)]
        return (*self._identity(function), *(self.of(part) for part in parts if part))

    def _wrapped(self, value: Any, kind: type) -> Outline | None:
        """A partial, a bound method or another object that refers to a function; None for anything else."""
        if issubclass(kind, functools.partial):
            return (*self._identity(value), *map(self.of, (value.func, value.args, value.keywords)))
        if kind is MethodType:
            return (kind, self.of(value.__func__), self.of(value.__self__))
        if kind in {staticmethod, classmethod}:
            return (*self._identity(value), self.of(value.__func__))
        if kind is property:
            return (*self._identity(value), *map(self.of, (value.fget, value.fset)))
        if kind is functools._lru_cache_wrapper:
            return (*self._identity(value), self.of(value.__wrapped__))  # its results: `caches.py`
        return None

    def _stateful(self, value: Any, kind: type) -> Outline | None:
        """An iterator, generator or random number generator, by its state; None for anything else."""
        if kind in _SHOWS_ITS_STATE:
            return (kind, repr(value))
        if issubclass(kind, random.Random):
            return (*self._identity(value), value.getstate())
        if kind is GeneratorType:
            return (*self._identity(value), value.gi_frame and value.gi_frame.f_lasti)
        return None

    def _of_torch(self, value: Any, kind: type) -> Outline | None:
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        if issubclass(kind, torch.Tensor):
            return self._tensor(value, torch)
        if issubclass(kind, torch.Generator):
            return (*self._identity(value), hash(value.get_state().numpy().tobytes()))
        if issubclass(kind, torch.nn.Module) and not self._in_model:
            self._in_model = True  # `_weights` has visited all modules in it
            weights = _weights(value)
            members = self._object(value, kind)
            self._in_model = False
            return (weights, *members)
        return (kind, str(value)) if issubclass(kind, torch.device | torch.dtype) else None

    def _of_numpy(self, value: Any, kind: type) -> Outline | None:
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        if issubclass(kind, numpy.ndarray):
            return (kind, _address(value), *self._array(value))
        if issubclass(kind, numpy.generic):
            return (kind, value.tobytes())
        if issubclass(kind, numpy.random.Generator):
            return (*self._identity(value), self.of(value.bit_generator.state))
        if issubclass(kind, numpy.random.RandomState):
            return (*self._identity(value), self.of(value.get_state(legacy=False)))
        return self._table(value) if kind.__module__.partition(".")[0] == "pandas" and hasattr(value, "iloc") else None

    def _tensor(self, tensor: Any, torch: Any) -> Outline:
        self.left -= SAMPLED // 2
        facts = (type(tensor), id(tensor), tensor.shape, str(tensor.dtype), str(tensor.device), tensor.requires_grad)
        self._kept.append(tensor)
        if tensor.layout is not torch.strided:
            return facts
        version = 0 if tensor.is_inference() else tensor._version  # the number of in-place operations
        gradient = self.of(tensor.grad) if tensor.requires_grad and tensor.is_leaf and tensor.grad is not None else ()
        numbers = 0
        if tensor.device.type == "cpu" and tensor.is_contiguous():  # `.data` and NumPy change it without counting
            flat = tensor.detach().view(-1)
            numbers = hash(_sample(flat, flat.nbytes).contiguous().view(torch.uint8).numpy().tobytes())
        return (*facts, tensor.data_ptr(), version, numbers, gradient)

    def _array(self, array: Any) -> Outline:
        self.left -= SAMPLED // 2
        if array.dtype.hasobject:
            return (array.shape, *map(self.of, array.flat[:: -(-array.size // SAMPLED) or 1]))
        flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
        return (array.shape, str(array.dtype), hash(_sample(flat, array.nbytes).tobytes()))

    def _table(self, table: Any) -> Outline:
        """A DataFrame or Series of pandas: its shape, column names and some of its rows."""
        rows = table.iloc[:: -(-len(table) // SAMPLED) or 1]
        names = tuple(map(str, islice(getattr(table, "columns", ()), SAMPLED)))
        return (*self._identity(table), table.shape, names, *self._array(rows.to_numpy()))

    def _object(self, value: object, kind: type) -> Outline:
        if _is_opaque(kind):
            return self._identity(value)
        return (*self._identity(value), *self._state(value))

    def _state(self, value: object) -> Outline:
        """The attributes and slots of an object, read without running code of its own."""
        parts: list[Outline] = []
        attributes = _attributes(value)
        if attributes:
            parts.append(self._mapping(attributes.items()))
        for name, slot in _slots(type(value)):  # type: ignore[arg-type]
            try:
                parts.append((name, self.of(slot.__get__(value))))
            except AttributeError:  # it is not set
                continue
        return tuple(parts)


def _weights(model: Any) -> Outline:
    """For all modules of a model: training or not, and how often each tensor was changed in place."""
    found: list[Any] = []
    left = [model]
    while left and len(found) < MAX_WEIGHTS:
        attributes = vars(left.pop())
        found.append(attributes["training"])
        tensors = [*attributes["_parameters"].values(), *attributes["_buffers"].values()]
        found += [
            (id(tensor), 0 if tensor.is_inference() else tensor._version) for tensor in tensors if tensor is not None
        ]
        left += [module for module in attributes["_modules"].values() if module is not None]
    return tuple(found)


def _attributes(value: object) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


@functools.cache
def _slots(kind: Any) -> tuple[tuple[str, MemberDescriptorType], ...]:
    """The `__slots__` of a class and its base classes."""
    owners = (owner for owner in kind.__mro__ if "__slots__" in vars(owner))
    return tuple(
        (name, slot) for owner in owners for name, slot in vars(owner).items() if type(slot) is MemberDescriptorType
    )


@functools.cache
def _is_opaque(kind: Any) -> bool:
    module = str(kind.__module__)
    return module.partition(".")[0] in _OPAQUE or module.startswith(INSIDE_TORCH)


def _some(members: Any) -> Iterator[Any]:
    """All members up to MAX_MEMBERS, else the first, the last and, of a sequence, some between."""
    if len(members) <= MAX_MEMBERS:
        yield from members
        return
    yield from islice(members, SAMPLED)
    if isinstance(members, list | tuple):
        yield from members[SAMPLED :: len(members) // SAMPLED]
    yield from islice(reversed(members), SAMPLED)


def _sample(flat: Any, num_bytes: int) -> Any:
    return flat[:] if num_bytes <= MAX_BYTES else flat[:: -(-len(flat) // SAMPLED)]


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _length(value: object) -> int | None:
    return len(value) if issubclass(type(value), _CONTAINERS) else None  # type: ignore[arg-type]


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:
        return True


def is_fixed(value: object) -> bool:
    """Whether a value can't change as long as it is the same object."""
    kind = type(value)
    if kind is FunctionType:
        function: Any = value
        return not (function.__closure__ or function.__defaults__ or function.__kwdefaults__ or function.__dict__)
    return kind in _SCALARS or issubclass(kind, type | ModuleType | BuiltinFunctionType)


def short(value: object) -> str:
    """A value as messages show it.

    Example:
        >>> short(0.5), short([1, 2]), short("a" * 50)
        ('0.5', 'a list of 2', 'a str of 50')
    """
    kind = type(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"an int of {value.bit_length()} bits"
    if kind in {int, float, bool, type(None)} or (kind in {str, bytes} and len(repr(value)) <= 32):
        return repr(value)
    article = "an" if kind.__name__[0] in "aeiouAEIOU" else "a"
    length = len(value) if issubclass(kind, (*_CONTAINERS, str, bytes)) else None  # type: ignore[arg-type]
    return f"{article} {kind.__name__}" + ("" if length is None else f" of {length}")
