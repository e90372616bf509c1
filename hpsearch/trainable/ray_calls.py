"""Whether training code uses Ray itself, so that it needs a process that is connected to Ray.

The answer is read from the source; no user code runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

FREE = frozenset({"tune", "train", "air", "__version__", "is_initialized"})
"""Names of the package `ray` that work without a connection: hpsearch receives what `tune` and `train` report."""


def ray_call(source: bytes | str) -> str | None:
    """The first use of Ray's tasks, actors, objects or data in a module, for example `ray.get`; None if there is none.

    Code under `if __name__ == "__main__"` does not count, since no trial runs it.
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
    """The source of a function or class, dedented; None if it can't be read."""
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
