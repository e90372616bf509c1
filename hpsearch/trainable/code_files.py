"""Which files a trainable is made of, found by reading import statements; each file is read once.

The hashes that fingerprints are made of and the copies that trials import both come from that one reading, so that a
file that is edited at this moment can't have the hash of one version and run as another.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, final

from hpsearch.plain import canonical
from hpsearch.trainable.code_finder import Libraries
from hpsearch.trainable.functions import function_hashes
from hpsearch.trainable.locate import TrainableSource

Code = Mapping[str, str]
"""File (relative to the working directory where it can be) or function to the hash of its source."""


@dataclass(frozen=True, kw_only=True)
class CodeFiles:
    """The user's own code that a trainable is made of, as it was when it was read."""

    code: Code | None
    """What fingerprints are made of; None where the source can't be read."""
    former: Code | None = None
    """The same as versions of hpsearch counted it that saw only what lies below the working directory or beside the
    trainable's file, and no `__init__.py` of a package but those that are imported by name; see `code_like`."""
    contents: Mapping[str, bytes | None] = field(default_factory=dict)
    """Absolute path, links resolved, to the file's bytes, the trainable's file first; None for an extension module.
    Empty for a function that travels by value."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """The same paths to SHA-256."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other paths by which files are found, over links, to the paths of `contents`."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Modules that are not found on the search path, but by a finder of a distribution to be edited, to their files."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Path of a file to the name of its module."""
    roots: tuple[str, ...] = ()
    """Folders in which the project's modules are looked for: the working directory, the trainable's folder, and the
    entries of the search path that hold no installed distributions."""
    search_path: tuple[str, ...] = ()
    """Where modules were looked for, in order."""

    def code_like(self, recorded: Code | None) -> Code | None:
        """`code`, or `former` where that is what is on record: then nothing has changed since."""
        if self.former is not None and recorded is not None:
            return self.former if sorted(self.former.values()) == sorted(recorded.values()) else self.code
        return self.code


def read_code(trainable: TrainableSource | Callable[..., Any]) -> CodeFiles:
    """Read the source that a trainable is made of: its file and the user's own files that it imports, or its functions.

    The user's own are all files that belong neither to the standard library, nor to an installed distribution (but one
    that was installed to be edited), nor to hpsearch. Imports inside functions count; modules that are imported by a
    computed name can't be known.

    Args:
        trainable: A place that was found, or a function. A function of a script or a notebook counts as
            `function_hashes` says.
    """
    if isinstance(trainable, TrainableSource):
        if trainable.file_path is None:
            return CodeFiles(code=None)
        called = trainable.function or canonical(trainable.arguments)
        beside_first = trainable.kind != "module"
        return _read_files(trainable.file_path, trainable.module, called, beside_first=beside_first)
    path = inspect.getsourcefile(trainable) if inspect.isfunction(trainable) else None
    if path is not None and Path(path).is_file() and trainable.__module__ != "__main__" and not trainable.__closure__:
        return _read_files(Path(path), trainable.__module__, trainable.__qualname__, beside_first=False)
    try:
        return CodeFiles(code=function_hashes(trainable))
    except (OSError, TypeError, ValueError):
        return CodeFiles(code=None)


def third_party_modules(code: CodeFiles) -> tuple[str, ...]:
    """Modules of the standard library and of installed distributions that the files import, in order of appearance.

    A dotted name is that of a module, not of what it defines: `from torch.nn import Linear` gives `torch.nn`. Imports
    inside functions count, those for type checkers don't; what is not installed is left out, and so is hpsearch.
    """
    search = _Search(code.search_path, Libraries(own=code.roots))
    found: dict[str, None] = {}
    for path, content in code.contents.items():
        for name in _imported_names(_parsed(content), code.names[path], is_package=_is_package(path)):
            module = search.library_module(name)
            if module is not None:
                found[module] = None
    return tuple(found)


