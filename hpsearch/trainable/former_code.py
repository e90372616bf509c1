"""How older versions of hpsearch found the files that a fingerprint counts.

Those versions followed imports only to files below the working directory or beside the trainable's file, and left out
the `__init__.py` of packages that are not imported by name. Ledgers contain fingerprints made that way, so these
functions must keep their results: any change here makes old trials unrecognisable. How files are found today is in
`code_files.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def imported_files_below(tree: ast.Module | None, path: Path, roots: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """(file, module) of every file below `roots` that a source file may import.

    Args:
        tree: The file's syntax tree; None for one that is not valid Python.
        path: The file, absolute.
        roots: The working directory and the folder of the trainable's file.
    """
    nodes = ast.walk(tree) if tree is not None else ()
    names = dict.fromkeys(name for node in nodes for name in _imported_names(node, path, roots))
    return [found for name in names for root in roots if (found := _module_file(name, root)) is not None]


def _imported_names(node: ast.AST, path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
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


def _module_file(name: str, root: Path) -> tuple[Path, str] | None:
    """(file, module) of a dotted name below a folder; None for hpsearch, whose version is in the fingerprint."""
    parts = name.split(".")
    if not all(parts) or parts[0] == "hpsearch":
        return None
    base = root.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path, name
    return _module_file(".".join(parts[:-1]), root) if len(parts) > 1 else None
