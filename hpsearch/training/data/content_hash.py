"""What a function that loads data is: its code as this process has it, its arguments, and the files that they name.

Two processes share what it returns only if they would have loaded the same. In doubt they differ, and load twice.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

from hpsearch.training.user_code import is_user_code

Lines = Iterator[str]


def content_hash(
    load: Callable[..., Any],
    arguments: Sequence[Any],
    named: Mapping[str, Any],
    *,
    data: Mapping[str, Any],
    list_files: Callable[[Path], str],
) -> str:
    """A hash, 32 hexadecimal digits, of everything that decides what `load(*arguments, **named)` returns.

    Args:
        load: A function, with the functions, classes and plain values of the user's that it names, however deep.
        arguments: Plain values: numbers, texts, paths, functions, and lists and maps of these.
        named: The same.
        data: The spec's `data`, which the function may look at too.
        list_files: What lies at a path, as `file_listing`.

    Raises:
        TypeError: An argument, or a value that the function closes over, can't be compared between processes.
    """
    digest = hashlib.sha256(f"{platform.python_version()} {torch.__version__} {sys.prefix}".encode())
    for line in _Walk(list_files).value([dict(data), load, *arguments, dict(named)], f"shared_data({_name(load)})"):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:32]


def file_listing(root: Path) -> str:
    """One line for each file at or below `root`: name, bytes, time of the last change."""
    paths = [root] if root.is_file() else sorted(Path(at) / name for at, _, names in os.walk(root) for name in names)
    facts = [(path.relative_to(root), path.stat()) for path in paths if path.exists()]
    return "\n".join(f"{name} {fact.st_size} {fact.st_mtime_ns}" for name, fact in facts)


class _Walk:
    """Goes through functions and values; each function and class once."""

    def __init__(self, list_files: Callable[[Path], str]) -> None:
        self._list_files = list_files
        self._seen: set[int] = set()

    def value(self, value: Any, where: str) -> Lines:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            yield repr(value)
        elif isinstance(value, PurePath):
            yield str(value)
        elif isinstance(value, list | tuple | Mapping | set | frozenset):
            yield from self._container(value, where)
        elif isinstance(value, functools.partial):
            yield from self.value([value.func, value.args, value.keywords], where)
        elif isinstance(value, type | ModuleType) or callable(value):
            yield from self._code(value, where)
        elif isinstance(value, torch.dtype | torch.device):
            yield repr(value)
        else:
            raise TypeError(
                f"{where} uses a value of type {type(value).__name__}, which can't be compared between processes."
                " Give numbers, texts, paths, functions, or lists and dicts of these."
            )
        if isinstance(value, str | PurePath) and _is_path(value):
            yield self._list_files(Path(value))

    def _container(self, value: Any, where: str) -> Lines:
        if isinstance(value, Mapping):
            items: list[Any] = [part for item in value.items() for part in item]
        else:
            items = list(value) if isinstance(value, list | tuple) else sorted(value, key=repr)
        yield f"{type(value).__name__} {len(items)}"
        for item in items:
            yield from self.value(item, where)

    def _code(self, value: Any, where: str) -> Lines:
        value = inspect.unwrap(value) if callable(value) else value
        yield _name(value)
        if id(value) in self._seen or not _is_the_users(value):
            return
        self._seen.add(id(value))
        if isinstance(value, FunctionType):
            yield from self._function(value, where)
        elif isinstance(value, type):
            for name, member in vars(value).items():
                inner = getattr(member, "__func__", member)
                if isinstance(inner, FunctionType):
                    yield name
                    yield from self._function(inner, where)
        elif isinstance(value, ModuleType):
            yield hashlib.sha256(Path(str(value.__file__)).read_bytes()).hexdigest()
        elif inspect.ismethod(value):
            raise TypeError(f"{where} uses the method {_name(value)} of an object, whose state can't be compared.")

    def _function(self, function: FunctionType, where: str) -> Lines:
        yield from self.value([function.__defaults__, function.__kwdefaults__], where)
        for cell in function.__closure__ or ():
            yield from self.value(cell.cell_contents, where)
        names: set[str] = set()
        yield from _instructions(function.__code__, names)
        for name in sorted(names & function.__globals__.keys()):
            yield name
            yield from self._global(function.__globals__[name], where)

    def _global(self, value: Any, where: str) -> Lines:
        """What a function finds by name: code and plain values count; loggers, caches and the like don't."""
        try:
            yield from list(self.value(value, where))
        except TypeError:
            yield type(value).__name__


def _instructions(code: CodeType, names: set[str]) -> Lines:
    """The bytecode, without the places in the file that it came from; the names that it looks up go to `names`."""
    names.update(code.co_names)
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant, names)
        else:
            yield repr(sorted(constant, key=repr)) if isinstance(constant, frozenset) else repr(constant)


def _is_the_users(value: Any) -> bool:
    if isinstance(value, FunctionType):
        return is_user_code(value.__code__.co_filename)
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "builtins"
    if home == "__main__" or home not in sys.modules:  # a notebook, or what was sent here from one
        return not isinstance(value, ModuleType)
    file = getattr(sys.modules[home], "__file__", None)
    return file is not None and is_user_code(file)


def _is_path(value: str | PurePath) -> bool:
    try:
        return str(value) not in ("", ".", "/") and os.path.exists(value)  # noqa: PTH110  # never raises for odd texts
    except ValueError:
        return False


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', '?'))}"
