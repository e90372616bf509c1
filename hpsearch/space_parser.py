"""The `parameters` tree of a spec, turned into a `Space`; every mistake is collected, none is repaired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hpsearch.errors import Problem, did_you_mean
from hpsearch.space import Choice, Constant, Domain, Integer, Real, Space, canonical

MAX_NAME_LENGTH = 200
MAX_DEPTH = 32
"""Levels of nesting of a spec, the top one included."""
MAX_BOUND = 2**52
"""Largest whole number in a range, either way: the search methods compute in floats, exact up to 2**53."""
MAX_COUNT = 100_000
"""Grid points of one parameter."""
MAX_STEPS = 1_000_000
"""Values of a range of floats with a step; a grid holds them in memory."""
DOMAIN_KEYS = ("values", "value", "min", "max", "log", "step", "count", "probabilities")
DOMAIN_KEYS_SET = frozenset(DOMAIN_KEYS)

Key = str | int
Where = tuple[Key, ...]
"""Keys and positions that lead from the top of a spec to a value."""


def parse_space(tree: object, problems: list[Problem], *, where: Where = ("parameters",)) -> Space:
    """The space that `tree` describes; what is wrong with it is appended to `problems`.

    Args:
        tree: Nested dicts; a dict with a key of DOMAIN_KEYS is a domain, another dict is a level of nesting, and
            anything else is a constant.
        problems: Gets one entry for each mistake; the space holds only the parameters without one.
        where: Keys that lead from the top of the spec to `tree`.
    """
    domains: dict[str, Domain] = {}
    if isinstance(tree, Mapping):
        _Parser(problems, domains).level(tree, where, prefix="")
    else:
        example = "Write for example lr: {min: 1e-4, max: 1e-1}."
        problems.append(_problem(where, f"expected a map of names, got {shown(tree)}. {example}"))
    return Space(domains=domains)


def shown(value: object) -> str:
    """A value as a message shows it: short, and with its kind where the kind is the mistake.

    Example:
        >>> shown("small"), shown(None), shown([1, 2])
        ("the text 'small'", 'nothing', 'the list [1, 2]')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {str: "the text ", Mapping: "the map ", Sequence: "the list "}
    kind = next((text for known, text in kinds.items() if isinstance(value, known)), "")
    try:
        text = repr(value)
    except ValueError:  # Python spells out no number of more than 4300 digits
        return "a number of thousands of digits"
    return kind + (text if len(text) <= 60 else text[:57] + "...")


def check_plain(value: object, where: Where, problems: list[Problem]) -> bool:
    """Whether the ledger can keep `value`: text, finite number, true, false, null, or lists and maps of these.

    Args:
        value: At most MAX_DEPTH levels deep.
        where: Keys that lead from the top of the spec to `value`.
        problems: Gets one entry for each mistake.
    """
    before = len(problems)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or len(key) > MAX_NAME_LENGTH:
                expected = f"a key must be text of at most {MAX_NAME_LENGTH} characters"
                problems.append(_problem((*where, str(key)[:60]), f"{expected}, got {shown(key)}. Put it in quotes."))
            check_plain(inner, (*where, key), problems)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            check_plain(inner, (*where, position), problems)
    elif (message := _wrong_scalar(value)) is not None:
        problems.append(_problem(where, message))
    return len(problems) == before


def _wrong_scalar(value: object) -> str | None:
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"expected a whole number of at most 64 bits, got {shown(value)}. Write it as text, in quotes."
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return None
    return f"expected text, a finite number, true, false, null or a list, got {shown(value)}."


class _Parser:
    def __init__(self, problems: list[Problem], domains: dict[str, Domain]) -> None:
        self.problems = problems
        self.domains = domains

    def level(self, tree: Mapping[Any, Any], where: Where, prefix: str) -> None:
        for name, value in tree.items():
            if not self._name_is_good(name, (*where, name)):
                continue
            if isinstance(value, Mapping) and not DOMAIN_KEYS_SET.isdisjoint(value):
                domain = _DomainParser(self.problems, (*where, name)).parse(value)
                if domain is not None:
                    self.domains[prefix + name] = domain
            elif isinstance(value, Mapping):
                self._nested(value, (*where, name), f"{prefix}{name}.")
            elif check_plain(value, (*where, name), self.problems):
                self.domains[prefix + name] = Constant(value=value)

    def _nested(self, tree: Mapping[Any, Any], where: Where, prefix: str) -> None:
        if not tree:
            message = "an empty map says nothing. Write a value, values: [...], or min and max."
            self.problems.append(_problem(where, message))
        elif fixed := _misspelt_domain(tree):
            wrong, right = fixed
            self.problems.append(_problem((*where, wrong), f"unknown key '{wrong}'. Did you mean '{right}'?"))
        else:
            self.level(tree, where, prefix)

    def _name_is_good(self, name: object, where: Where) -> bool:
        if not isinstance(name, str) or not name:
            message = f"a parameter's name must be text, got {shown(name)}. Put it in quotes."
        elif len(name) > MAX_NAME_LENGTH:
            message = f"a parameter's name has at most {MAX_NAME_LENGTH} characters, got {len(name)}."
        elif any(character in ".=" or not character.isprintable() for character in name):
            message = f"a parameter's name can't hold '.', '=' or control characters, got {name!r}. Nest maps for dots."
        else:
            return True
        self.problems.append(_problem(where, message))
        return False


