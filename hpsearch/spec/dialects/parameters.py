"""W&B's distributions and Ray Tune's search objects, put into our words for what a parameter may be.

uniform, int_uniform, q_uniform                        min, max, q
log_uniform (bounds are exponents), log_uniform_values min, max, log; inv_log_uniform(_values) is the same
normal, log_normal, beta, and their q_ relatives       distribution, mu and sigma or a and b, q
categorical(_w_probabilities), constant                values, probabilities; value
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import KeyPath
from hpsearch.space.domain_parser import DISTRIBUTIONS, is_domain
from hpsearch.spec.dialects.ray_tune import CannotTranslateError, is_ray_domain, ray_domain
from hpsearch.text import shown

DomainTree = dict[str, Any]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _floats(words: DomainTree) -> DomainTree:
    """Bounds that make a range of floating-point numbers, even where they are written as whole ones."""
    bounds = {key: float(words[key]) for key in ("min", "max") if _is_number(words.get(key))}
    return {**words, **bounds}


def _integers(words: DomainTree) -> DomainTree:
    whole = {key: value for key in ("min", "max") if isinstance(value := words.get(key), float) and value.is_integer()}
    return {**words, **{key: int(value) for key, value in whole.items()}}


def _exponents(words: DomainTree) -> DomainTree:
    """W&B's `log_uniform` has the natural logarithms of its bounds."""
    bounds = {key: _exp(words[key]) for key in ("min", "max") if _is_number(words.get(key))}
    return {**words, **bounds, "log": True}


def _inverse_exponents(words: DomainTree) -> DomainTree:
    """1/x has a logarithm that is even between min and max: so has x, between -max and -min."""
    negative = {"min": words.get("max"), "max": words.get("min")}
    return _exponents(
        {**words, **{key: -value for key, value in negative.items() if _is_number(value) and value is not None}}
    )


def _logarithmic(words: DomainTree) -> DomainTree:
    return {**_floats(words), "log": True}


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _bell(name: str) -> Callable[[DomainTree], DomainTree]:
    """`normal` or `log_normal`; without any spread it is a constant."""

    def words_of(words: DomainTree) -> DomainTree:
        if words.get("sigma") != 0 or not _is_number(words.get("mu", 0.0)):
            return {"distribution": name, **words}
        mu, q = float(words.get("mu", 0.0)), words.get("q")
        value = _exp(mu) if name == "log_normal" else mu
        rest = {key: inner for key, inner in words.items() if key not in ("mu", "sigma", "q")}
        return {"value": round(value / q) * q if _is_number(q) and q else value, **rest}

    return words_of


def _values(words: DomainTree) -> DomainTree:
    """A list; what has no chance to be drawn is left out."""
    values, shares = words.get("values"), words.get("probabilities")
    if not isinstance(values, list) or not isinstance(shares, list) or len(values) != len(shares) or 0 not in shares:
        return words
    kept = [position for position, share in enumerate(shares) if share != 0]
    return {**words, "values": [values[i] for i in kept], "probabilities": [shares[i] for i in kept]}


def _rounded(base: Callable[[DomainTree], DomainTree]) -> Callable[[DomainTree], DomainTree]:
    return lambda words: base({**words, "q": words.get("q", 1.0)})


SHAPES: Mapping[str, Callable[[DomainTree], DomainTree]] = {
    "uniform": _floats,
    "log_uniform": _exponents,
    "log_uniform_values": _logarithmic,
    "inv_log_uniform": _inverse_exponents,
    "inv_log_uniform_values": _logarithmic,
    "normal": _bell("normal"),
    "log_normal": _bell("log_normal"),
    "beta": lambda words: {"distribution": "beta", **words},
}
"""Distributions that a `q_` before their name rounds."""
FORMS: Mapping[str, Callable[[DomainTree], DomainTree]] = {
    **SHAPES,
    **{f"q_{name}": _rounded(form) for name, form in SHAPES.items()},
    "int_uniform": _integers,
    "categorical": _values,
    "categorical_w_probabilities": _values,
    "constant": lambda words: words,
}
"""Name of a distribution to the words that we have for it, its own words given."""


@dataclass(kw_only=True)
class Parameters:
    """A space in our own spelling."""

    tree: dict[str, Any] = field(default_factory=dict)
    """As `parse_space` reads it."""
    moved: dict[KeyPath, KeyPath] = field(default_factory=dict)
    """See `Translation.moved`."""
    problems: list[Problem] = field(default_factory=list)
    """What can't be said in our words."""
    method: str | None = None
    """`grid`, where the space says so itself."""


