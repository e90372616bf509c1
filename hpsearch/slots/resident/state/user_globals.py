"""The state in the user's modules: globals, attributes of classes, and caches of functions.

For a module that is imported during a trial, the state right after its import counts (`user_imports.py`). What its
import changes in other modules, for example a registry of models, does not count as a change.
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
"""Most values that are compared after a trial, which takes about 15 ms."""
VALUES_OF_ONE = 2_000
"""Most values that are compared of one global."""
LEAST_OF_ONE = 20
"""Values that are compared of each further global once the others have used up MAX_VALUES."""
_MAIN = frozenset({"__main__", "__mp_main__"})
"""Names of the program's own module: that of Ray, or a script that is run once for each trial."""
MAX_NESTED = 3
"""Most classes inside each other whose attributes are compared."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """The recorded state of one name."""

    outline: Outline
    """Outline of its value."""
    text: str
    """Its value as messages show it."""
    budget: int
    """Most values to visit for the outline, the same in each comparison."""
    value: object
    """The value itself if it can't change, so that no outline is needed; else the entry's own `kept`."""
    kept: list[object] = field(default_factory=list)
    """Objects that the outline represents by identity: while they are kept, no other object gets the same id."""


@final
class UserGlobals:
    """The recorded state of all names in all modules of the user's.

    Args:
        trainable: The trainable, whose globals belong to no module if it was pickled by value; None for none.
    """

    def __init__(self, trainable: object = None) -> None:
        self._loose = _loose_globals(trainable)
        self._looked_at: set[str] = set()
        self._namespaces: dict[str, Mapping[str, Any]] = {}
        self._entries: dict[str, _Entry] = {}
        self._caches: dict[str, FunctionCache] = {}
        self._visited = 0
        self.record_new_modules()

    def restore(self) -> None:
        """Empty the caches of functions, except those of data, and have warnings shown again."""
        for cache in self._caches.values():
            cache.restore()
        for namespace in self._namespaces.values():  # so that a warning is shown once in each trial
            cast(dict[str, Any], namespace).pop("__warningregistry__", None)

    def record_new_modules(self) -> None:
        """Record the state of all modules of the user's that have been imported since the last call."""
        for label, namespace in self._new_namespaces():
            self._namespaces[label] = namespace
            for name, value in _named(label, namespace):
                self._record(name, value)

    def changed(self) -> set[str]:
        """Names whose values have changed, that are new, or that are gone."""
        now = dict(self._values())
        return {name for name, value in now.items() if self._is_changed(name, value)} | (
            self._entries.keys() - now.keys()
        )

    def accept(self, names: set[str]) -> None:
        """Record the state of these names as it is now."""
        now = dict(self._values())
        for name in names:
            self._entries.pop(name, None)
            self._caches.pop(name, None)
            if name in now:
                self._record(name, now[name])

    def find_leftovers(self) -> list[str]:
        """A sentence on each change; new modules are recorded."""
        changed = sorted(self.changed())
        now = dict(self._values()) if changed else {}
        found = [self._describe(name, now) for name in changed]
        self.record_new_modules()
        return found

    def modules(self) -> list[ModuleType]:
        """The modules of libraries that are globals of the user's modules."""
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

    def _record(self, name: str, value: Any) -> None:
        if type(value) is CACHE:
            self._caches[name] = FunctionCache(value)
        budget = max(min(VALUES_OF_ONE, MAX_VALUES - self._visited), LEAST_OF_ONE)
        kept: list[object] = []
        found, visited = outline(value, budget=budget, kept=kept)
        self._visited += visited
        fixed = value if is_fixed(value) else kept
        self._entries[name] = _Entry(outline=found, text=short(value), budget=budget, value=fixed, kept=kept)

    def _is_changed(self, name: str, value: Any) -> bool:
        entry = self._entries.get(name)
        if entry is None:
            if not _is_import(value):
                return True
            self._record(name, value)
            return False
        if entry.value is value and is_fixed(value):
            return False
        if outline(value, budget=entry.budget, kept=[])[0] != entry.outline:
            if not _is_optimizers_hook(value):
                return True
            self._record(name, value)
            return False
        return name in self._caches and self._caches[name].is_changed()

    def _describe(self, name: str, now: Mapping[str, Any]) -> str:
        entry, missing = self._entries.get(name), object()
        value = now.get(name, missing)
        if value is missing:
            return f"{name} is gone"
        if entry is None:
            return f"{name} is new ({short(value)})"
        if type(value) is CACHE:
            return f"the cache of {name} was changed"
        if short(value) == entry.text:
            return f"{name} ({entry.text}) was changed"
        return f"{name} was {entry.text} and is {short(value)}"


def _named(label: str, namespace: Mapping[str, Any], nested: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of the globals in a namespace, and of the attributes of classes that are defined in it."""
    for name, value in list(namespace.items()):
        if name.startswith("__") and not (nested and type(value) is FunctionType):
            continue  # names of Python itself, and those that `torch.compile` adds
        if nested and name in _OF_CLASSES:
            continue
        yield f"{label}.{name}", value
        if issubclass(type(value), type) and nested < MAX_NESTED and _is_defined_here(value, label):
            yield from _named(f"{label}.{name}", vars(value), nested + 1)


_OF_CLASSES = frozenset({"_abc_impl"})
"""Attributes of classes that Python itself changes."""


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
    """Whether a value is the `step` of an optimizer class, which PyTorch wraps with the class's first instance."""
    return type(value) is FunctionType and getattr(value, "hooked", False) and not is_users_code(value.__code__)


def _loose_globals(trainable: object) -> dict[str, Mapping[str, Any]]:
    """Globals of functions that belong to no module: of a notebook, or of the program that has called `run`."""
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
    """The functions in a function, method, partial, class or object with `__call__`."""
    kind = type(value)  # `isinstance` would call proxies
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