def modules_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The same of a function that travels by value: what it imports, and where the globals that it names are from."""
    search = _Search(tuple(sys.path), Libraries())
    function = inspect.unwrap(function)
    with suppress(OSError, TypeError):
        tree = _parsed(textwrap.dedent(inspect.getsource(function)).encode())
        names = [*_imported_names(tree, "", is_package=False), *_modules_named(function)]
        return tuple(dict.fromkeys(found for name in names if (found := search.library_module(name)) is not None))
    return ()


def _modules_named(function: Callable[..., Any]) -> Iterator[str]:
    for value in inspect.getclosurevars(function).globals.values():
        name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if isinstance(name, str) and name != "__main__":
            yield name


def _read_files(start: Path, module: str, called: str, *, beside_first: bool) -> CodeFiles:
    importlib.invalidate_caches()  # a file may have been written a moment ago
    start_dir = start.resolve().parent
    on_path = [str(Path(entry).absolute()) for entry in sys.path]
    folders = [str(start_dir), str(Path.cwd())] if beside_first else [str(Path.cwd())]
    search_path = tuple(dict.fromkeys([*folders, *on_path]))
    libraries = Libraries(own=(str(Path.cwd()), str(start_dir)))
    roots = dict.fromkeys(
        [*folders, str(start_dir), *(each for each in on_path if Path(each).is_dir() and not libraries.contains(each))]
    )
    walk = _Walk(search=_Search(search_path, libraries))
    walk.former(start.resolve(), (Path.cwd(), start_dir))
    walk.add(start, module)
    walk.run()
    counted = {
        _shown(Path(path)): digest
        for path, digest in walk.hashes.items()
        if path in walk.counted_before or not _does_nothing(walk.contents[path])
    }
    former = {_shown(Path(path)): walk.hashes[path] for path in walk.counted_before}
    return CodeFiles(
        code={**dict(sorted(counted.items())), "function": called},
        former={**dict(sorted(former.items())), "function": called},
        contents=walk.contents,
        hashes=walk.hashes,
        aliases=walk.aliases,
        modules=walk.search.elsewhere,
        names=walk.names,
        roots=tuple(roots),
        search_path=search_path,
    )


@final
class _Search:
    """Finds modules on a search path, without importing anything."""

    def __init__(self, path: Sequence[str], libraries: Libraries) -> None:
        self._path, self._libraries = list(path), libraries
        self._known: dict[str, ModuleSpec | None] = {}
        self.elsewhere: dict[str, str] = {}
        """The user's own modules that the search path does not have, to their files."""

    def own_files(self, name: str) -> Iterator[tuple[str, Path]]:
        """(module, file) of each of the user's own modules that the import of a dotted name runs, packages first."""
        for module, spec in self._chain(name):
            if self._is_library(spec):
                return
            if spec.origin is not None and spec.has_location:
                yield module, Path(spec.origin)

    def library_module(self, name: str) -> str | None:
        """The longest beginning of a dotted name that is a library's module; None if it is the user's own, or none."""
        longest = None
        for module, spec in self._chain(name):
            if self._is_library(spec):
                longest = module
            elif spec.origin is not None:
                return None
        return longest

    def _chain(self, name: str) -> Iterator[tuple[str, ModuleSpec]]:
        """The packages on the way to a module, and the module, as far as they can be found."""
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
        if outer:  # by its last name alone: the spec of a namespace package asks for its parent, which is not imported
            return PathFinder.find_spec(name, path)
        spec = BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name) or PathFinder.find_spec(name, path)
        if spec is None:
            with suppress(ValueError, ImportError):  # a loaded module without a spec; a finder that fails
                spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None and spec.has_location and not self._is_library(spec):
                self.elsewhere[name] = str(Path(spec.origin).resolve())
        return spec

    def _is_library(self, spec: ModuleSpec) -> bool:
        if spec.origin is not None:
            return not spec.has_location or self._libraries.contains(str(Path(spec.origin).parent))
        return all(self._libraries.contains(folder) for folder in spec.submodule_search_locations or ())


