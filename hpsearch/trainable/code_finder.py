"""Imports the user's modules from a sweep's snapshot of them, also if their files have changed or are gone.

This file imports only the standard library, and nothing of hpsearch: every snapshot contains a copy of it, which the
Python interpreters that a trial starts load (`start_interpreter`). A snapshot is a folder, written by
`code_snapshot.py`:

    manifest.json    {"files": {original path: {"file": path in the folder or null, "sha256": ...}},
                      "aliases": {another path of a file: its original path},
                      "modules": {module that is not on the search path: original path},
                      "roots": folders of the project}
    site/            first entry of PYTHONPATH for the interpreters that a trial starts

A file whose `file` is null is an extension module: its hash is recorded and the file itself is not copied.
"""

# Paths are str here: this code runs at each import, where pathlib would take longer than all the rest.
# ruff: noqa: PTH100, PTH117, PTH118, PTH119, PTH120, PTH208

from __future__ import annotations

import io
import json
import linecache
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    BuiltinImporter,
    FrozenImporter,
    ModuleSpec,
    NamespaceLoader,
    PathFinder,
    SourceFileLoader,
)
from importlib.util import decode_source, module_from_spec
from types import CodeType, ModuleType
from typing import Any, NamedTuple, final

MANIFEST = "manifest.json"
"""The snapshot's file that lists its contents."""
SITE = "site"
"""The snapshot's folder that is put on PYTHONPATH."""
MODULE_IN_SITE = "_hpsearch_code_finder"
"""Name of this module's copy in the folder `site`."""
MOVED_VARIABLE = "HPSEARCH_CODE_MOVED"
"""Environment variable with `old_root` and `new_root` of `install` as a JSON list."""


class _Stored(NamedTuple):
    """A file of the snapshot."""

    copy: str | None
    """Absolute path of the copy; None for a file that is not copied."""
    sha256: str
    """Hash of the file when the snapshot was taken."""


@final
class Libraries:
    """The folders of the standard library and of installed distributions, as opposed to those of the user's code.

    An editable install is in neither, and counts as the user's code.
    """

    def __init__(self, *, own: Iterable[str] = ()) -> None:
        """Look up the folders of this interpreter.

        Args:
            own: Folders of the user's code, even if distributions are installed in them.
        """
        self._own = {os.path.realpath(folder) for folder in own}
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        standard = [os.path.dirname(os.__file__), os.path.join(sys.base_exec_prefix, sys.platlibdir, version)]
        self._standard = {os.path.realpath(folder) for folder in standard}
        self._known: dict[str, bool] = {}
        self._has_metadata: dict[str, bool] = {}

    def contains(self, folder: str) -> bool:
        """Whether a folder is that of a library or is inside of one."""
        if folder not in self._known:
            self._known[folder] = self._look(os.path.realpath(folder))
        return self._known[folder]

    def _look(self, folder: str) -> bool:
        searched = {os.path.realpath(entry) for entry in sys.path if entry}
        for each in _with_parents(folder):
            if os.path.basename(each) in ("site-packages", "dist-packages") or each in self._standard:
                return True
            if each in searched and each not in self._own and self._holds_distributions(each):
                return True  # `pip install --target`
        return False

    def _holds_distributions(self, folder: str) -> bool:
        if folder not in self._has_metadata:
            names: list[str] = []
            with suppress(OSError):
                names = os.listdir(folder)
            self._has_metadata[folder] = any(name.endswith(".dist-info") for name in names)
        return self._has_metadata[folder]


