"""Reads import statements: which modules a file imports, and where their files are. Nothing is imported.

Which of these files make up a trainable is decided in `code_files.py`.
"""

from __future__ import annotations

import ast
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from typing import final

from hpsearch.trainable.code_finder import Libraries


@final
class ModuleSearch:
    """Finds modules on a search path without importing them."""

    def __init__(self, path: Sequence[str], libraries: Libraries) -> None:
        """Prepare a search.

        Args:
            path: Folders in which modules are looked for, in order.
            libraries: The folders of installed distributions and of the standard library.
        """
        self._path, self._libraries = list(path), libraries
        self._known: dict[str, ModuleSpec | None] = {}
        self.elsewhere: dict[str, str] = {}
        """Name to file of the user's modules that are not on the search path but known to another finder, such as that
        of an editable install."""

    def own_files(self, name: str) -> Iterator[tuple[str, Path]]:
        """(module, file) of each of the user's modules that the import of a dotted name runs, outer packages first."""
        for module, spec in self._chain(name):
            if self._is_library(spec):
                return
            if spec.origin is not None and spec.has_location:
                yield module, Path(spec.origin)

    def library_module(self, name: str) -> str | None:
        """The longest prefix of a dotted name that is a library module; None if it is the user's or does not exist."""
        longest = None
        for module, spec in self._chain(name):
            if self._is_library(spec):
                longest = module
            elif spec.origin is not None:
                return None
        return longest

    def _chain(self, name: str) -> Iterator[tuple[str, ModuleSpec]]:
        """The packages that lead to a module, then the module, as far as they are found."""
        parts = name.split(".")
        if not all(parts) or parts[0] == "hpsearch":
            return
        path: Sequence[str] | None = self._path
        for depth in range(1, len(parts) + 1):
            module = ".".join(parts[:depth])
            if module not in self._known:
                self._known[module] = self._find(module, path) if path is not None else None
            spec = self._known[module]
            if spec is None:
                return
            yield module, spec
            locations = spec.submodule_search_locations
            path = None if locations is None else list(locations)

    def _find(self, module: str, path: Sequence[str]) -> ModuleSpec | None:
        outer, _, name = module.rpartition(".")
        if outer:  # by its last name: a namespace package's spec would look for its parent, which is not imported
            return PathFinder.find_spec(name, path)
        spec = BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name) or PathFinder.find_spec(name, path)
        if spec is None:
            with suppress(ValueError, ImportError):  # a loaded module without a spec, or a finder that fails
                spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None and spec.has_location and not self._is_library(spec):
                self.elsewhere[name] = str(Path(spec.origin).resolve())
        return spec

    def _is_library(self, spec: ModuleSpec) -> bool:
        if spec.origin is not None:
            return not spec.has_location or self._libraries.contains(str(Path(spec.origin).parent))
        return all(self._libraries.contains(folder) for folder in spec.submodule_search_locations or ())


def parsed(content: bytes | None) -> ast.Module | None:
    """The syntax tree of a source file; None if it is not valid Python, which its import will report."""
    if content is None:
        return None
    with suppress(SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import shows these too
        return ast.parse(content)
    return None


def is_package(path: str) -> bool:
    """Whether a file is a package's `__init__.py`."""
    return Path(path).name == "__init__.py"


def imported_names(tree: ast.Module | None, module: str, *, is_package: bool) -> Iterator[str]:
    """The dotted names that a file imports, in the order of its text. Each is a module or an attribute of one.

    Imports inside functions count, imports under `if TYPE_CHECKING` don't.

    Args:
        tree: The file's syntax tree; None for one without any.
        module: Dotted name of the file's module, which relative imports start from.
        is_package: Whether the file is the module's `__init__.py`.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in _statements(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = node.module or ""
            if node.level:
                around = package.split(".")
                around = around[: len(around) - node.level + 1]
                if not package or not around:
                    continue  # the import fails
                outer = ".".join([*around, *filter(None, [outer])])
            yield from (outer if alias.name == "*" else f"{outer}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes in the order of the text, without those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for each in node.orelse:
                yield each
                yield from _statements(each)
            continue
        yield node
        yield from _statements(node)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"