@dataclass(kw_only=True)
class _Walk:
    """Follows import statements from file to file."""

    search: _Search
    contents: dict[str, bytes | None] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    counted_before: dict[str, None] = field(default_factory=dict)
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    """(Path, module) of files that were added and not yet looked into."""
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)

    def former(self, start: Path, roots: tuple[Path, ...]) -> None:
        """Add what fingerprints have always counted: a file and, over its imports, every file below the roots."""
        waiting = [(start, start.stem)]
        while waiting:
            found, module = waiting.pop()
            path = str(found.resolve())
            if path in self.counted_before:
                self._alias(found, path)
                continue
            self.counted_before[path] = None
            self.add(found, module, must_be_there=True)
            waiting += _files_below(self._tree(path), Path(path), roots)

    def add(self, found: Path, module: str, *, must_be_there: bool = False) -> None:
        """Read a file unless it is known, and note by which path and as which module it was found."""
        path = str(found.resolve())
        if path not in self.contents:
            try:
                content = found.read_bytes()
            except OSError:
                if must_be_there:
                    raise
                return
            self.hashes[path] = hashlib.sha256(content).hexdigest()
            self.contents[path] = None if path.endswith(tuple(EXTENSION_SUFFIXES)) else content
        self._alias(found, path)
        if self.names.get(path) != module:
            self.names[path] = module
            self._waiting.append((path, module))
            for package, init in _packages_around(found, module):
                self.add(init, package)

    def run(self) -> None:
        """Look into every file that was added, and add what it imports."""
        seen = set()
        while self._waiting:
            path, module = self._waiting.pop(0)
            if (path, module) in seen or not path.endswith(".py"):
                continue
            seen.add((path, module))
            for name in _imported_names(self._tree(path), module, is_package=_is_package(path)):
                for each, file in self.search.own_files(name):
                    if file.name.endswith((".py", *EXTENSION_SUFFIXES)):
                        self.add(file, each)

    def _alias(self, found: Path, path: str) -> None:
        if str(found.absolute()) != path:
            self.aliases[str(found.absolute())] = path

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            self._trees[path] = _parsed(self.contents.get(path))
        return self._trees[path]


def _parsed(content: bytes | None) -> ast.Module | None:
    """None for what is no Python: the import will tell."""
    if content is None:
        return None
    with suppress(SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import will tell of these too
        return ast.parse(content)
    return None


def _does_nothing(content: bytes | None) -> bool:
    """Whether a file has no statement but a docstring, as `__init__.py` mostly: no result depends on it."""
    tree = _parsed(content)
    return tree is not None and all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body
    )


def _packages_around(path: Path, module: str) -> Iterator[tuple[str, Path]]:
    """(package, its `__init__.py`) of the packages that a module is in, the inner ones first."""
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    package = module.rpartition(".")[0]
    while package:
        init = folder / "__init__.py"
        if init.is_file():
            yield package, init
        folder, package = folder.parent, package.rpartition(".")[0]


# -- import statements -------------------------------------------------------------------------------------------------


def _is_package(path: str) -> bool:
    return Path(path).name == "__init__.py"


def _imported_names(tree: ast.Module | None, module: str, *, is_package: bool) -> Iterator[str]:
    """The dotted name of each thing that is imported, in the order of the text; it may be a module or lie in one."""
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
                    continue  # it will fail
                outer = ".".join([*around, *filter(None, [outer])])
            yield from (outer if alias.name == "*" else f"{outer}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes in the order of the text, without what only type checkers read."""
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


# -- what fingerprints have always counted -----------------------------------------------------------------------------


def _files_below(tree: ast.Module | None, path: Path, roots: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """(file, module) of all that a file may import from below the roots; a change here voids every fingerprint."""
    nodes = ast.walk(tree) if tree is not None else ()
    names = dict.fromkeys(name for node in nodes for name in _names_below(node, path, roots))
    return [found for name in names for root in roots if (found := _module_below(name, root)) is not None]


def _names_below(node: ast.AST, path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        outer = node.module or ""
        if node.level:
            folder = path.parents[node.level - 1]
            root = next((root for root in roots if folder.is_relative_to(root)), folder)
            outer = ".".join([*folder.relative_to(root).parts, *filter(None, [outer])])
        yield outer
        yield from (f"{outer}.{alias.name}" if outer else alias.name for alias in node.names)


def _module_below(name: str, root: Path) -> tuple[Path, str] | None:
    """The file of a module of the project; None for others, hpsearch itself among them, whose version counts."""
    parts = name.split(".")
    if not all(parts) or parts[0] == "hpsearch":
        return None
    base = root.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path, name
    return _module_below(".".join(parts[:-1]), root) if len(parts) > 1 else None


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
