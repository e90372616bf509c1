"""A hash of everything that decides what a loading function returns: its code, its arguments and the files they name.

Two processes share the result of `shared_data` only if these hashes are equal. Where equality can't be established,
the hashes differ and the data is loaded twice.
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
"""The lines of text that are hashed, in order."""


def content_hash(
    load: Callable[..., Any],
    arguments: Sequence[Any],
    named: Mapping[str, Any],
    *,
    data: Mapping[str, Any],
    list_files: Callable[[Path], str],
) -> str:
    """Hash everything that decides what `load(*arguments, **named)` returns.

    That is: the versions of Python and PyTorch, the environment, `data`, the bytecode of `load` and of all functions
    and classes of the user that it refers to, directly or indirectly, the plain values that these use, the arguments,
    and the listing of the files at every text or path that exists on disk.

    Args:
        load: The loading function.
        arguments: Plain values: numbers, texts, paths, functions, and lists and dicts of these.
        named: Keyword arguments; plain values as well.
        data: The spec's `data`, which the function may read too.
        list_files: Returns a text that changes when the files at or below a path change, such as `file_listing`.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: An argument, or a value that the function closes over, can't be compared between processes.
    """
    digest = hashlib.sha256(f"{platform.python_version()} {torch.__version__} {sys.prefix}".encode())
    for line in _Walk(list_files).value([dict(data), load, *arguments, dict(named)], f"shared_data({_name(load)})"):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:32]


def file_listing(root: Path) -> str:
    """The files at or below `root`, one line for each: relative path, size in bytes, and what changes with the content.

    That is the time at which the content was written and the one at which the file's entry was, in ns, and the file's
    number. A copy that keeps the first time, or a clock that was set back, changes one of the others. They are only
    compared for equality.
    """
    paths = [root] if root.is_file() else sorted(Path(at) / name for at, _, names in os.walk(root) for name in names)
    facts = [(path.relative_to(root), path.stat()) for path in paths if path.exists()]
    return "\n".join(
        f"{name} {fact.st_size} {fact.st_mtime_ns} {fact.st_ctime_ns} {fact.st_ino}" for name, fact in facts
    )


class _Walk:
    """Traverses functions and values, each function and class once, and yields the lines to hash.

    Args:
        list_files: As in `content_hash`.
    """

    def __init__(self, list_files: Callable[[Path], str]) -> None:
        self._list_files = list_files
        self._seen: set[int] = set()

    def value(self, value: Any, where: str) -> Lines:
        """The lines of one value.

        Args:
            value: The value.
            where: What uses the value, for messages.

        Raises:
            TypeError: The value can't be compared between processes.
        """
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
        """The name of a function, class or module, and its content if it belongs to the user."""
        value = inspect.unwrap(value) if callable(value) else value
        yield _name(value)
        if id(value) in self._seen or not _belongs_to_user(value):
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
        """A global that a function refers to: code and plain values are hashed, of other objects only the type.

        Loggers, caches and similar globals thus don't prevent sharing.
        """
        try:
            yield from list(self.value(value, where))
        except TypeError:
            yield type(value).__name__


def _instructions(code: CodeType, names: set[str]) -> Lines:
    """The bytecode without its line numbers; the names that it looks up are added to `names`."""
    names.update(code.co_names)
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant, names)
        else:
            yield repr(sorted(constant, key=repr)) if isinstance(constant, frozenset) else repr(constant)


def _belongs_to_user(value: Any) -> bool:
    """Whether a function, class or module was written by the user."""
    if isinstance(value, FunctionType):
        return is_user_code(value.__code__.co_filename)
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "builtins"
    if home == "__main__" or home not in sys.modules:  # defined in a notebook or script, perhaps in another process
        return not isinstance(value, ModuleType)
    file = getattr(sys.modules[home], "__file__", None)
    return file is not None and is_user_code(file)


def _is_path(value: str | PurePath) -> bool:
    """Whether a text or path names something that exists, other than the working directory or the root."""
    try:
        return str(value) not in ("", ".", "/") and os.path.exists(value)  # noqa: PTH110  # Path.exists may raise for odd texts
    except ValueError:
        return False


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', '?'))}"
