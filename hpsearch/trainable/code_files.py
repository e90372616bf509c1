"""The source files that a trainable is made of, found by following its import statements. Each file is read once.

The hashes in fingerprints and the copies that trials import are both made from the bytes of that one reading, so that
a file that is edited meanwhile can't be hashed as one version and run as another. How import statements are read is in
`imports.py`; functions without a file of their own are in `functions.py`; the copies are in `code_snapshot.py`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from hpsearch.paths import shortened
from hpsearch.plain import canonical
from hpsearch.trainable.code_finder import Libraries
from hpsearch.trainable.former_code import imported_files_below
from hpsearch.trainable.functions import function_hashes
from hpsearch.trainable.imports import ModuleSearch, imported_names, is_package, parsed
from hpsearch.trainable.locate import TrainableSource

Code = Mapping[str, str]
"""Path of a file (relative if it is below the working directory), or name of a function, to the hash of its source."""


@dataclass(frozen=True, kw_only=True)
class CodeFiles:
    """The user's source files that a trainable is made of, as they were when they were read."""

    code: Code | None
    """The hashes that fingerprints contain; None if the source can't be read."""
    former_code: Code | None = None
    """The hashes that older versions of hpsearch put into fingerprints, see `former_code.py`."""
    contents: Mapping[str, bytes | None] = field(default_factory=dict)
    """Absolute path, links resolved, to the file's bytes, the trainable's file first; None for an extension module.
    Empty for a function that has no file of its own."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """The paths of `contents` to the SHA-256 of the file."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other paths of the files, by way of links, to their paths in `contents`."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Modules that are not on the search path (such as those of an editable install) to their files."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The paths of `contents` to the dotted name of the file's module."""
    roots: tuple[str, ...] = ()
    """Folders that contain the project's modules: the working directory, the trainable's folder, and the entries of the
    search path without installed distributions."""
    search_path: tuple[str, ...] = ()
    """Folders in which modules were looked for, in order."""

    def code_matching(self, recorded: Code | None) -> Code | None:
        """`former_code` if it equals the recorded hashes, since the files are unchanged then; `code` otherwise."""
        if self.former_code is not None and recorded is not None:
            is_same = sorted(self.former_code.values()) == sorted(recorded.values())
            return self.former_code if is_same else self.code
        return self.code


def read_code(trainable: TrainableSource | Callable[..., Any]) -> CodeFiles:
    """Read the source of a trainable: its file and the user's files that it imports, or its functions.

    Files of the standard library, of installed distributions (editable installs excepted) and of hpsearch itself do
    not count as the user's. Imports inside functions count; imports by a computed name can't be found.

    Args:
        trainable: A located trainable, or a function. `function_hashes` says what counts for a function of a script or
            a notebook.
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

    Names are those of modules, not of what is imported from them: `from torch.nn import Linear` gives `torch.nn`.
    Imports inside functions count. Imports for type checkers, modules that are not installed, and hpsearch don't.
    """
    search = ModuleSearch(code.search_path, Libraries(own=code.roots))
    found: dict[str, None] = {}
    for path, content in code.contents.items():
        for name in imported_names(parsed(content), code.names[path], is_package=is_package(path)):
            module = search.library_module(name)
            if module is not None:
                found[module] = None
    return tuple(found)


def modules_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """`third_party_modules` for a function without a file of its own: its imports, and the modules of its globals."""
    search = ModuleSearch(tuple(sys.path), Libraries())
    function = inspect.unwrap(function)
    with suppress(OSError, TypeError):
        tree = parsed(textwrap.dedent(inspect.getsource(function)).encode())
        names = [*imported_names(tree, "", is_package=False), *_modules_of_globals(function)]
        return tuple(dict.fromkeys(found for name in names if (found := search.library_module(name)) is not None))
    return ()


