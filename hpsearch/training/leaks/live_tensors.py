"""The tensors that are alive, and what holds one: the variable, attribute or container of the user, with its line.

Python reports which objects refer to an object (`gc.get_referrers`) but no names. Names are found by searching the
variables of frames, generators, modules and instances for the object. The line is one that changes the variable.
"""

from __future__ import annotations

import gc
import inspect
import linecache
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import CellType, CodeType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

import torch
from torch import Tensor

from hpsearch.training.user_code import display_path, is_user_code

MAX_DEPTH = 6
"""Most containers inside each other that are searched."""
MAX_MEMBERS = 200_000
"""Most objects inside one global variable that are searched."""
_CHANGES = (
    r"\b{}(\[.*\])?\s*\.\s*(append|extend|add|insert|update|setdefault|appendleft)\b",
    r"\b{}\s*([-+*/|]=|\[.*\]\s*[-+*/|]?=(?!=))",
    r"\b{}\s*(:[^=]+)?=(?!=)",
)
"""Patterns of a line that stores something in a variable, the likeliest first."""


def live_tensors() -> list[Tensor]:
    """All tensors that Python's garbage collector tracks and whose memory can be measured.

    Tensors that existed when `gc.freeze` was called are not included.
    """
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor) and _can_be_measured(thing)]


def size_of(tensors: list[Tensor]) -> int:
    """Bytes of the storages of tensors from `live_tensors`; a storage that several tensors share is counted once."""
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())


def _can_be_measured(tensor: Tensor) -> bool:
    """False for sparse, nested and lazy tensors and those of `torch.func`, which have no storage or no shape."""
    try:
        return tensor.layout is torch.strided and len(tensor.shape) >= 0 and tensor.untyped_storage() is not None
    except (RuntimeError, ValueError):
        return False


def has_graph(tensor: Tensor) -> bool:
    """Whether a tensor keeps its autograd graph, and with it the activations it was computed from."""
    return tensor.grad_fn is not None


def describe(tensor: Tensor) -> str:
    """A tensor's dtype, shape and graph as text.

    Example:
        >>> describe(torch.zeros(2, 3))
        'a float32 tensor (2, 3)'
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    text = f"a {dtype} tensor {tuple(tensor.shape)}" if tensor.ndim else f"a {dtype} scalar tensor"
    return f"{text} with its graph ({type(tensor.grad_fn).__name__})" if has_graph(tensor) else text


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The variable that holds an object."""

    what: str
    """Kind and name of the variable, for example "list `losses`"."""
    line: str | None
    """`file:line` that changes the variable; None if it isn't known."""
    is_container: bool
    """True if the variable is a container with the object in it, False if its value is the object itself."""

    def __str__(self) -> str:
        return self.what if self.line is None else f"{self.what} of {self.line}"


def find_holder(thing: object) -> Holder | None:
    """The user's variable or attribute that keeps `thing` alive; None if none is found.

    The search goes outwards from the object: first variables whose value it is, then the containers that it is in.
    """
    seen, layer = {id(thing)}, [thing]
    for _ in range(MAX_DEPTH):
        outer: list[object] = []
        for held in layer:
            holder = _named(held, is_kept=held is thing)
            if holder is not None:
                return holder
            outer += [each for each in gc.get_referrers(held) if _is_container(each) and id(each) not in seen]
            seen.update(map(id, outer))
        layer = outer
    return _in_globals(thing)