@final
class SnapshotLoader(SourceFileLoader):
    """Loads one of the user's modules from the snapshot; no bytecode file is read or written."""

    def __init__(self, fullname: str, path: str, finder: CodeFinder) -> None:
        """Prepare a loader.

        Args:
            fullname: Dotted name of the module.
            path: Original path of its file.
            finder: The finder that reads the snapshot.
        """
        super().__init__(fullname, path)
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module whose `__cached__` is None, since there is no bytecode file."""
        module = ModuleType(spec.name)
        module.__dict__["__cached__"] = None
        return module

    def get_code(self, fullname: str) -> CodeType:
        """The module's code, compiled with the path of the original file."""
        return self._finder.code(self.path)

    def get_data(self, path: str) -> bytes:
        """The bytes of a file from the snapshot; those of another file, such as data beside the code, from the disk."""
        content = self._finder.source(path)
        return super().get_data(path) if content is None else content


@final
class _Spec(ModuleSpec):
    """The import spec of a module that has a source file and no bytecode file."""

    cached = property(lambda self: None, lambda self, value: None)


@final
class CodeFinder:
    """A finder for `sys.meta_path`; see `install`."""

    is_code_finder_of_hpsearch = True
    """Marks the finder, so that another copy of this module recognises it."""

    def __init__(
        self, snapshot_dir: str | os.PathLike[str], *, old_root: str | None = None, new_root: str | None = None
    ) -> None:
        """Read a snapshot's manifest; `install` describes the arguments."""
        self.snapshot_dir = os.path.abspath(snapshot_dir)
        self._old_root, self._new_root = (old_root, new_root) if old_root and new_root else ("", "")
        with open(os.path.join(self.snapshot_dir, MANIFEST), encoding="utf-8") as file:
            manifest = json.load(file)
        stored = {path: self._stored(entry) for path, entry in manifest["files"].items()}
        stored |= {path: stored[original] for path, original in manifest["aliases"].items()}
        self._originals = [self._here(path) for path in manifest["files"]]
        self._files = {self._here(path): each for path, each in stored.items()}
        self._folders = {folder for path in self._files for folder in _with_parents(os.path.dirname(path))}
        self._modules = {name: self._here(path) for name, path in manifest["modules"].items()}
        self._roots = tuple(self._here(path) for path in manifest["roots"])
        self._libraries = Libraries(own=self._roots)
        self._code: dict[str, CodeType] = {}
        self._outside: dict[str, str] = {}
        self._served: set[str] = set()
        self._looked_at = {*sys.modules, "__mp_main__"}  # __mp_main__ is another name of `__main__`

    # -- interface ---------------------------------------------------------------------------------------------------

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import spec of a user's module; None for any other module, which the next finders look for."""
        if fullname.partition(".")[0] == "hpsearch":
            return None
        if path is None and (BuiltinImporter.find_spec(fullname) or FrozenImporter.find_spec(fullname)):
            return None
        return self._find(fullname, sys.path if path is None else path)

    def invalidate_caches(self) -> None:
        """Do nothing: the contents of folders are not cached."""

    def spec(self, name: str, path: str | os.PathLike[str]) -> ModuleSpec | None:
        """The import spec that loads a file as a module of this name; None if the file is not in the snapshot."""
        path = os.path.abspath(path)
        return None if self._copy_of(path) is None else self._spec_of(name, path)

    def source(self, path: str | os.PathLike[str]) -> bytes | None:
        """A file's bytes in the snapshot; None if it is not in there.

        Raises:
            ImportError: The copy is damaged or can't be read.
        """
        stored = self._copy_of(os.path.abspath(path))
        if stored is None or stored.copy is None:
            return None
        try:
            with open(stored.copy, "rb") as file:
                content = file.read()
        except OSError as error:
            raise ImportError(f"the sweep's copy of {path} can't be read: {error}") from error
        if _sha256(content) != stored.sha256:
            raise ImportError(f"the sweep's copy of {path} is damaged: {stored.copy}")
        return content

    def code(self, path: str | os.PathLike[str]) -> CodeType:
        """A file's code object, from the snapshot if it is in there; otherwise from the disk, noted in `outside`.

        Raises:
            SyntaxError: The file can't be compiled.
            OSError: The file is not in the snapshot and can't be read.
        """
        path = os.path.abspath(path)
        self._served.add(path)
        known = self._code.get(path)
        if known is not None:
            return known
        content = self.source(path)
        if content is None:
            with open(path, "rb") as file:
                content = file.read()
            self._note(path, _sha256(content))
        _show_as(path, content)
        try:
            return compile(content, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            if error.text is not None and error.lineno is not None:  # Python has taken the line from the file on disk
                error.text = linecache.getline(path, error.lineno)
            raise

    def precompile(self) -> None:
        """Compile every file once for the processes that are forked later; files that can't be compiled are skipped."""
        for path in self._originals:
            if path in self._code or self._files[path].copy is None:
                continue
            with suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("error")  # a file that causes a warning shows it when it is imported
                content = self.source(path)
                assert content is not None
                self._code[path] = compile(content, path, "exec", dont_inherit=True)
                _show_as(path, content)
        self.run_paths()

    def run_paths(self) -> None:
        """Make `runpy.run_path`, by which a spawned process gets its `__main__`, read scripts from the snapshot."""
        import runpy

        if not hasattr(runpy.run_path, "_finder"):
            runpy.run_path = _run_path_from(self, runpy.run_path)

    @property
    def outside(self) -> dict[str, str]:
        """Path to SHA-256 of the user's files that were imported and are not in the snapshot with that content.

        A file that was imported by name has the hash of the bytes that ran. A file that was loaded in another way (by
        an import hook, or from its path) is listed only if it is below the project's folders, with the hash that it has
        when this property is first read.
        """
        self._look_at_loaded()
        return {self._there(path): digest for path, digest in self._outside.items()}

    # -- finding -----------------------------------------------------------------------------------------------------

    def _find(self, fullname: str, entries: Iterable[str]) -> ModuleSpec | None:
        """Search a path as Python does, with files of the snapshot taking precedence over those on disk."""
        folders = [(entry, folder) for entry in entries if (folder := _folder_of(entry)) is not None]
        if not any(folder in self._folders or not self._libraries.contains(folder) for _, folder in folders):
            return self._find_elsewhere(fullname)
        name = fullname.rpartition(".")[2]
        portions: list[str] = []
        is_ours = False
        for entry, folder in folders:
            found = self._in_snapshot(fullname, os.path.join(folder, name))
            if found is not None:
                return found
            if self._has_folder(os.path.join(folder, name)):
                portions.append(os.path.join(folder, name))
                is_ours = True
                continue
            on_disk = PathFinder.find_spec(fullname, [entry])
            if on_disk is None:
                continue
            if on_disk.loader is None or on_disk.origin is None:
                portions += on_disk.submodule_search_locations or ()
                continue
            if self._libraries.contains(os.path.dirname(on_disk.origin)):
                return on_disk if is_ours else None  # another finder may come first
            return self._from_disk(on_disk)
        return self._namespace(fullname, portions) if is_ours else self._find_elsewhere(fullname)

    def _in_snapshot(self, fullname: str, base: str) -> ModuleSpec | None:
        """The import spec of the package or module that a folder of the search path contains in the snapshot."""
        package = os.path.join(base, "__init__.py")
        if self._copy_of(package) is not None:
            return self._spec_of(fullname, package, is_package=True)
        has_source = self._copy_of(f"{base}.py") is not None
        is_compiled = any(f"{base}{suffix}" in self._files for suffix in EXTENSION_SUFFIXES)  # Python prefers these
        return self._spec_of(fullname, f"{base}.py") if has_source and not is_compiled else None

    def _find_elsewhere(self, fullname: str) -> ModuleSpec | None:
        """A module that another finder, such as that of an editable install, found when the snapshot was taken."""
        path = self._modules.get(fullname)
        if path is None or self._copy_of(path) is None:
            return None
        return self._spec_of(fullname, path, is_package=os.path.basename(path) == "__init__.py")

    def _from_disk(self, spec: ModuleSpec) -> ModuleSpec:
        """The import spec of a user's file that is not in the snapshot; its loader notes the hash of what it runs."""
        assert spec.origin is not None
        if type(spec.loader) is SourceFileLoader:
            return self._spec_of(spec.name, spec.origin, is_package=spec.submodule_search_locations is not None)
        self._note_file(getattr(spec.loader, "archive", spec.origin))
        return spec

    def _spec_of(self, fullname: str, path: str, *, is_package: bool = False) -> ModuleSpec:
        spec = _Spec(fullname, SnapshotLoader(fullname, path, self), origin=path, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(path)]
        return spec

    def _namespace(self, fullname: str, portions: list[str]) -> ModuleSpec:
        """A namespace package, which has no `__init__.py` and is extended when the search path grows."""
        spec = ModuleSpec(fullname, None, is_package=True)
        loader = NamespaceLoader(fullname, portions, lambda name, path: self._find(name, path or ()))
        spec.submodule_search_locations = loader._path  # type: ignore[attr-defined]
        return spec

    # -- files -------------------------------------------------------------------------------------------------------

    def _stored(self, entry: dict[str, Any]) -> _Stored:
        copy = None if entry["file"] is None else os.path.join(self.snapshot_dir, entry["file"])
        return _Stored(copy, entry["sha256"])

    def _copy_of(self, path: str) -> _Stored | None:
        """The entry of a file that is copied; None without one. The file's folder may be a symbolic link."""
        stored = self._entry_of(path)
        return None if stored is None or stored.copy is None else stored

    def _entry_of(self, path: str) -> _Stored | None:
        stored = self._files.get(path)
        if stored is None and os.path.dirname(path) not in self._folders:
            folder, name = os.path.split(path)
            stored = self._files.get(os.path.join(os.path.realpath(folder), name))
        return stored

    def _has_folder(self, path: str) -> bool:
        return path in self._folders or os.path.realpath(path) in self._folders

    def _here(self, path: str) -> str:
        return _moved(path, self._old_root, self._new_root)

    def _there(self, path: str) -> str:
        return _moved(path, self._new_root, self._old_root)

    # -- files outside of the snapshot -------------------------------------------------------------------------------

    def _note(self, path: str, digest: str) -> None:
        stored = self._entry_of(path)
        if stored is None or stored.sha256 != digest:
            self._outside.setdefault(path, digest)

    def _note_file(self, path: str) -> None:
        self._served.add(path)
        with suppress(OSError), open(path, "rb") as file:
            self._note(path, _sha256(file.read()))

    def _look_at_loaded(self) -> None:
        """Note the files of modules that were loaded without this finder."""
        if len(self._looked_at) == len(sys.modules) + ("__mp_main__" not in sys.modules):
            return
        for name, module in list(sys.modules.items()):
            if name in self._looked_at:
                continue
            self._looked_at.add(name)
            path = _file_of(module)
            if name.partition(".")[0] != "hpsearch" and path not in self._served and self._is_of_project(path):
                self._note_file(path)

    def _is_of_project(self, path: str) -> bool:
        if not path.endswith((".py", ".pyc", ".so")) or not os.path.isabs(path):
            return False
        is_below = any(
            path.startswith(f"{root}{os.sep}") and f"{os.sep}." not in path[len(root) :] for root in self._roots
        )
        return is_below and not self._libraries.contains(os.path.dirname(path))


def install(
    snapshot_dir: str | os.PathLike[str], *, old_root: str | None = None, new_root: str | None = None
) -> CodeFinder:
    """Make this process import the user's modules from a snapshot, until `uninstall`.

    The entries of the search path are searched in order. A module whose file is in the snapshot is loaded from there
    and has the paths of the original file (`__file__`, `__path__`, `co_filename`), which may be gone. A user's file
    that is not in the snapshot is loaded from the disk and noted in `CodeFinder.outside`. Any other module is found as
    usual. Bytecode files beside the user's code are neither read nor written.

    Args:
        snapshot_dir: The snapshot's folder.
        old_root: A folder on the machine where the snapshot was taken; None for no change of paths.
        new_root: The folder on this machine that corresponds to `old_root`; given with `old_root` or not at all.

    Raises:
        OSError, ValueError: The folder's manifest can't be read.
    """
    finder = CodeFinder(snapshot_dir, old_root=old_root, new_root=new_root)
    uninstall()
    sys.meta_path.insert(0, finder)
    return finder


def installed() -> CodeFinder | None:
    """This process's finder, also one that another copy of this module installed; None if there is none."""
    found: Any = next((each for each in sys.meta_path if hasattr(each, "is_code_finder_of_hpsearch")), None)
    return found  # type: ignore[no-any-return]


def uninstall() -> None:
    """Make this process import from the disk again."""
    sys.meta_path[:] = [each for each in sys.meta_path if not hasattr(each, "is_code_finder_of_hpsearch")]


def start_interpreter(site_dir: str) -> None:
    """Install the finder, then run the `sitecustomize` that the snapshot's own one hides, from which this is called.

    Args:
        site_dir: The snapshot's folder `site`.
    """
    roots = json.loads(os.environ.get(MOVED_VARIABLE, "[null, null]"))
    finder = install(os.path.dirname(site_dir), old_root=roots[0], new_root=roots[1])
    if any("multiprocessing" in argument for argument in sys.orig_argv):
        finder.run_paths()
    others = [entry for entry in sys.path if os.path.abspath(entry) != site_dir]
    hidden = PathFinder.find_spec("sitecustomize", others)
    if hidden is not None and hidden.loader is not None:
        module = module_from_spec(hidden)
        sys.modules["sitecustomize"] = module
        hidden.loader.exec_module(module)


def _run_path_from(finder: CodeFinder, original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A `runpy.run_path` that runs files of the snapshot itself and calls the original one for all others."""

    def run_path(
        path_name: str, init_globals: dict[str, Any] | None = None, run_name: str | None = None
    ) -> dict[str, Any]:
        if finder.source(path_name) is None:
            return original(path_name, init_globals, run_name)
        name = "<run_path>" if run_name is None else run_name
        module = ModuleType(name)
        module.__dict__.update(init_globals or {})
        module.__dict__.update(__name__=name, __file__=path_name, __cached__=None, __builtins__=__builtins__)
        before, argv0 = sys.modules.get(name), sys.argv[0]
        sys.modules[name], sys.argv[0] = module, path_name
        try:
            exec(finder.code(path_name), module.__dict__)
        finally:
            sys.argv[0] = argv0
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
        return module.__dict__.copy()

    run_path._finder = finder  # type: ignore[attr-defined]
    return run_path


def _show_as(path: str, content: bytes) -> None:
    """Make tracebacks, `inspect` and debuggers show this text for a file; without a time, the entry stays valid."""
    with suppress(SyntaxError, UnicodeError):
        text = decode_source(content)
        lines = io.StringIO(text if text.endswith("\n") else f"{text}\n").readlines()
        linecache.cache[path] = (len(content), None, lines, path)


def _folder_of(entry: object) -> str | None:
    """An entry of a search path as an absolute path; None for one that is not a path."""
    if not isinstance(entry, str):
        return None
    try:
        return os.path.abspath(entry)  # an empty entry means the working directory
    except OSError:  # the working directory is gone
        return None


def _with_parents(folder: str) -> Iterator[str]:
    yield folder
    while (parent := os.path.dirname(folder)) != folder:
        yield (folder := parent)


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if old and (path == old or path.startswith(f"{old}{os.sep}")) else path


def _file_of(module: object) -> str:
    """A module's `__file__`, read without triggering a lazy import; empty if there is none."""
    if not issubclass(type(module), ModuleType):  # objects of cffi pass isinstance
        return ""
    path = object.__getattribute__(module, "__dict__").get("__file__")
    return path if isinstance(path, str) else ""


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
