"""Whether training code calls Ray itself: then it needs a process that Ray has connected. Read off the source alone."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

FREE = frozenset({"tune", "train", "air", "__version__", "is_initialized"})
"""Names of the package that work in any process: what they report is handed to hpsearch."""


def ray_call(source: bytes | str) -> str | None:
    """The first use of Ray's own tasks, actors, objects or data in a module, for example `ray.get`; None without any.

    Code below `if __name__ == "__main__"` does not count: no trial runs it.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    nodes = list(_nodes(tree))
    aliases = {
        alias.asname or "ray"
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "ray" or (alias.name.startswith("ray.") and alias.asname is None)
    }
    return next((use for node in nodes if (use := _use(node, aliases)) is not None), None)


def source_of(trainable: object) -> str | None:
    """The source of a function that travels by value; None where it can't be read."""
    try:
        return textwrap.dedent(inspect.getsource(trainable))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None


def _use(node: ast.AST, aliases: set[str]) -> str | None:
    if isinstance(node, ast.Import):
        names = [alias.name.split(".") for alias in node.names]
        return next(
            (".".join(name) for name in names if name[0] == "ray" and len(name) > 1 and name[1] not in FREE), None
        )
    if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "ray":
        below = (node.module or "").split(".")[1:2] or [alias.name for alias in node.names]
        return next((f"ray.{name}" for name in below if name not in FREE), None)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
        return None if node.attr in FREE else f"ray.{node.attr}"
    return None


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).replace("'", '"') == '__name__ == "__main__"':
            continue
        yield child
        yield from _nodes(child)
