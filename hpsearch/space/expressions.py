"""Arithmetic over parameters for `expr` and `constraints`, evaluated without Python's `eval`.

The language is closed: `_NODES` lists the syntax of expressions and `_functions` the functions. Operators accept only
numbers; == and != also accept text, true, false and null. So an expression can't reach any object, and the size of
every result is bounded. See docs/decisions/0004-expressions.md.

Which names an expression may refer to is checked in `references.py`.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, final

MAX_LENGTH = 1000
"""Characters of an expression."""
MAX_NESTING = 100
"""Levels of an expression's tree; a sum has as many levels as terms."""
MAX_BITS = 512
"""Size of a whole number during evaluation; a result has at most 63 bits."""
MAX_DIGITS = 300
"""Largest number of decimals for `round`, before or after the point."""

FUNCTIONS = ("min", "max", "abs", "round", "int", "float", "log", "exp", "sqrt")
"""Functions that an expression can call."""

_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Attribute, ast.Load,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.BoolOp, ast.And, ast.Or,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.IfExp, ast.Call,
)  # fmt: skip
_LANGUAGE = "numbers, names, + - * / // % **, comparisons, and, or, not, if else, and " + ", ".join(FUNCTIONS)


class ExpressionError(ValueError):
    """An expression can't be read, or has no value at some point; the message is a sentence with its full stop."""


@final
class Expression:
    """A parsed and checked expression. Expressions with the same text are equal.

    Example:
        >>> Expression("5 * 50000 // batch_size").evaluate({"batch_size": 64})
        3906
    """

    def __init__(self, text: str) -> None:
        """Parse and check an expression.

        Args:
            text: The expression as it is written in the spec.

        Raises:
            ExpressionError: It is not in the language of expressions.
        """
        self.text = text
        tree, self.names = _read(text)
        self._tree = tree

    names: frozenset[str]
    """Dotted names of the parameters that it refers to."""

    def evaluate(self, point: Mapping[str, Any]) -> bool | int | float | str | None:
        """The value at a point: a finite number, text, true, false or null. A whole number has at most 63 bits.

        Args:
            point: Dotted name to value; has at least `names`.

        Raises:
            ExpressionError: There is no such value, for example because of a division by zero.
        """
        self._evaluator.names = point
        try:
            value = self._evaluator.eval(self.text, previously_parsed=self._tree)
        except ArithmeticError as error:
            raise ExpressionError(f"{_reason(error)}.") from error
        except (TypeError, ValueError, self._invalid) as error:
            raise ExpressionError(str(error) if isinstance(error, ExpressionError) else f"{error}.") from error
        if isinstance(value, int) and value.bit_length() > 63:
            raise ExpressionError("the result has more than 63 bits.")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise ExpressionError(f"expected a number as the result, got {value!r:.60}.")

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether the expression is true at a point.

        Raises:
            ExpressionError: It has no value there, or its value is neither true nor false.
        """
        value = self.evaluate(point)
        if not isinstance(value, bool):
            raise ExpressionError(f"expected true or false as the result, got {value!r}.")
        return value

    @cached_property
    def _evaluator(self) -> Any:
        import simpleeval

        evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=_functions(), names={})
        evaluator.nodes = {kind: handler for kind, handler in evaluator.nodes.items() if kind in _NODES}
        return evaluator

    @cached_property
    def _invalid(self) -> type[Exception]:
        import simpleeval

        invalid: type[Exception] = simpleeval.InvalidExpression
        return invalid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return Expression, (self.text,)


def _read(text: str) -> tuple[ast.expr, frozenset[str]]:
    """The checked tree, in which `model.width` is one name, and the names in it."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"expected an expression of at most {MAX_LENGTH} characters, got {len(text)}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else "it can't be read"
        raise ExpressionError(f"{problem}. Write for example 5 * 50000 // batch_size.") from error
    _check_nesting(tree)
    _check(tree)
    flat = _Flatten()
    return flat.visit(tree).body, frozenset(flat.names)


def _check_nesting(tree: ast.AST) -> None:
    """Refuse a tree that would exceed Python's recursion limit later; this check itself does not recurse."""
    level = [tree]
    for _ in range(MAX_NESTING):
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ExpressionError(f"expected at most {MAX_NESTING} levels of nesting, got more. Write it shorter.")


