"""Hashes functions that no imported file defines: those of notebook cells and scripts, and closures.

The hashes of a function include those of the functions and classes of `__main__` that it refers to, at any depth, and
of the plain values among its globals and in its closure. Other values (a tensor, a data set) can't be hashed and get
the hash UNKNOWN: a change of the code around them is still noticed, but their trials are never reused, since the
value may have changed. Code in files is hashed in `code_files.py`.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from hpsearch.plain import canonical

UNKNOWN = "can't be compared"
"""The hash of a value that can't be hashed."""


def function_hashes(function: Callable[..., Any]) -> dict[str, str]:
    """Names to hashes of a function, and of the code in `__main__` and the values that it depends on.

    Raises:
        OSError, TypeError, ValueError: The source of one of the functions can't be read.
    """
    return dict(_of_function(function, set()))


def _of_function(function: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    if id(function) in seen:
        return
    seen.add(id(function))
    name = function.__qualname__
    yield name, _hash(inspect.getsource(function))
    yield from _of_values(f"{name}.defaults", [function.__defaults__, function.__kwdefaults__])
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for each, cell in cells:
        value = cell.cell_contents
        yield from _of_function(value, seen) if inspect.isfunction(value) else _of_named(name, each, value, seen)
    for each in sorted(_globals_of(function.__code__)):
        if each in function.__globals__:
            yield from _of_named(name, each, function.__globals__[each], seen)


def _of_named(user: str, name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """The hashes of the object that a name refers to; an object that was imported from a file has none."""
    if inspect.isclass(value) or inspect.isroutine(value):
        if getattr(value, "__module__", None) == "__main__":
            yield from _of_class(value, seen) if inspect.isclass(value) else _of_function(value, seen)
    elif not isinstance(value, ModuleType):
        yield from _of_values(f"{user}.{name}", value)


def _of_class(value: type, seen: set[int]) -> Iterator[tuple[str, str]]:
    """The hashes of a class's bases and members, since Python can't find the source of a class in a notebook cell."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value.__qualname__, _hash(canonical([base.__qualname__ for base in value.__bases__]))
    for base in value.__bases__:
        yield from _of_named(value.__qualname__, base.__qualname__, base, seen)
    for name, member in vars(value).items():
        inner = inspect.unwrap(getattr(member, "__func__", None) or getattr(member, "fget", None) or member)
        if inspect.isfunction(inner) and inner.__module__ == "__main__":
            yield from _of_function(inner, seen)
        elif not name.startswith("__"):
            yield from _of_named(value.__qualname__, name, member, seen)


def _of_values(name: str, value: Any) -> Iterator[tuple[str, str]]:
    try:
        yield name, _hash(canonical(value))
    except (TypeError, ValueError):
        yield name, UNKNOWN


def _globals_of(code: CodeType) -> set[str]:
    """The global names that a function and its inner functions look up."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    own = {str(each.argval) for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*map(_globals_of, inner))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
