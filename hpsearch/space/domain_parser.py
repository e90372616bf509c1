"""Parses the map of one parameter into its domain.

The map has the form `{values: ...}`, `{min: ..., max: ...}`, `{value: ...}`, `{expr: ...}` or `{distribution: ...}`.
Only what the map itself shows is checked here: its `when` and the names in its `expr` refer to other parameters and are
checked in `references.py`. Every mistake is collected, none is repaired.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, final

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import Key, KeyPath, canonical, check_plain
from hpsearch.space.distributions import Beta, Normal, Shaped, Uniform
from hpsearch.space.domains import Choice, Computed, Constant, Domain, Integer, Real
from hpsearch.space.expressions import Expression, ExpressionError
from hpsearch.space.rounding import clipped_bounds
from hpsearch.text import shown

MAX_BOUND = 2**52
"""Largest absolute whole number in a range: search methods compute with floats, which are exact up to 2**53."""
MAX_COUNT = 100_000
"""Grid points of one parameter."""
MAX_STEPS = 1_000_000
"""Values of a range of floats with a step; a grid holds them in memory."""
DOMAIN_KEYS = ("values", "value", "min", "max", "log", "step", "count", "probabilities", "when", "expr")
"""Keys of which any one makes a map a domain, as does `distribution: TEXT`."""
DOMAIN_KEYS_SET = frozenset(DOMAIN_KEYS)
"""The same for fast look-ups."""
SHAPE_KEYS = ("distribution", "mu", "sigma", "a", "b", "q", "clip")
"""Further keys of a domain. Parameters have such short names too, so these keys alone don't make a map a domain."""
DISTRIBUTIONS: Mapping[str, Mapping[str, float]] = {
    "normal": {"mu": 0.0, "sigma": 1.0},
    "log_normal": {"mu": 0.0, "sigma": 1.0},
    "beta": {"a": 1.0, "b": 1.0},
}
"""Name of a distribution to its two parameters and their defaults."""


def is_domain(tree: Mapping[Any, Any]) -> bool:
    """Whether a map describes one parameter, as opposed to a map of parameters."""
    return not DOMAIN_KEYS_SET.isdisjoint(tree) or isinstance(tree.get("distribution"), str)


def range_in_list(value: object, where: KeyPath = ()) -> tuple[KeyPath, Mapping[Any, Any]] | None:
    """(key path, map) of the first map in a list that would be searched outside of the list; None if there is none.

    Args:
        value: The list; lists and maps in it are searched too. A map in a map may have the form `{value: ...}`.
        where: Keys that lead to `value`.
    """
    if isinstance(value, Mapping):
        inner: Iterable[tuple[Key, Any]] = value.items()
        ordinary = {"value"}
    elif isinstance(value, list | tuple):
        inner, ordinary = enumerate(value), set()
    else:
        return None
    for key, each in inner:
        path = (*where, key)
        if isinstance(each, Mapping) and _reads_as_domain(each) and each.keys().isdisjoint(ordinary):
            return path, each
        if found := range_in_list(each, path):
            return found
    return None


def _reads_as_domain(tree: Mapping[Any, Any]) -> bool:
    """Whether a map has the keys that a domain needs and no others."""
    is_range = {"min", "max"} <= tree.keys() or not tree.keys().isdisjoint(("values", "value", "expr"))
    is_shaped = isinstance(tree.get("distribution"), str)
    return (is_range or is_shaped) and tree.keys() <= {*DOMAIN_KEYS, *SHAPE_KEYS}


def misspelt_domain(tree: Mapping[Any, Any]) -> tuple[str, str] | None:
    """(wrong key, right key) if all keys are those of a domain or similar to them and the corrected map is a domain."""
    right = {key: get_close_matches(str(key), DOMAIN_KEYS, n=1, cutoff=0.75) for key in tree}
    if not all(right.values()):
        return None
    fixed = {near[0]: tree[key] for key, near in right.items()}
    if isinstance(fixed.get("values"), list | tuple) or {"min", "max"} <= fixed.keys():
        return next((str(key), near[0]) for key, near in right.items() if key != near[0])
    return None


def parse_domain(tree: Mapping[Any, Any], where: KeyPath, problems: list[Problem]) -> Domain | None:
    """The domain that a map describes.

    Args:
        tree: The map.
        where: Keys that lead from the top of the spec to `tree`.
        problems: One entry is added for each mistake.

    Returns:
        None if there is a mistake.
    """
    return _DomainParser(problems, where).parse(tree)