def _check(tree: ast.AST) -> None:
    """Refuse syntax and functions that are not in the language."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _check_call(node)
        elif isinstance(node, ast.Attribute) and not (id(node) in called or _dotted(node)):
            raise ExpressionError("a dot is only allowed in a parameter's name, for example model.width.")
        elif not isinstance(node, _NODES):
            raise ExpressionError(f"expected only {_LANGUAGE}, got {type(node).__name__}.")
        elif isinstance(node, ast.Constant) and not _is_plain(node.value):
            raise ExpressionError(f"expected a number, text, True, False or None, got {node.value!r:.60}.")


def _check_call(node: ast.Call) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:60]
    if name not in FUNCTIONS:
        raise ExpressionError(f"unknown function '{name}'. Known: {', '.join(FUNCTIONS)}.")
    if node.keywords:
        raise ExpressionError(f"{name} takes no keyword arguments.")


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= MAX_BITS
    return value is None or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _dotted(node: ast.expr) -> str | None:
    """The dotted name, such as `model.width`, that a chain of attributes spells; None for any other node."""
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{inner}.{node.attr}" if inner is not None and isinstance(node, ast.Attribute) else None


@final
class _Flatten(ast.NodeTransformer):
    """Replaces chains of attributes by single names, so that no attribute of a value is ever read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_Name(self, node: ast.Name) -> ast.Name:
        self.names.add(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.Name:
        name = _dotted(node)
        assert name is not None, "checked before"
        self.names.add(name)
        return ast.Name(id=name, ctx=ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.Call:
        node.args = [self.visit(argument) for argument in node.args]  # the function's name is no parameter
        return node


def is_nameable(name: str) -> bool:
    """Whether an expression can refer to a parameter of this dotted name."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


# -- arithmetic ----------------------------------------------------------------------------------------------------


def _numeric(function: Callable[..., Any], symbol: str) -> Callable[..., Any]:
    """A version of `function` that accepts only numbers and returns only finite real numbers of at most MAX_BITS."""

    def checked(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, int | float):
                raise ExpressionError(f"{symbol} takes numbers, got {value!r:.60}.")
        result = function(*values)
        if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
            raise ExpressionError(f"{symbol} of {', '.join(map(repr, values))} is not a finite number.")
        if isinstance(result, int) and result.bit_length() > MAX_BITS:
            raise ExpressionError(f"{symbol} results in a whole number of more than {MAX_BITS} bits.")
        return result

    return checked


def _power(base: float, exponent: float) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and abs(exponent) > MAX_BITS:
        raise ExpressionError(f"expected an exponent of at most {MAX_BITS}, got {exponent}.")
    return base**exponent


def _round(value: float, digits: int = 0) -> float:
    if not isinstance(digits, int) or abs(digits) > MAX_DIGITS:
        raise ExpressionError(f"expected at most {MAX_DIGITS} decimals in round, got {digits!r}.")
    return round(value, digits) if digits else round(value)


def _functions() -> dict[str, Callable[..., Any]]:
    plain: dict[str, Callable[..., Any]] = {
        "min": lambda *values: min(values), "max": lambda *values: max(values), "abs": abs, "round": _round,
        "int": int, "float": float, "log": math.log, "exp": math.exp, "sqrt": math.sqrt,
    }  # fmt: skip
    return {name: _numeric(function, name) for name, function in plain.items()}


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _numeric(operator.add, "+"),
    ast.Sub: _numeric(operator.sub, "-"),
    ast.Mult: _numeric(operator.mul, "*"),
    ast.Div: _numeric(operator.truediv, "/"),
    ast.FloorDiv: _numeric(operator.floordiv, "//"),
    ast.Mod: _numeric(operator.mod, "%"),
    ast.Pow: _numeric(_power, "**"),
    ast.USub: _numeric(operator.neg, "-"),
    ast.UAdd: _numeric(operator.pos, "+"),
    ast.Lt: _numeric(operator.lt, "<"),
    ast.LtE: _numeric(operator.le, "<="),
    ast.Gt: _numeric(operator.gt, ">"),
    ast.GtE: _numeric(operator.ge, ">="),
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _reason(error: ArithmeticError) -> str:
    return "division by zero" if isinstance(error, ZeroDivisionError) else "a number is too large"