class _DomainParser:
    """One domain: `{values: ...}`, `{min: ..., max: ...}` or `{value: ...}`."""

    def __init__(self, problems: list[Problem], where: Where) -> None:
        self.problems = problems
        self.where = where

    def parse(self, tree: Mapping[Any, Any]) -> Domain | None:
        """The domain; None after a mistake."""
        before = len(self.problems)
        if not tree.keys() & {"values", "value", "min", "max"}:
            self._not_a_domain(tree)
            return None
        for key in tree:
            if key not in DOMAIN_KEYS_SET:
                known = ", ".join(DOMAIN_KEYS)
                self._wrong(f"unknown key '{key}'.{did_you_mean(str(key), DOMAIN_KEYS)} Known: {known}.", key)
        domain = self._choose(tree)
        return domain if len(self.problems) == before else None

    def _not_a_domain(self, tree: Mapping[Any, Any]) -> None:
        word = next(key for key in tree if key in DOMAIN_KEYS_SET)
        self._wrong(
            f"'{word}' is a word of ranges, and this has no values, no min and no max."
            " Write for example {min: 1e-4, max: 1e-1}; a parameter inside a map needs another name.",
            word,
        )

    def _choose(self, tree: Mapping[Any, Any]) -> Domain | None:
        is_range = not tree.keys().isdisjoint(("min", "max"))
        kinds = [key for key in ("values", "value") if key in tree] + ["min and max"] * is_range
        if len(kinds) > 1:
            self._wrong(f"{' and '.join(kinds)} exclude each other. Keep one of them.")
            return None
        if kinds == ["values"]:
            return self._values(tree)
        return self._range(tree) if is_range else self._constant(tree)

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
                self._wrong(f"{key[:60]} stands in the list twice. Remove one.", "values", position)
        weights = self._probabilities(tree["probabilities"], len(values)) if "probabilities" in tree else None
        return Choice(values=tuple(values), probabilities=weights)

    def _probabilities(self, weights: object, length: int) -> tuple[float, ...] | None:
        if isinstance(weights, list | tuple) and len(weights) == length and all(map(_is_number, weights)):
            shares = tuple(float(weight) for weight in weights)
            if min(shares) > 0 and abs(math.fsum(shares) - 1) <= 1e-6:
                return shares
        self._wrong(f"expected {length} positive numbers that sum to 1, got {shown(weights)}.", "probabilities")
        return None

    def _range(self, tree: Mapping[Any, Any]) -> Real | Integer | None:
        self._only(tree, ("min", "max", "log", "step", "count"))
        low, high = self._number(tree, "min"), self._number(tree, "max")
        step = self._number(tree, "step") if "step" in tree else None
        log, count = self._log(tree), self._count(tree)
        if low is None or high is None:
            return None
        self._check_range(low, high, step, log=log)
        if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
            return Integer(min=low, max=high, log=log, step=1 if step is None else step, count=count)
        return Real(min=float(low), max=float(high), log=log, step=None if step is None else float(step), count=count)

    def _check_range(self, low: float, high: float, step: float | None, *, log: bool) -> None:
        if low > high:
            self._wrong(f"min {low} is above max {high}. Swap them.")
        elif not math.isfinite(high - low):
            self._wrong(f"min {low:g} and max {high:g} are too far apart. Use a smaller range.")
        elif log and low <= 0:
            self._wrong(f"log needs min above 0, got {low}. Write a small positive number, or remove log.", "min")
        elif step is not None:
            self._check_step(low, high, step, log=log)

    def _check_step(self, low: float, high: float, step: float, *, log: bool) -> None:
        if log:
            self._wrong("log and step exclude each other. Remove one of them.", "step")
        elif step <= 0 or step > high - low:
            expected = f"a number above 0 and at most max - min = {high - low:g}"
            self._wrong(f"expected {expected}, got {step:g}.", "step")
        elif (high - low) / step > MAX_STEPS and not all(isinstance(value, int) for value in (low, high, step)):
            self._wrong(f"step {step:g} makes more than {MAX_STEPS} values. Write a larger one, or none.", "step")

    def _number(self, tree: Mapping[Any, Any], key: str) -> int | float | None:
        if key not in tree:
            self._wrong(f"{key} is missing. A range has both min and max.")
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

    def _log(self, tree: Mapping[Any, Any]) -> bool:
        log = tree.get("log", False)
        if not isinstance(log, bool):
            self._wrong(f"expected true or false, got {shown(log)}.", "log")
        return log is True

    def _count(self, tree: Mapping[Any, Any]) -> int | None:
        count = tree.get("count")
        if "count" not in tree:
            return None
        if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MAX_COUNT:
            return count
        self._wrong(f"expected a whole number from 1 to {MAX_COUNT}, got {shown(count)}.", "count")
        return None

    def _only(self, tree: Mapping[Any, Any], known: Sequence[str]) -> None:
        for key in DOMAIN_KEYS:
            if key in tree and key not in known:
                self._wrong(f"'{key}' says nothing beside '{known[0]}'. Remove it.", key)

    def _wrong(self, message: str, *key: Key) -> None:
        self.problems.append(_problem((*self.where, *key), message))


def _problem(where: Where, message: str) -> Problem:
    return Problem(where=where, message=message)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_BOUND


def _misspelt_domain(tree: Mapping[Any, Any]) -> tuple[str, str] | None:
    """(wrong, right) when every key is a domain's key or nearly so, and the corrected map would be a domain."""
    right = {key: get_close_matches(str(key), DOMAIN_KEYS, n=1, cutoff=0.75) for key in tree}
    if not all(right.values()):
        return None
    fixed = {near[0]: tree[key] for key, near in right.items()}
    if isinstance(fixed.get("values"), list | tuple) or {"min", "max"} <= fixed.keys():
        return next((str(key), near[0]) for key, near in right.items() if key != near[0])
    return None