def _in_globals(thing: object) -> Holder | None:
    """The user's global variable that holds `thing`; `gc.get_referrers` misses containers frozen by `gc.freeze`."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_user_code(file):
            for name, value in list(vars(module).items()):
                if any(member is thing for member in islice(_members(value, MAX_DEPTH), MAX_MEMBERS)):
                    what = f"{type(value).__name__} `{name}`"
                    return Holder(what=what, line=_changed_at(file, 0, name), is_container=value is not thing)
    return None


def _members(value: object, depth: int) -> Iterator[object]:
    """`value` and everything in it, down to `depth` nested containers."""
    yield value
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple | set | deque):
        inner = value
    elif is_user_object(value):
        inner = getattr(value, "__dict__", {}).values()
    for member in list(inner) if depth else ():
        yield from _members(member, depth - 1)


def _named(held: object, *, is_kept: bool) -> Holder | None:
    """The variable whose value is `held`."""
    kind = "variable" if is_kept else type(held).__name__
    for name, code, first_line in _variables_of(held):
        return Holder(what=f"{kind} `{name}`", line=_changed_at(code, first_line, name), is_container=not is_kept)
    return None


def _variables_of(held: object) -> Iterator[tuple[str, CodeType | str, int]]:
    """(name, code or file, first line to search) of each local, closure, global or attribute with the value `held`."""
    for frame in _frames():
        if is_user_code(frame.f_code.co_filename):
            yield from ((name, frame.f_code, 0) for name, value in frame.f_locals.items() if value is held)
    for holder in gc.get_referrers(held):
        if isinstance(holder, GeneratorType):
            yield from _generator_variables(holder, held)
        elif isinstance(holder, CellType):
            yield from _closures(holder)
        elif isinstance(holder, dict):
            yield from _globals_or_attributes(holder, held)
        elif not isinstance(holder, FrameType | ModuleType) and is_user_object(holder):
            yield from _attributes(holder, held)


def _generator_variables(generator: GeneratorType[Any, Any, Any], held: object) -> Iterator[tuple[str, CodeType, int]]:
    code, frame = generator.gi_code, generator.gi_frame
    if frame is not None and is_user_code(code.co_filename):
        yield from ((name, code, 0) for name, value in frame.f_locals.items() if value is held)


def _closures(cell: CellType) -> Iterator[tuple[str, CodeType, int]]:
    for cells in gc.get_referrers(cell):
        if not isinstance(cells, tuple):
            continue
        for function in gc.get_referrers(cells):
            if isinstance(function, FunctionType) and function.__closure__ is cells:
                name = function.__code__.co_freevars[next(at for at, one in enumerate(cells) if one is cell)]
                yield name, function.__code__, 0


def _globals_or_attributes(holder: dict[Any, Any], held: object) -> Iterator[tuple[str, CodeType | str, int]]:
    name = next((key for key, value in holder.items() if value is held), None)
    if not isinstance(name, str):
        return
    file = holder.get("__file__")
    if isinstance(file, str) and "__name__" in holder:
        if is_user_code(file):
            yield name, file, 0
        return
    for owner in gc.get_referrers(holder):
        if getattr(owner, "__dict__", None) is holder and is_user_object(owner):
            yield from _attribute(owner, name)


def _attributes(owner: object, held: object) -> Iterator[tuple[str, CodeType | str, int]]:
    for name, value in getattr(owner, "__dict__", {}).items():
        if value is held:
            yield from _attribute(owner, name)


def _attribute(owner: object, name: str) -> Iterator[tuple[str, CodeType | str, int]]:
    kind = owner if isinstance(owner, type) else type(owner)
    try:
        file, line = inspect.getsourcefile(kind) or "", inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        file, line = "", 0
    yield f"self.{name}", file, line


def is_user_object(thing: object) -> bool:
    """Whether the class of an object was written by the user."""
    module = sys.modules.get(getattr(type(thing), "__module__", ""))
    file = getattr(module, "__file__", None)
    return (file is not None and is_user_code(file)) or getattr(module, "__name__", "") == "__main__"


def _is_container(holder: object) -> bool:
    if isinstance(holder, Mapping) and "__name__" in holder:
        return False  # the globals of a module
    return isinstance(holder, list | tuple | dict | set) or type(holder).__name__ in ("deque", "defaultdict")


def _frames() -> Iterator[FrameType]:
    """The frames of all threads, innermost first."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            yield frame
            frame = frame.f_back


def _changed_at(code: CodeType | str, first_line: int, name: str) -> str | None:
    """`file:line` of the first line that changes a variable; only the file if no line is found."""
    file = code if isinstance(code, str) else code.co_filename
    start = first_line if isinstance(code, str) else code.co_firstlineno
    lines = linecache.getlines(file)
    if not isinstance(code, str):
        end = max((line for _, _, line in code.co_lines() if line is not None), default=start)
        lines = lines[:end]
    for pattern in _CHANGES:
        for number, line in enumerate(lines, start=1):
            if number >= start and re.search(pattern.format(re.escape(name)), line):
                return f"{display_path(file)}:{number}"
    return display_path(file) or None