@final
class _DomainParser:
    """Parses the map of one parameter."""

    def __init__(self, problems: list[Problem], where: KeyPath) -> None:
        self.problems = problems
        self.where = where

    def parse(self, tree: Mapping[Any, Any]) -> Domain | None:
        """The domain; None if there is a mistake."""
        before = len(self.problems)
        if not tree.keys() & {"values", "value", "min", "max", "expr", "distribution"}:
            self._not_a_domain(tree)
            return None
        for key in tree:
            if key not in (*DOMAIN_KEYS, *SHAPE_KEYS):
                known = ", ".join(DOMAIN_KEYS)
                self._wrong(f"unknown key '{key}'.{did_you_mean(str(key), DOMAIN_KEYS)} Known: {known}.", key)
        domain = self._choose(tree)
        return domain if len(self.problems) == before else None

    def _not_a_domain(self, tree: Mapping[Any, Any]) -> None:
        key = next(key for key in tree if key in DOMAIN_KEYS_SET)
        if key == "when":
            self._wrong(
                "expected a parameter beside 'when', got a map of parameters. Give each parameter its own 'when'.", key
            )
            return
        self._wrong(
            f"'{key}' is a key of ranges, and this map has no values, min or max. Write for example"
            " {min: 1e-4, max: 1e-1, log: true}; for a parameter of that name, choose another name.",
            key,
        )

    def _choose(self, tree: Mapping[Any, Any]) -> Domain | None:
        is_range = not tree.keys().isdisjoint(("min", "max"))
        kinds = [key for key in ("values", "value", "expr", "distribution") if key in tree] + ["min and max"] * is_range
        if len(kinds) > 1:
            self._wrong(f"{' and '.join(kinds)} can't be combined. Keep one of them.")
            return None
        if kinds == ["values"]:
            return self._values(tree)
        if kinds == ["expr"]:
            return self._computed(tree)
        if kinds == ["distribution"]:
            return self._distribution(tree)
        return self._range(tree) if is_range else self._constant(tree)

    def _distribution(self, tree: Mapping[Any, Any]) -> Shaped | None:
        name = tree["distribution"]
        if name not in DISTRIBUTIONS:
            expected = f"expected one of {', '.join(DISTRIBUTIONS)}, got {shown(name)}"
            self._wrong(f"{expected}. For a parameter of that name, write {{value: ...}}.", "distribution")
            return None
        defaults = DISTRIBUTIONS[name]
        self._only(tree, ("distribution", *defaults, "q"))
        found = {key: self._number(tree, key) if key in tree else default for key, default in defaults.items()}
        shape = {key: float(number) for key, number in found.items() if number is not None}
        for key, number in shape.items():
            if number <= 0 and key != "mu":
                self._wrong(f"expected a number above 0, got {number:g}.", key)
        q = self._quantum(tree)
        if len(shape) < len(defaults) or any(number <= 0 for key, number in shape.items() if key != "mu"):
            return None
        return Shaped(distribution=Beta(**shape) if name == "beta" else Normal(**shape, log=name == "log_normal"), q=q)

    def _quantum(self, tree: Mapping[Any, Any]) -> int | float | None:
        q = self._number(tree, "q") if "q" in tree else None
        if q is not None and q <= 0:
            self._wrong(f"expected a number above 0, got {q:g}.", "q")
            return None
        return q

    def _computed(self, tree: Mapping[Any, Any]) -> Computed | None:
        self._only(tree, ("expr",))
        text = tree["expr"]
        if not isinstance(text, str):
            example = 'Write for example expr: "5 * 50000 // batch_size".'
            self._wrong(f"expected text, got {shown(text)}. {example}", "expr")
            return None
        try:
            return Computed(expression=Expression(text))
        except ExpressionError as error:
            self._wrong(str(error), "expr")
            return None

    def _constant(self, tree: Mapping[Any, Any]) -> Constant | None:
        self._only(tree, ("value",))
        value = tree["value"]
        return Constant(value=value) if check_plain(value, (*self.where, "value"), self.problems) else None

    def _values(self, tree: Mapping[Any, Any]) -> Choice | None:
        self._only(tree, ("values", "probabilities"))
        values = tree["values"]
        if not isinstance(values, list | tuple) or not values:
            expected = f"expected a list of at least one value, got {shown(values)}"
            self._wrong(f"{expected}. Write for example [32, 64].", "values")
            return None
        if not check_plain(values, (*self.where, "values"), self.problems):
            return None
        first: dict[str, int] = {}
        for position, key in enumerate(canonical(value) for value in values):
            if first.setdefault(key, position) != position:
                self._wrong(f"the list has {key[:60]} twice. Remove one.", "values", position)
        weights = self._probabilities(tree["probabilities"], len(values)) if "probabilities" in tree else None
        return Choice(values=tuple(values), probabilities=weights)

    def _probabilities(self, weights: object, length: int) -> tuple[float, ...] | None:
        if isinstance(weights, list | tuple) and len(weights) == length and all(map(_is_number, weights)):
            shares = tuple(float(weight) for weight in weights)
            if min(shares) > 0 and abs(math.fsum(shares) - 1) <= 1e-6:
                return shares
        self._wrong(f"expected {length} positive numbers that sum to 1, got {shown(weights)}.", "probabilities")
        return None

    def _range(self, tree: Mapping[Any, Any]) -> Real | Integer | Shaped | None:
        if "q" in tree:
            self._only(tree, ("q", "clip", "min", "max", "log"), ": all its multiples between the bounds are searched")
        else:
            self._only(tree, ("min", "max", "log", "step", "count"))
        low, high = self._number(tree, "min"), self._number(tree, "max")
        step = self._number(tree, "step") if "step" in tree else None
        log, count = self._flag(tree, "log", default=False), self._count(tree)
        if low is None or high is None:
            return None
        self._check_range(low, high, step, log=log)
        if "q" in tree:
            return self._rounded(low, high, self._quantum(tree), log=log, clip=self._flag(tree, "clip", default=True))
        if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
            return Integer(min=low, max=high, log=log, step=1 if step is None else step, count=count)
        return Real(min=float(low), max=float(high), log=log, step=None if step is None else float(step), count=count)

    def _rounded(self, low: float, high: float, q: float | None, *, log: bool, clip: bool) -> Shaped | None:
        if q is None or low > high or (log and low <= 0):
            return None
        if (high - low) / q > MAX_STEPS or math.isinf(max(abs(low), abs(high)) / q):
            self._wrong(f"q {q:g} results in more than {MAX_STEPS} values. Write a larger q, or remove it.", "q")
            return None
        ends = clipped_bounds(low, high, q) if clip else (low, high)
        if ends is None:
            self._wrong(f"no multiple of q {q:g} is between min {low:g} and max {high:g}. Write a smaller q.", "q")
            return None
        return Shaped(distribution=Uniform(min=float(ends[0]), max=float(ends[1]), log=log), q=q)

    def _check_range(self, low: float, high: float, step: float | None, *, log: bool) -> None:
        if low > high:
            self._wrong(f"expected min <= max, got min {low} and max {high}. Swap them.")
        elif not math.isfinite(high - low):
            self._wrong(f"min {low:g} and max {high:g} are too far apart. Write a smaller range.")
        elif log and low <= 0:
            self._wrong(
                f"expected a number above 0, as log needs, got {low}. Write for example 1e-6, or remove log.", "min"
            )
        elif step is not None:
            self._check_step(low, high, step, log=log)

    def _check_step(self, low: float, high: float, step: float, *, log: bool) -> None:
        if log:
            self._wrong("log and step can't be combined. Remove one of them.", "step")
        elif step <= 0 or step > high - low:
            expected = f"a number above 0 and at most max - min = {high - low:g}"
            self._wrong(f"expected {expected}, got {step:g}.", "step")
        elif (high - low) / step > MAX_STEPS and not all(isinstance(value, int) for value in (low, high, step)):
            self._wrong(
                f"step {step:g} results in more than {MAX_STEPS} values. Write a larger step, or remove it.", "step"
            )

    def _number(self, tree: Mapping[Any, Any], key: str) -> int | float | None:
        if key not in tree:
            self._wrong(f"'{key}' is missing. Write both min and max.")
            return None
        value = tree[key]
        if isinstance(value, int) and abs(value) > MAX_BOUND:
            self._wrong(f"expected a whole number of at most 2**52, got {shown(value)}.", key)
            return None
        if not _is_number(value):
            self._wrong(f"expected a number, got {shown(value)}. Write for example 1e-4.", key)
            return None
        assert isinstance(value, int | float)
        return value

    def _flag(self, tree: Mapping[Any, Any], key: str, *, default: bool) -> bool:
        value = tree.get(key, default)
        if not isinstance(value, bool):
            self._wrong(f"expected true or false, got {shown(value)}.", key)
        return value is True

    def _count(self, tree: Mapping[Any, Any]) -> int | None:
        count = tree.get("count")
        if "count" not in tree:
            return None
        if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MAX_COUNT:
            return count
        self._wrong(f"expected a whole number from 1 to {MAX_COUNT}, got {shown(count)}.", "count")
        return None

    def _only(self, tree: Mapping[Any, Any], known: Sequence[str], reason: str = "") -> None:
        for key in (*DOMAIN_KEYS, *SHAPE_KEYS):
            if key in tree and key not in known and key != "when":
                self._wrong(f"'{key}' has no effect with '{known[0]}'{reason}. Remove it.", key)

    def _wrong(self, message: str, *key: Key) -> None:
        self.problems.append(Problem(where=(*self.where, *key), message=message))


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_BOUND
