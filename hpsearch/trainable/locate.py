"""Finds and loads the trainable that a spec names.

`locate` finds it by reading source, so that `hpsearch validate` and the driver check a spec without running user code.
`load` imports it, in the processes that train. The names that a file defines are read in `definitions.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hpsearch.errors import SpecError, did_you_mean
from hpsearch.paths import home_option, shortened
from hpsearch.trainable import code_finder
from hpsearch.trainable.arguments import DEFAULT
from hpsearch.trainable.definitions import check_function, functions_in, only_defines, trainable_error
from hpsearch.trainable.script import Script

Trainable = Callable[[dict[str, Any]], Any]
"""A function that trains one configuration."""
ENTRY_POINT_GROUP = "hpsearch.trainables"
"""Entry points by which installed packages offer trainables."""


@dataclass(frozen=True, kw_only=True)
class TrainableSource:
    """A trainable that was found and is not imported yet; it can be pickled."""

    kind: Literal["module", "file", "script"]
    """Whether it is imported by its module's name, imported from a file, or a file that runs as a program."""
    module: str
    """The name that it is imported as: dotted, or the file's name without its suffix; `__main__` for a script."""
    function: str
    """The function's name in the module; empty for a script."""
    file_path: Path | None
    """Absolute path of its source; None for a module without source, such as an extension module."""
    arguments: tuple[str, ...] = ()
    """The command line of a script, see `script.Script`; empty for a function."""

    @property
    def program(self) -> str:
        """What `sys.argv[0]` is while it is imported and runs. Only a script has further arguments."""
        return str(self.file_path or self.module)


def locate(text: str, *, spec_dir: Path | None, arguments: Sequence[str] = DEFAULT) -> TrainableSource:
    """Find a trainable without importing it.

    Args:
        text: `module:function`, looked for in the working directory, then on `sys.path`; `path/file.py:function`,
            relative to the working directory, then to `spec_dir`; `path/file.py`, which is a script; or the name of an
            entry point.
        spec_dir: The spec's folder; None if the spec is not a file.
        arguments: The command line of a script.

    Raises:
        SpecError: There is no such trainable; the message names similar ones.
    """
    target, colon, function = text.rpartition(":")
    if not colon and text.endswith(".py"):
        return _locate_script(text, spec_dir, tuple(arguments))
    if not colon:
        return _locate_entry_point(text)
    is_file = target.endswith(".py") or "/" in target
    if not function.isidentifier() or not (is_file or all(part.isidentifier() for part in target.split("."))):
        raise trainable_error(f"expected {_FORMS}, got {text!r:.80}.")
    if is_file:
        return _locate_in_file(target, function, spec_dir)
    return _locate_in_module(target, function)


def check_is_outside(source: TrainableSource, home: Path) -> None:
    """Check that the trainable of a resumed sweep, and what it imports, are not taken from the sweeps' home folder.

    That folder, with the ledger that names the trainable, may come from someone else.

    Args:
        source: The trainable.
        home: Folder of the ledger.

    Raises:
        SpecError: The trainable or the working directory, from which trials import first, is in the home folder.
    """
    origin = source.file_path if source.kind != "module" else _find_module(source.module).origin
    advice = f"If it is yours, name your spec: python -m hpsearch sweep SPEC{home_option(home)}"
    if origin is not None and _is_below(Path(origin), home):
        raise trainable_error(f"{origin} is in the home folder {home}, from which `resume` runs no code. {advice}")
    if _is_below(Path.cwd(), home):
        raise trainable_error(
            f"the working directory {Path.cwd()} is in the home folder {home}, from which `resume` runs no code, and"
            f" trials import from the working directory first. Change to your project's folder. {advice}"
        )


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path is `folder` or below it, by its names or once links are resolved."""
    forms = (Path(os.path.abspath(path)), path.resolve())  # noqa: PTH100 - without "..", and links are kept
    return any(form.is_relative_to(root) for form in forms for root in (folder.absolute(), folder.resolve()))


def load(source: TrainableSource) -> Callable[..., Any]:
    """Import a trainable, which runs the user's module.

    A script does not run until the result is called. For any other file, its folder becomes the first entry of
    `sys.path`, as for `python file.py`; but the module has the file's name instead of `__main__`, so that its classes
    and functions can be pickled for DataLoader workers. In a sweep, all files come from its snapshot, see
    `code_finder.py`.

    Raises:
        ImportError: Another module with the file's name is loaded.
        AttributeError: The imported module has no such name.
        TypeError: The object with that name can't be called.
        BaseException: Anything that the user's module raises.
    """
    if source.kind == "script":
        assert source.file_path is not None
        return Script(source.file_path, source.arguments)
    module = importlib.import_module(source.module) if source.kind == "module" else _import_file(source)
    try:
        function = getattr(module, source.function)
    except AttributeError:
        raise AttributeError(f"{source.module} has no '{source.function}' once it is imported") from None
    if not callable(function):
        raise TypeError(f"{source.module}:{source.function} is not a function but {type(function).__name__}")
    return function  # type: ignore[no-any-return]


_FORMS = "module:function or path/file.py:function"


def _locate_entry_point(name: str) -> TrainableSource:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    known = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name in known:
        return _locate_in_module(known[name].module, known[name].attr)
    listed = f" Installed trainables: {', '.join(sorted(known))}." if known else ""
    raise trainable_error(f"expected {_FORMS}, got '{name}'.{did_you_mean(name, known)}{listed}")


def _locate_in_file(file: str, function: str, spec_dir: Path | None) -> TrainableSource:
    path, source = _read_file(file, spec_dir)
    check_function(function, source, str(path))
    name = path.stem.replace(".", "_")
    return TrainableSource(kind="file", module=name, function=function, file_path=path.resolve())


def _locate_script(file: str, spec_dir: Path | None, arguments: tuple[str, ...]) -> TrainableSource:
    path, source = _read_file(file, spec_dir)
    if only_defines(source, str(path)):
        functions = functions_in(source, str(path))
        hint = f"Name one, {file}:{functions[0]}" if functions else "Add the code that trains"
        raise trainable_error(f"{path} does nothing when it runs: it only defines names. {hint}.")
    return TrainableSource(kind="script", module="__main__", function="", file_path=path.resolve(), arguments=arguments)


def _read_file(file: str, spec_dir: Path | None) -> tuple[Path, str]:
    """(path, source) of a file, looked for in the working directory, then in the spec's folder."""
    tried = list(dict.fromkeys(folder / file for folder in (Path(), spec_dir) if folder is not None))
    path = next((path for path in tried if os.path.isfile(path)), None)  # noqa: PTH113 - is_file raises on long names
    if path is None:
        nearby: set[str] = set()
        with suppress(OSError):
            nearby.update(neighbour.name for path in tried for neighbour in path.parent.glob("*.py"))
        looked = " nor ".join(str(path) for path in tried)
        raise trainable_error(f"there is no file {looked}.{did_you_mean(tried[0].name, nearby)}")
    try:
        return path, importlib.util.decode_source(path.read_bytes())
    except (OSError, SyntaxError, UnicodeError) as error:
        raise trainable_error(f"{path} can't be read: {error}.") from error