def _modules_of_globals(function: Callable[..., Any]) -> Iterator[str]:
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
    walk = _ImportWalk(search=ModuleSearch(search_path, libraries))
    walk.add_former(start.resolve(), (Path.cwd(), start_dir))
    walk.add(start, module)
    walk.follow_imports()
    counted = {
        str(shortened(Path(path))): digest
        for path, digest in walk.hashes.items()
        if path in walk.former or not _does_nothing(walk.contents[path])
    }
    former = {str(shortened(Path(path))): walk.hashes[path] for path in walk.former}
    return CodeFiles(
        code={**dict(sorted(counted.items())), "function": called},
        former_code={**dict(sorted(former.items())), "function": called},
        contents=walk.contents,
        hashes=walk.hashes,
        aliases=walk.aliases,
        modules=walk.search.elsewhere,
        names=walk.names,
        roots=tuple(roots),
        search_path=search_path,
    )


@dataclass(kw_only=True)
class _ImportWalk:
    """Reads files and follows their import statements to further files."""

    search: ModuleSearch
    """Finds the file of an imported module."""
    contents: dict[str, bytes | None] = field(default_factory=dict)
    """See `CodeFiles`."""
    hashes: dict[str, str] = field(default_factory=dict)
    """See `CodeFiles`."""
    aliases: dict[str, str] = field(default_factory=dict)
    """See `CodeFiles`."""
    names: dict[str, str] = field(default_factory=dict)
    """See `CodeFiles`."""
    former: dict[str, None] = field(default_factory=dict)
    """Paths of the files that older versions of hpsearch counted."""
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    """(path, module) of files that were added and whose imports are not followed yet."""
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)
    """Path to syntax tree of the files that were parsed."""

    def add_former(self, start: Path, roots: tuple[Path, ...]) -> None:
        """Add the files that older versions counted: one file and, over its imports, every file below the roots."""
        waiting = [(start, start.stem)]
        while waiting:
            found, module = waiting.pop()
            path = str(found.resolve())
            if path in self.former:
                self._add_alias(found, path)
                continue
            self.former[path] = None
            self.add(found, module, must_be_there=True)
            waiting += imported_files_below(self._tree(path), Path(path), roots)

    def add(self, found: Path, module: str, *, must_be_there: bool = False) -> None:
        """Read a file unless that was done, and record the path and the module's name by which it was found.

        Raises:
            OSError: The file can't be read and `must_be_there` is true; otherwise it is left out.
        """
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
        self._add_alias(found, path)
        if self.names.get(path) != module:
            self.names[path] = module
            self._waiting.append((path, module))
            for package, init in _packages_around(found, module):
                self.add(init, package)

    def follow_imports(self) -> None:
        """Add every file that the files so far import, directly or not."""
        seen = set()
        while self._waiting:
            path, module = self._waiting.pop(0)
            if (path, module) in seen or not path.endswith(".py"):
                continue
            seen.add((path, module))
            for name in imported_names(self._tree(path), module, is_package=is_package(path)):
                for each, file in self.search.own_files(name):
                    if file.name.endswith((".py", *EXTENSION_SUFFIXES)):
                        self.add(file, each)

    def _add_alias(self, found: Path, path: str) -> None:
        if str(found.absolute()) != path:
            self.aliases[str(found.absolute())] = path

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            self._trees[path] = parsed(self.contents.get(path))
        return self._trees[path]


def _does_nothing(content: bytes | None) -> bool:
    """Whether a file has no statement but a docstring, as most `__init__.py`: no result can depend on it."""
    tree = parsed(content)
    return tree is not None and all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body
    )


def _packages_around(path: Path, module: str) -> Iterator[tuple[str, Path]]:
    """(package, its `__init__.py`) of the packages that a module is in, innermost first."""
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    package = module.rpartition(".")[0]
    while package:
        init = folder / "__init__.py"
        if init.is_file():
            yield package, init
        folder, package = folder.parent, package.rpartition(".")[0]
