"""Functions and classes of libraries that a trial has replaced (monkey-patching).

Checked are modules that training scripts are known to patch, classes in PyTorch's modules, and every module that the
user's modules refer to. A name counts that existed before the trial and refers to another object after it, unless a
library has replaced its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any, final

from hpsearch.slots.resident.state.outline import INSIDE_TORCH
from hpsearch.slots.resident.state.user_files import is_library, is_users_code

PATCHED = (
    "builtins", "copy", "datetime", "io", "json", "logging", "math", "os", "os.path", "pickle", "random", "shutil",
    "subprocess", "sys", "threading", "time", "numpy", "numpy.linalg", "numpy.random", "torch", "torch.autograd",
    "torch.cuda", "torch.distributed", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.nn.init",
    "torch.nn.utils", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.checkpoint", "torch.utils.data",
)  # fmt: skip
"""Modules whose names are checked, if they are loaded."""
CLASSES_OF = (
    "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "logging", "random", "threading"
)  # fmt: skip
"""Modules whose classes are checked too."""
MAX_NAMES = 30_000
"""Most names that are checked after a trial, which takes a millisecond."""
SETTINGS = frozenset({
    ("sys", "displayhook"), ("sys", "excepthook"), ("sys", "unraisablehook"), ("sys", "stdin"), ("sys", "stdout"),
    ("sys", "stderr"), ("threading", "excepthook"), ("logging", "_loggerClass"),
})  # fmt: skip
"""(module, name) that `restorable.py` restores, so that they do not count."""


@final
class Patches:
    """The functions and classes of libraries when it was made.

    Args:
        named: Further modules to check, for example those that the user's modules import.
    """

    def __init__(self, named: Iterable[ModuleType] = ()) -> None:
        self._modules = frozenset(sys.modules)
        self._owners: dict[str, _Owner] = {}
        num_names = 0
        for label, owner in _owners(named):
            num_names += len(vars(owner))
            if label not in self._owners and num_names <= MAX_NAMES:
                self._owners[label] = _Owner(owner)

    def find(self) -> list[str]:
        """A sentence on each function or class that was replaced."""
        found: list[str] = []
        for label, owner in self._owners.items():
            for name, new in owner.replaced():
                if (label, name) in SETTINGS or self._is_by_library(label, name, new):
                    owner.accept(name, new)
                else:
                    found.append(f"{label}.{name} was replaced")
        return found

    def _is_by_library(self, label: str, name: str, new: Any) -> bool:
        """Whether a library has replaced a name of its own, or any name when it was imported during the trial."""
        if type(new) is FunctionType and is_users_code(new.__code__):
            return False
        home = str(getattr(new, "__module__", None) or "")
        root = home.partition(".")[0]
        if not is_library(root):
            return False
        same = root == label.partition(".")[0] and getattr(new, "__name__", None) == name
        return same or home.startswith(INSIDE_TORCH) or root not in self._modules


class _Owner:
    """A module or class, with the callables that its names referred to."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._names: dict[str, Any] = {name: value for name, value in vars(owner).items() if _is_callable(value)}
        self._ids = _ids(vars(owner))

    def replaced(self) -> list[tuple[str, Any]]:
        """(name, new value) of names that were replaced, with None for a deleted one; fast where nothing was."""
        namespace = vars(self._owner)
        ids = _ids(namespace)
        if ids == self._ids:
            return []
        found = [(name, namespace.get(name)) for name, value in self._names.items() if namespace.get(name) is not value]
        if not found:
            self._ids = ids
        return found

    def accept(self, name: str, new: Any) -> None:
        """Do not report this new value of a name again."""
        self._names[name] = new


def _owners(named: Iterable[ModuleType]) -> Iterator[tuple[str, Any]]:
    for name in PATCHED:
        if name in sys.modules:
            yield name, sys.modules[name]
    for name in CLASSES_OF:
        members = vars(sys.modules[name]) if name in sys.modules else {}
        for kind in list(members.values()):
            if issubclass(type(kind), type) and kind.__module__.partition(".")[0] == name.partition(".")[0]:
                yield f"{kind.__module__}.{kind.__qualname__}", kind
    torch = sys.modules.get("torch")
    if torch is not None:
        yield "torch.Tensor", torch.Tensor
    for module in islice(named, 256):
        yield module.__name__, module


def _ids(namespace: Mapping[str, Any]) -> list[int]:
    return list(map(id, namespace.values()))


def _is_callable(value: Any) -> bool:
    """Whether a value is a function, method or class; `type`, since `isinstance` would call proxies."""
    return callable(value) or issubclass(type(value), property | staticmethod | classmethod)