def _locate_in_module(name: str, function: str) -> TrainableSource:
    spec = _find_module(name)
    if spec.origin is None:
        raise trainable_error(
            f"'{name}' is a folder without __init__.py. Write the module in it that has '{function}'."
        )
    source = _source_of(spec)
    if source is not None:
        check_function(function, source, str(shortened(Path(spec.origin))))
    path = Path(spec.origin).resolve() if source is not None and spec.has_location else None
    return TrainableSource(kind="module", module=name, function=function, file_path=path)


def _find_module(name: str) -> ModuleSpec:
    """The import spec of a module. Unlike `importlib.util.find_spec`, this imports none of its packages."""
    importlib.invalidate_caches()  # a file may have been written a moment ago
    search: Iterable[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    parts = name.split(".")
    for depth, part in enumerate(parts, start=1):
        if search is None:
            raise trainable_error(
                f"'{'.'.join(parts[: depth - 1])}' is a module, not a package: there is no '{name}' in it."
            )
        folders = list(search)
        spec = PathFinder.find_spec(part, folders)  # not the dotted name, for which outer folders must be imported
        if spec is None and depth == 1:
            spec = _find_elsewhere(part)
        if spec is None:
            raise _no_module(parts, depth, folders)
        search = spec.submodule_search_locations
    assert spec is not None
    return spec


def _find_elsewhere(name: str) -> ModuleSpec | None:
    """A top-level module of another finder: a built-in one, or one of an editable install."""
    with suppress(ValueError):  # a loaded module without a spec, such as __main__
        return importlib.util.find_spec(name)
    return None


def _no_module(parts: list[str], depth: int, folders: list[str]) -> SpecError:
    import pkgutil  # here, since only this error needs it

    missing, outer = parts[depth - 1], ".".join(parts[: depth - 1])
    known = {found.name for found in pkgutil.iter_modules(folders)}
    searched = f"in the package '{outer}'" if outer else "in the working directory or on sys.path"
    return trainable_error(f"there is no module '{missing}' {searched}.{did_you_mean(missing, known)}")


def _source_of(spec: ModuleSpec) -> str | None:
    """A module's source; None if it has none, so that its functions can't be checked."""
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source = get_source(spec.name) if get_source is not None else None
    except (ImportError, SyntaxError) as error:
        raise trainable_error(f"the module '{spec.name}' can't be read: {error}.") from error
    return source if isinstance(source, str) else None


def _import_file(source: TrainableSource) -> ModuleType:
    path = source.file_path
    assert path is not None
    loaded = sys.modules.get(source.module)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return loaded
        raise ImportError(
            f"{path.name} has the name of the module '{source.module}', which is already loaded: rename the file"
        )
    folder = str(path.parent)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    finder = code_finder.installed()
    spec = None if finder is None else finder.spec(source.module, path)
    spec = spec or importlib.util.spec_from_file_location(source.module, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.module] = module  # before it runs: dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[source.module]
        raise
    return module
