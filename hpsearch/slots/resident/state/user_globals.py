"""What the user's modules hold from one trial to the next: globals, attributes of classes, caches of functions.

A module that is imported during a trial counts as it was right after its import (`user_imports.py`), and what its
import changed in other modules, such as a table that models enter themselves into, is no change.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast, final

from hpsearch.slots.resident.state.caches import CACHE, FunctionCache
from hpsearch.slots.resident.state.outline import Outline, is_fixed, outline, short
from hpsearch.slots.resident.state.user_files import is_users_code, is_users_module

MAX_VALUES = 20_000
"""Values that one look visits; about 15 ms."""
VALUES_OF_ONE = 2_000
"""Values that are visited of one global."""
LEAST_OF_ONE = 20
"""The same where all other globals have used up the rest."""
_MAIN = frozenset({"__main__", "__mp_main__"})
"""The program itself: Ray's, or a script that is run once for each trial."""
MAX_NESTED = 3
"""Classes within classes."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One name, as it was."""

    outline: Outline
    shown: str
    """Its value in words."""
    budget: int
    """Values that were looked at, or might have been; the same number is looked at again."""
    value: object
    """The value itself where nothing in it can change, which spares the outline; else the entry's own `kept`."""
    kept: list[object] = field(default_factory=list)
    """What is known by its identity: no other object gets the same meanwhile."""


