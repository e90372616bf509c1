"""What makes two trials the same: their fingerprint, and the code and data that go into it.

Two trials with one fingerprint would train the same thing, so the second is answered from the ledger. In doubt the
fingerprint differs, or there is none: training twice costs time, a wrong answer costs trust.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hpsearch
from hpsearch.ledger.functions import UNKNOWN, functions_from
from hpsearch.space import Point, canonical
from hpsearch.sweep import Sweep
from hpsearch.trainable import TrainableSource

MAX_DATA_FILES = 1_000_000
"""More files than that below `data.root` are not counted, and nothing is reused."""

Code = Mapping[str, str]
"""File (relative to the working directory where it can be) or function to the hash of its source."""


def code_of(trainable: TrainableSource | Callable[..., Any]) -> Code | None:
    """The source that a trainable is made of: its file and the project's files that it imports, or its own functions.

    Args:
        trainable: A place that was found, or a function. A function of a script or a notebook counts as
            `functions_from` says.

    Returns:
        None where the source can't be read.
    """
    if isinstance(trainable, TrainableSource):
        if trainable.file_path is None:
            return None
        called = trainable.function or canonical(trainable.arguments)
        return {**_files_from(trainable.file_path), "function": called}
    path = inspect.getsourcefile(trainable) if inspect.isfunction(trainable) else None
    if path is not None and Path(path).is_file() and trainable.__module__ != "__main__" and not trainable.__closure__:
        return {**_files_from(Path(path)), "function": trainable.__qualname__}
    try:
        return functions_from(trainable)
    except (OSError, TypeError, ValueError):
        return None


def data_hash(data: Mapping[str, Any]) -> str | None:
    """The spec's `data`, and the names and sizes of the files below its `root`; None where there are too many."""
    digest = hashlib.sha256(canonical(dict(data)).encode())
    root = data.get("root")
    if root is not None:
        for count, line in enumerate(_names_and_sizes(Path(root))):
            if count >= MAX_DATA_FILES:
                return None
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def trial_fingerprint(point: Point, *, sweep: Sweep, code: Code | None, data: str | None) -> str | None:
    """One text for all trials that would train the same thing; None if that can't be known.

    The length of the training is left out: a trial that went further answers for one that shall go less far.
    """
    if code is None or data is None or UNKNOWN in code.values():
        return None
    parts = {
        "point": point,
        "seed": sweep.seed,
        "precision": sweep.precision,
        "parallel": sweep.parallel,
        "workers": sweep.resources.workers,
        "metric": sweep.metric.name,
        "code": sorted(
            code.values()
        ),  # what stands in the files, not where they lie: another checkout is the same code
        "data": data,
        "hpsearch": hpsearch.__version__,
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def code_hash(code: Code) -> str:
    """One text for the same code, wherever its files lie."""
    return hashlib.sha256(canonical(sorted(code.values())).encode()).hexdigest()


def changed_files(old: Code, new: Code) -> list[str]:
    """Files and functions that are not what they were, in words."""
    if sorted(old.values()) == sorted(new.values()):
        return []  # the same files in another place, or seen from another working directory
    words = {(True, False): "is gone", (False, True): "is new", (True, True): "changed"}
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {words[name in old, name in new]}" for name in names]


def _files_from(start: Path) -> dict[str, str]:
    """A file and, over its imports, every file of the project: below the working directory or beside the first file."""
    roots = (Path.cwd(), start.resolve().parent)
    waiting, found = [start.resolve()], dict[str, str]()
    while waiting:
        path = waiting.pop()
        name = _shown(path)
        if name in found:
            continue
        content = path.read_bytes()
        found[name] = hashlib.sha256(content).hexdigest()
        waiting += _imported_files(content, path, roots)
    return dict(sorted(found.items()))


def _imported_files(content: bytes, path: Path, roots: tuple[Path, ...]) -> list[Path]:
    try:
        tree = ast.parse(content)
    except SyntaxError:
        return []  # the import will tell
    names = {name for node in ast.walk(tree) for name in _names_of(node, path, roots)}
    return [file for name in names for root in roots if (file := _module_file(name, root)) is not None]


def _names_of(node: ast.AST, path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
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


def _module_file(name: str, root: Path) -> Path | None:
    """The file of a module of the project; None for others, hpsearch itself among them, whose version counts."""
    parts = name.split(".")
    if not all(parts) or parts[0] == "hpsearch":
        return None
    base = root.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path.resolve()
    return _module_file(".".join(parts[:-1]), root) if len(parts) > 1 else None


def _names_and_sizes(root: Path) -> Iterator[str]:
    if root.is_file():
        yield f"{root.name} {root.stat().st_size}\n"
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder) / name
            size = path.stat().st_size if path.exists() else -1
            yield f"{path.relative_to(root)} {size}\n"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
