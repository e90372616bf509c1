"""What a module defines at top level, read off its source: whether a trainable is there, without running any of it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from hpsearch.errors import Problem, SpecError, did_you_mean


def check_function(name: str, source: str, path: str) -> None:
    """Whether a function can be a trainable.

    Args:
        name: Of the function.
        source: Of its module.
        path: Of its file, for messages.

    Raises:
        SpecError: There is none of that name, or it can't be called as one.
    """
    names = _names_in(source, path)
    kind = names.kinds.get(name)
    if kind == "class":
        raise trainable_error(
            f"'{name}' in {path} is a class. Write a function, def train(config), that makes and runs it."
        )
    if kind == "async":
        raise trainable_error(f"'{name}' in {path} is an async function. Write def in place of async def.")
    if kind is not None or names.open_ended:
        return
    functions = names.functions
    listed = ", ".join(functions[:10]) or "none"
    raise trainable_error(
        f"there is no function '{name}' in {path}.{did_you_mean(name, functions)} Functions there: {listed}."
    )


def functions_in(source: str, path: str) -> list[str]:
    """The functions of a module by name; raises SpecError for what is not Python."""
    return _names_in(source, path).functions


def only_defines(source: str, path: str) -> bool:
    """Whether running a module does nothing else; raises SpecError for what is not Python."""
    return all(map(_does_nothing, _parsed(source, path).body))


def trainable_error(message: str) -> SpecError:
    """The user's mistake in the key `trainable`."""
    return SpecError([Problem(where=("trainable",), message=message)])


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a statement at top level only defines something."""
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
            warnings.simplefilter("ignore")  # an unknown escape in a string is for the import to complain about
            return ast.parse(source)
    except SyntaxError as error:
        raise trainable_error(f"{path}:{error.lineno} is not Python: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise trainable_error(f"{path} is not Python: {error}.") from error


@dataclass(kw_only=True)
class _Names:
    """What a module defines at top level."""

    kinds: dict[str, Literal["function", "async", "class", "other"]] = field(default_factory=dict)
    """The last definition of each name."""
    open_ended: bool = False
    """Whether there may be more, by `from ... import *` or a `__getattr__`."""

    @property
    def functions(self) -> list[str]:
        """Those that are functions."""
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
    """The statements that run on import, those inside `if`, `try`, `with` and loops too."""
    for node in body:
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _top_level(ast.iter_child_nodes(node))