@final
class UserGlobals:
    """All names in all modules of the user's, as they were when they were imported.

    Args:
        trainable: A function that was pickled by value has globals that belong to no module; None for no trainable.
    """

    def __init__(self, trainable: object = None) -> None:
        self._loose = _loose_globals(trainable)
        self._looked_at: set[str] = set()
        self._namespaces: dict[str, Mapping[str, Any]] = {}
        self._entries: dict[str, _Entry] = {}
        self._caches: dict[str, FunctionCache] = {}
        self._visited = 0
        self.learn()

    def put_back(self) -> None:
        """Empty the caches of functions, but for those of data; forget which warnings were shown."""
        for cache in self._caches.values():
            cache.put_back()
        for namespace in self._namespaces.values():
            cast(dict[str, Any], namespace).pop("__warningregistry__", None)  # a warning is shown once in each trial

    def learn(self) -> None:
        """Take every module that was not there the last time as it is now."""
        for label, namespace in self._new_namespaces():
            self._namespaces[label] = namespace
            for name, value in _named(label, namespace):
                self._take(name, value)

    def changed(self) -> set[str]:
        """Names whose values are not what they were, that are new, or that are gone."""
        now = dict(self._values())
        return {name for name, value in now.items() if self._is_changed(name, value)} | (
            self._entries.keys() - now.keys()
        )

    def accept(self, names: set[str]) -> None:
        """Take these names as they are now."""
        now = dict(self._values())
        for name in names:
            self._entries.pop(name, None)
            self._caches.pop(name, None)
            if name in now:
                self._take(name, now[name])

    def left_behind(self) -> list[str]:
        """One part of a sentence for each change; modules that were never seen are taken as they are."""
        changed = sorted(self.changed())
        now = dict(self._values()) if changed else {}
        found = [self._told(name, now) for name in changed]
        self.learn()
        return found

    def modules(self) -> list[ModuleType]:
        """Modules that the user's own name in their globals."""
        values = (value for namespace in self._namespaces.values() for value in namespace.values())
        return [value for value in values if issubclass(type(value), ModuleType) and not is_users_module(value)]

    def _new_namespaces(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name in [name for name in sys.modules if name not in self._looked_at]:
            self._looked_at.add(name)
            if name not in _MAIN and is_users_module(sys.modules.get(name)):
                yield name, vars(sys.modules[name])
        for label, namespace in self._loose.items():
            if label not in self._namespaces:
                yield label, namespace

    def _values(self) -> Iterator[tuple[str, Any]]:
        for label, namespace in self._namespaces.items():
            module = None if label in self._loose else sys.modules.get(label)  # it may have been replaced
            yield from _named(label, namespace if module is None else vars(module))

    def _take(self, name: str, value: Any) -> None:
        if type(value) is CACHE:
            self._caches[name] = FunctionCache(value)
        budget = max(min(VALUES_OF_ONE, MAX_VALUES - self._visited), LEAST_OF_ONE)
        kept: list[object] = []
        found, visited = outline(value, budget=budget, kept=kept)
        self._visited += visited
        fixed = value if is_fixed(value) else kept
        self._entries[name] = _Entry(outline=found, shown=short(value), budget=budget, value=fixed, kept=kept)

    def _is_changed(self, name: str, value: Any) -> bool:
        entry = self._entries.get(name)
        if entry is None:
            if not _is_import(value):
                return True
            self._take(name, value)
            return False
        if entry.value is value and is_fixed(value):
            return False
        if outline(value, budget=entry.budget, kept=[])[0] != entry.outline:
            return not (_is_optimizers_hook(value) and self._accepts(name, value))
        return name in self._caches and self._caches[name].is_changed()

    def _accepts(self, name: str, value: Any) -> bool:
        self._take(name, value)
        return True

    def _told(self, name: str, now: Mapping[str, Any]) -> str:
        entry, missing = self._entries.get(name), object()
        value = now.get(name, missing)
        if value is missing:
            return f"{name} is gone"
        if entry is None:
            return f"{name} is new ({short(value)})"
        if type(value) is CACHE:
            return f"what the cache of {name} keeps has changed"
        if short(value) == entry.shown:
            return f"{name} ({entry.shown}) was changed"
        return f"{name} was {entry.shown} and is {short(value)}"


def _named(label: str, namespace: Mapping[str, Any], nested: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of globals and of the attributes of classes that are defined here."""
    for name, value in list(namespace.items()):
        if name.startswith("__") and not (nested and type(value) is FunctionType):
            continue  # Python's own, what `torch.compile` puts there, and `_abc` data
        if nested and name in _OF_CLASSES:
            continue
        yield f"{label}.{name}", value
        if issubclass(type(value), type) and nested < MAX_NESTED and _is_defined_here(value, label):
            yield from _named(f"{label}.{name}", vars(value), nested + 1)


_OF_CLASSES = frozenset({"_abc_impl"})


def _is_defined_here(kind: type, label: str) -> bool:
    return label == kind.__module__ or label.startswith(f"{kind.__module__}.")


def _is_import(value: Any) -> bool:
    """Whether a new name only refers to a module, or to a function or class that a module defines."""
    if issubclass(type(value), ModuleType):
        return True
    if not issubclass(type(value), type | FunctionType):
        return False
    home = sys.modules.get(value.__module__ or "")
    return home is not None and vars(home).get(value.__qualname__) is value


def _is_optimizers_hook(value: Any) -> bool:
    """Whether PyTorch has wrapped the `step` of an optimizer's class, as it does when it makes the first of it."""
    return type(value) is FunctionType and getattr(value, "hooked", False) and not is_users_code(value.__code__)


def _loose_globals(trainable: object) -> dict[str, Mapping[str, Any]]:
    """Globals of functions that belong to no module: those of a notebook, or of the program that called `run`."""
    found: dict[int, tuple[str, Mapping[str, Any]]] = {}
    left = list(_functions(trainable))
    while left:
        function = left.pop()
        namespace = function.__globals__
        home = sys.modules.get(function.__module__ or "")
        if id(namespace) in found or (home is not None and vars(home) is namespace):
            continue
        if not is_users_code(function.__code__):
            continue
        found[id(namespace)] = (function.__module__ or function.__name__, namespace)
        left += [other for value in list(namespace.values()) for other in _functions(value)]
    loose = {label if at == 0 else f"{label} ({at + 1})": names for at, (label, names) in enumerate(found.values())}
    if not (trainable is None or _is_import(trainable)):
        loose["trainable"] = {getattr(trainable, "__name__", type(trainable).__name__): trainable}
    return loose


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions that a function, method, partial, class or object with `__call__` consists of."""
    kind = type(value)  # `isinstance` would ask proxies
    if kind is MethodType:
        yield from _functions(value.__func__)
    elif kind is FunctionType:
        yield value
        yield from _functions(vars(value).get("__wrapped__"))
    elif issubclass(kind, type):
        yield from (member for member in vars(value).values() if isinstance(member, FunctionType))
    elif issubclass(kind, functools.partial):
        yield from _functions(value.func)
    elif callable(value):
        yield from _functions(kind)
