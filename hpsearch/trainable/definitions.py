"""The names that a module defines at top level, read from its source without running it.

`locate.py` uses them to check that a trainable exists; finding the file is done there.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from hpsearch.errors import Problem, SpecError, did_you_mean


def check_function(name: str, source: str, path: str) -> None:
    """Check that a module defines a function that can be a trainable.

    Args:
        name: Name of the function.
        source: Source of the module.
        path: Path of the module's file, for messages.

    Raises:
        SpecError: The module has no such function, or the name is that of a class or an async function.
    """
    names = _names_in(source, path)
    kind = names.kinds.get(name)
    if kind == "class":
        raise trainable_error(
            f"'{name}' in {path} is a class. Write a function, def train(config), that creates and runs it."
        )
    if kind == "async":
        raise trainable_error(f"'{name}' in {path} is an async function. Write def instead of async def.")
    if kind is not None or names.open_ended:
        return
    functions = names.functions
    listed = ", ".join(functions[:10]) or "none"
    raise trainable_error(
        f"there is no function '{name}' in {path}.{did_you_mean(name, functions)} Its functions: {listed}."
    )


def functions_in(source: str, path: str) -> list[str]:
    """Names of the functions that a module defines, in order.

    Raises:
        SpecError: The source is not valid Python.
    """
    return _names_in(source, path).functions


def only_defines(source: str, path: str) -> bool:
    """Whether running a module has no effect but definitions.

    Raises:
        SpecError: The source is not valid Python.
    """
    return all(map(_does_nothing, _parsed(source, path).body))


def trainable_error(message: str) -> SpecError:
    """The error for a mistake in the key `trainable`."""
    return SpecError([Problem(where=("trainable",), message=message)])


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a top-level statement only defines a name."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
        return not any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(statement))
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)
    return isinstance(statement, kinds)


def _names_in(source: str, path: str) -> _Names:
    names = _Names()
    for statement in _top_level(_parsed(source, path).body):
        names.add(statement)
    return names


def _parsed(source: str, path: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for an unknown escape in a string: the import shows it
            return ast.parse(source)
    except SyntaxError as error:
        raise trainable_error(f"{path}:{error.lineno} is not Python: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise trainable_error(f"{path} is not Python: {error}.") from error


@dataclass(kw_only=True)
class _Names:
    """The names that a module defines at top level."""

    kinds: dict[str, Literal["function", "async", "class", "other"]] = field(default_factory=dict)
    """Name to the kind of its last definition."""
    open_ended: bool = False
    """Whether there may be further names, from `import *` or a module `__getattr__`."""

    @property
    def functions(self) -> list[str]:
        """The names whose last definition is a function."""
        return [name for name, kind in self.kinds.items() if kind == "function"]

    def add(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name):
                self.kinds[name] = "function"
                self.open_ended |= name == "__getattr__"
            case ast.AsyncFunctionDef(name=name):
                self.kinds[name] = "async"
            case ast.ClassDef(name=name):
                self.kinds[name] = "class"
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                self.kinds.update({alias.asname or alias.name.partition(".")[0]: "other" for alias in aliases})
                self.open_ended |= any(alias.name == "*" for alias in aliases)
            case ast.Assign() | ast.AnnAssign(value=ast.expr()):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                stored = (node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
                self.kinds.update({node.id: "other" for node in stored if isinstance(node.ctx, ast.Store)})


def _top_level(body: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    """The statements that run on import, including those inside `if`, `try`, `with` and loops."""
    for node in body:
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _top_level(ast.iter_child_nodes(node))
