"""The `parameters` tree of a spec, turned into a `Space`; every mistake is collected, none is repaired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hpsearch.errors import Problem, did_you_mean
from hpsearch.space import Choice, Constant, Domain, Integer, Real, Space, canonical

MAX_NAME_LENGTH = 200
DOMAIN_KEYS = ("values", "value", "min", "max", "log", "step", "count", "probabilities")

Where = tuple[str | int, ...]


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
        problems.append(_problem(where, f"expected a map of names, got {shown(tree)}. Write for example lr: {{min: 1e-4, max: 1e-1}}."))
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
    text = repr(value)
    return kind + (text if len(text) <= 60 else text[:57] + "...")


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
            elif self._constant_is_good(value, (*where, name)):
                self.domains[prefix + name] = Constant(value=value)

    def _nested(self, tree: Mapping[Any, Any], where: Where, prefix: str) -> None:
        if not tree:
            self.problems.append(_problem(where, "an empty map says nothing. Write a value, values: [...], or min and max."))
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
            message = f"a parameter's name can't hold '.', '=' or control characters, got {name!r}. Nest maps for a dotted name."
        else:
            return True
        self.problems.append(_problem(where, message))
        return False

    def _constant_is_good(self, value: object, where: Where) -> bool:
        return _is_json(value, where, self.problems)


class _DomainParser:
    """One domain: `{values: ...}`, `{min: ..., max: ...}` or `{value: ...}`."""

    def __init__(self, problems: list[Problem], where: Where) -> None:
        self.problems = problems
        self.where = where

    def parse(self, tree: Mapping[Any, Any]) -> Domain | None:
        before = len(self.problems)
        for key in tree:
            if key not in DOMAIN_KEYS_SET:
                self._wrong(f"unknown key '{key}'.{did_you_mean(str(key), DOMAIN_KEYS)} Known: {', '.join(DOMAIN_KEYS)}.", key)
        domain = self._choose(tree)
        return domain if len(self.problems) == before else None

    def _choose(self, tree: Mapping[Any, Any]) -> Domain | None:
        kinds = [key for key in ("values", "value") if key in tree] + (["min and max"] if {"min", "max"} & tree.keys() else [])
        if len(kinds) > 1:
            return self._wrong(f"{' and '.join(kinds)} exclude each other. Keep one of them.")
        if not kinds:
            return self._wrong("min and max are missing. Write for example {min: 1e-4, max: 1e-1}.")
        if kinds == ["value"]:
            self._only(tree, {"value"})
            return Constant(value=tree["value"]) if _is_json(tree["value"], (*self.where, "value"), self.problems) else None
        return self._values(tree) if kinds == ["values"] else self._range(tree)

    def _values(self, tree: Mapping[Any, Any]) -> Choice | None:
        self._only(tree, {"values", "probabilities"})
        values = tree["values"]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            return self._wrong(f"expected a list of at least one value, got {shown(values)}. Write for example [32, 64].", "values")
        if not _is_json(values, (*self.where, "values"), self.problems):
            return None
        keys = [canonical(value) for value in values]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                self._wrong(f"{key} stands in the list twice. Remove one.", "values", position)
        weights = self._probabilities(tree["probabilities"], len(values)) if "probabilities" in tree else None
        return Choice(values=tuple(values), probabilities=weights)

    def _probabilities(self, weights: object, length: int) -> tuple[float, ...] | None:
        good = isinstance(weights, Sequence) and len(weights) == length and all(_is_number(w) and w > 0 for w in weights)
        if not good or abs(math.fsum(weights) - 1) > 1e-6:  # type: ignore[arg-type]
            self._wrong(f"expected {length} positive numbers that sum to 1, got {shown(weights)}.", "probabilities")
            return None
        return tuple(float(weight) for weight in weights)  # type: ignore[attr-defined]

    def _range(self, tree: Mapping[Any, Any]) -> Real | Integer | None:
        low, high = self._number(tree, "min"), self._number(tree, "max")
        step = self._number(tree, "step") if "step" in tree else None
        log, count = self._log(tree), self._count(tree)
        if low is None or high is None:
            return None
        if low > high:
            return self._wrong(f"min {low} is above max {high}. Swap them.")
        if log and low <= 0:
            self._wrong(f"log needs min above 0, got {low}. Write a small positive number, or remove log.", "min")
        if log and step is not None:
            self._wrong("log and step exclude each other. Remove one of them.", "step")
        if step is not None and (step <= 0 or step > high - low):
            self._wrong(f"expected a number above 0 and at most max - min = {high - low:g}, got {step:g}.", "step")
        if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
            return Integer(min=low, max=high, log=log, step=1 if step is None else step, count=count)
        return Real(min=float(low), max=float(high), log=log, step=None if step is None else float(step), count=count)

    def _number(self, tree: Mapping[Any, Any], key: str) -> int | float | None:
        if key not in tree:
            return self._wrong(f"{key} is missing. A range has both min and max.")
        value = tree[key]
        if not _is_number(value):
            return self._wrong(f"expected a number, got {shown(value)}. Write for example 1e-4.", key)
        assert isinstance(value, int | float)
        return value

    def _log(self, tree: Mapping[Any, Any]) -> bool:
        log = tree.get("log", False)
        if not isinstance(log, bool):
            self._wrong(f"expected true or false, got {shown(log)}.", "log")
        return log is True

    def _count(self, tree: Mapping[Any, Any]) -> int | None:
        count = tree.get("count")
        if "count" in tree and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 100_000):
            self._wrong(f"expected a whole number from 1 to 100000, got {shown(count)}.", "count")
            return None
        return count

    def _only(self, tree: Mapping[Any, Any], known: set[str]) -> None:
        for key in DOMAIN_KEYS_SET & tree.keys() - known:
            self._wrong(f"'{key}' says nothing beside '{min(known)}'. Remove it.", key)

    def _wrong(self, message: str, *key: str | int) -> None:
        self.problems.append(_problem((*self.where, *key), message))


DOMAIN_KEYS_SET = frozenset(DOMAIN_KEYS)


def _problem(where: Where, message: str) -> Problem:
    return Problem(where=where, message=message)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_json(value: object, where: Where, problems: list[Problem]) -> bool:
    """Whether a ledger can keep `value`: text, finite number, true, false, null, or lists and maps of these."""
    if isinstance(value, Mapping):
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            problems.append(_problem((*where, str(keys[0])), f"a key must be text, got {shown(keys[0])}. Put it in quotes."))
            return False
        return all([_is_json(inner, (*where, key), problems) for key, inner in value.items()])
    if isinstance(value, list | tuple):
        return all([_is_json(inner, (*where, position), problems) for position, inner in enumerate(value)])
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return True
    problems.append(_problem(where, f"expected text, a finite number, true, false, null or a list, got {shown(value)}."))
    return False


def _misspelt_domain(tree: Mapping[Any, Any]) -> tuple[str, str] | None:
    """(wrong, right) when every key is a domain's key or nearly so, and the corrected map would be a domain."""
    right = {key: get_close_matches(str(key), DOMAIN_KEYS, n=1, cutoff=0.75) for key in tree}
    if not all(right.values()):
        return None
    fixed = {near[0]: tree[key] for key, near in right.items()}
    if isinstance(fixed.get("values"), list | tuple) or {"min", "max"} <= fixed.keys():
        return next((str(key), near[0]) for key, near in right.items() if key != near[0])
    return None
