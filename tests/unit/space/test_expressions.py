"""Expressions: what they mean, and that nothing but arithmetic gets through."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from hpsearch.space.expressions import Expression, ExpressionError

POINT: dict[str, Any] = {
    "batch_size": 64, "model.width": 16, "model.depth": 3, "lr": 0.1, "name": "sgd", "augment": True, "layers": [1, 2],
    "zero": 0, "min": 7, "nothing": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 * 50000 // batch_size", 3906),
        ("model.width * model.depth + 1", 49),
        ("-batch_size % 10 + 7 / 2", 9.5),
        ("2 ** model.depth - +1", 7),
        ("model.width < batch_size <= 64", True),
        ("not augment or lr == 0.1 and name != 'adam'", True),
        ("3 if name == 'sgd' else 1 / zero", 3),
        ("zero == 0 or 1 / zero > 1", True),
        ("max(model.width, 20, lr)", 20),
        ("round(lr * 3, 2)", 0.3),
        ("round(2.6) + int(2.6) + abs(-1) + float(1)", 7.0),
        ("log(exp(1)) + sqrt(16) + log(8, 2)", 8.0),
        ("min(min, 8)", 7),
        ("augment * 2", 2),
        ("nothing == None", True),
        ("name", "sgd"),
        ("  1\n", 1),
    ],
)
def test_an_expression_is_python_arithmetic(text: str, value: Any) -> None:
    found = Expression(text).evaluate(POINT)
    assert (type(found), found) == (type(value), pytest.approx(value) if isinstance(value, float) else value)


def test_dotted_names_are_parameters() -> None:
    assert Expression("model.width * 2 if a else max(b, 1)").names == {"model.width", "a", "b"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "invalid syntax"),
        ("1 +", "invalid syntax"),
        ("a = 1", "invalid syntax"),
        ("1; 2", "invalid syntax"),
        ("\0", "Write for example"),
        ("__import__('os')", "unknown function '__import__'"),
        ("open('/etc/passwd')", "unknown function 'open'"),
        ("name.upper()", "unknown function 'name.upper'"),
        ("(1).real", "a dot is only allowed in a parameter's name"),
        ("(name).x.y + layers[0]", "got Subscript"),
        ("'a'.join", "a dot is only allowed"),
        ("[1, 2]", "got List"),
        ("[x for x in layers]", "got ListComp"),
        ("(lambda: 1)()", "unknown function"),
        ("lambda: 1", "got Lambda"),
        ("f'{name}'", "got JoinedStr"),
        ("(a := 1)", "got NamedExpr"),
        ("1 << 9", "got LShift"),
        ("name in 'sgd'", "got In"),
        ("name is None", "got Is"),
        ("max(*layers)", "got Starred"),
        ("round(lr, ndigits=2)", "no keyword arguments"),
        ("b'x'", "got b'x'"),
        ("1j", "got 1j"),
        ("1e999", "got inf"),
        ("...", "got Ellipsis"),
        (str(10**200), "expected a number"),
        ("x" * 1001, "at most 1000 characters"),
        ("-" * 900 + "1", "levels of nesting"),
        ("(" * 300 + "1" + ")" * 300, "Write for example"),
        ("+".join("1" * 200), "levels of nesting"),
    ],
)
def test_what_is_no_arithmetic_is_refused_when_it_is_read(text: str, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 / zero", "division by zero"),
        ("1 % zero", "division by zero"),
        ("name * 3", "* takes numbers, got 'sgd'"),
        ("layers + layers", "+ takes numbers, got [1, 2]"),
        ("name < 'z'", "< takes numbers"),
        ("int('12')", "int takes numbers"),
        ("min()", "empty"),
        ("sqrt(-1)", "."),
        ("(-8) ** 0.5", "not a finite number"),
        ("exp(1000)", "too large"),
        ("1e308 * 10", "not a finite number"),
        ("10.0 ** 400", "too large"),
        ("9 ** 9 ** 9", "an exponent of at most 512"),
        ("(2 ** 511) * (2 ** 511)", "more than 512 bits"),
        ("2 ** 63", "more than 63 bits"),
        ("round(5, -10 ** 9)", "at most 300 decimals"),
        ("layers", "expected a number as the result"),
        ("log(zero)", "."),
    ],
)
def test_what_has_no_value_is_an_error_of_one_sentence_and_is_not_tried(text: str, part: str) -> None:
    """Some of these numbers would fill the memory before the year is over."""
    with pytest.raises(ExpressionError) as caught:
        Expression(text).evaluate(POINT)
    assert part in str(caught.value)


def test_a_constraint_must_be_true_or_false() -> None:
    assert Expression("lr < 1 and augment").holds(POINT) is True
    with pytest.raises(ExpressionError, match="true or false"):
        Expression("batch_size").holds(POINT)


def test_an_expression_survives_a_pickle_and_is_equal_by_its_text() -> None:
    used = Expression("lr * 2")
    used.evaluate(POINT)
    assert pickle.loads(pickle.dumps(used)) == used != Expression("lr*2")
    assert pickle.loads(pickle.dumps(used)).evaluate(POINT) == 0.2


def test_the_library_is_loaded_with_the_first_evaluation() -> None:
    code = "import sys, hpsearch.space.expressions as e; e.Expression('1'); assert 'simpleeval' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
