"""Functions and classes of libraries that a trial has replaced by others.

Looked at are the modules that scripts patch, the classes in PyTorch's, and every module that the user's own name. Only
what was there at the beginning and is now another counts, and not what a library does to itself.
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
"""Modules that scripts patch; those that are not loaded are left out."""
CLASSES_OF = (
    "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "logging", "random", "threading"
)  # fmt: skip
"""Modules whose classes are looked at too."""
MAX_NAMES = 30_000
"""Names that one look visits; a millisecond."""
SETTINGS = frozenset({
    ("sys", "displayhook"), ("sys", "excepthook"), ("sys", "unraisablehook"), ("sys", "stdin"), ("sys", "stdout"),
    ("sys", "stderr"), ("threading", "excepthook"), ("logging", "_loggerClass"),
})  # fmt: skip
"""What `restorable.py` puts back."""


@final
class Patches:
    """The functions and classes of libraries as they were.

    Args:
        named: Modules besides the known ones, for example those that the user's modules import.
    """

    def __init__(self, named: Iterable[ModuleType] = ()) -> None:
        self._modules = frozenset(sys.modules)
        self._owners: dict[str, _Owner] = {}
        num_names = 0
        for label, owner in _owners(named):
            num_names += len(vars(owner))
            if label not in self._owners and num_names <= MAX_NAMES:
                self._owners[label] = _Owner(owner)

    def found(self) -> list[str]:
        """One part of a sentence for each function or class that was replaced."""
        found: list[str] = []
        for label, owner in self._owners.items():
            for name, new in owner.replaced():
                if (label, name) in SETTINGS or self._is_librarys_own(label, name, new):
                    owner.accept(name, new)
                else:
                    found.append(f"{label}.{name} was replaced")
        return found

    def _is_librarys_own(self, label: str, name: str, new: Any) -> bool:
        """Whether a library did it: to itself under the same name, or when it was imported during the trial."""
        if type(new) is FunctionType and is_users_code(new.__code__):
            return False
        home = str(getattr(new, "__module__", None) or "")
        root = home.partition(".")[0]
        if not is_library(root):
            return False
        same = root == label.partition(".")[0] and getattr(new, "__name__", None) == name
        return same or home.startswith(INSIDE_TORCH) or root not in self._modules


class _Owner:
    """A module or class, with its names as they were."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._names: dict[str, Any] = {name: value for name, value in vars(owner).items() if _can_be_called(value)}
        self._ids = _ids(vars(owner))

    def replaced(self) -> list[tuple[str, Any]]:
        """(name, what is there now), None for what is gone; nothing in most cases, which costs next to nothing."""
        namespace = vars(self._owner)
        ids = _ids(namespace)
        if ids == self._ids:
            return []
        found = [(name, namespace.get(name)) for name, value in self._names.items() if namespace.get(name) is not value]
        if not found:
            self._ids = ids
        return found

    def accept(self, name: str, new: Any) -> None:
        """Take a name as it is now."""
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


def _can_be_called(value: Any) -> bool:
    return callable(value) or issubclass(type(value), property | staticmethod | classmethod)  # asks no proxy