def has_wandb_syntax(tree: object) -> bool:
    """Whether a space speaks of distributions as W&B does, or nests by `parameters`."""
    if not isinstance(tree, Mapping):
        return False
    return any(
        (isinstance(value.get("distribution"), str) and value["distribution"] not in DISTRIBUTIONS)
        or nested(value) is not None
        or has_wandb_syntax(value)
        for value in tree.values()
        if isinstance(value, Mapping)
    )


def translate_parameters(tree: Mapping[Any, Any], *, written: KeyPath, dotted: bool) -> Parameters:
    """A space in our own spelling; one that is in it already comes back equal.

    Args:
        tree: As it was read, wrong as it may be.
        written: Keys under which it stands in the spec.
        dotted: Whether a dot in a name nests, as on a command line; else it is left, and a mistake.
    """
    translator = _Translator(dotted=dotted)
    translator.found.tree = translator.level(tree, ("parameters",), written)
    translator.settle_grid()
    return translator.found


def nested(value: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """The parameters of W&B's `{parameters: {...}}`."""
    inner = value.get("parameters") if len(value) == 1 else None
    nests = isinstance(inner, Mapping) and inner and all(isinstance(each, Mapping) for each in inner.values())
    return inner if nests else None


def _merge(out: dict[str, Any], name: str, value: Any) -> bool:
    """Put a value into a level, beside what a dotted name has put there; False if both are parameters of one name."""
    if name not in out:
        out[name] = value
        return True
    both = (out[name], value)
    if not all(isinstance(each, dict) and not is_domain(each) for each in both):
        return False
    return all(_merge(out[name], key, inner) for key, inner in value.items())


@final
class _Translator:
    def __init__(self, *, dotted: bool) -> None:
        self.found = Parameters()
        self._dotted = dotted
        self._searched: list[tuple[bool, KeyPath]] = []

    def level(self, tree: Mapping[Any, Any], new: KeyPath, old: KeyPath) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in tree.items():
            path = name.split(".") if self._dotted and isinstance(name, str) and all(name.split(".")) else [name]
            found = self._value(value, (*new, *path), (*old, name))
            for outer in reversed(path[1:]):
                found = {outer: found}
                if is_domain(found):
                    self._wrong((*old, name), f"a name that ends in .{outer} reads as a parameter's own. Rename it.")
                    found = {"value": None}
            if not _merge(out, path[0], found):
                self._wrong((*old, name), "the name stands twice, nested and with dots. Keep one.")
        return out

    def _value(self, value: Any, new: KeyPath, old: KeyPath) -> Any:
        if new != old:
            self.found.moved[new] = old
        if is_ray_domain(value):
            return self._ray(value, old)
        if not isinstance(value, Mapping):
            return value
        if (inner := nested(value)) is not None:
            return self.level(inner, new, (*old, "parameters"))
        if not is_domain(value):
            return self.level(value, new, old)
        self._searched.append((False, old))
        return self._domain(dict(value), old)

    def _domain(self, words: DomainTree, old: KeyPath) -> DomainTree:
        name = words.get("distribution")
        if not isinstance(name, str):
            return _values(words) if self._dotted else words
        if name not in FORMS:
            hint = (
                f"{did_you_mean(name, FORMS)} Known: {', '.join(FORMS)}. A parameter of that name needs {{value: ...}}."
            )
            self._wrong((*old, "distribution"), f"unknown distribution {shown(name)}.{hint}")
            return {"value": None}
        if name in DISTRIBUTIONS and words.get("sigma") != 0:
            return words
        return FORMS[name]({key: value for key, value in words.items() if key != "distribution"})

    def _ray(self, value: Any, old: KeyPath) -> Any:
        try:
            words, is_grid = ray_domain(value)
        except CannotTranslateError as error:
            self._wrong(old, str(error))
            return {"value": None}
        self._searched.append((is_grid, old))
        return words

    def settle_grid(self) -> None:
        """Ray runs every value of its `grid_search`, for each draw of the rest: the same only if there is no rest."""
        grids = [old for is_grid, old in self._searched if is_grid]
        if grids and len(grids) < len(self._searched):
            message = (
                "grid_search beside parameters that are drawn has no equal here. Write tune.choice, or all as grid."
            )
            self._wrong(grids[0], message)
        self.found.method = "grid" if grids else None

    def _wrong(self, where: KeyPath, message: str) -> None:
        self.found.problems.append(Problem(where=where, message=message))
