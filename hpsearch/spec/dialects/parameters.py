"""Translates W&B's distributions, and Ray Tune's domains by `ray_tune.py`, into hpsearch's parameters.

W&B's distribution                                      hpsearch's keys
uniform, int_uniform, q_uniform                         min, max, q; clip: false where rounding leaves the bounds
log_uniform (bounds are exponents), log_uniform_values  min, max, log; the same for inv_log_uniform(_values)
normal, log_normal, beta, and each with the prefix q_   distribution, mu and sigma or a and b, q
categorical(_w_probabilities), constant                 values, probabilities; value
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard, final

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import KeyPath, canonical, check_plain, is_number
from hpsearch.space.domain_parser import DISTRIBUTIONS, is_domain
from hpsearch.space.rounding import MAX_NUMBER, round_beyond
from hpsearch.spec.dialects.ray_tune import CannotTranslateError, DomainTree, is_ray_domain, ray_domain
from hpsearch.text import shown


def _floats(tree: DomainTree) -> DomainTree:
    """A range of floats, even if its bounds are written as whole numbers."""
    bounds = {key: float(tree[key]) for key in ("min", "max") if _fits_float(tree.get(key))}
    return {**tree, **bounds}


def _integers(tree: DomainTree) -> DomainTree:
    whole = {key: value for key in ("min", "max") if isinstance(value := tree.get(key), float) and value.is_integer()}
    return {**tree, **{key: int(value) for key, value in whole.items()}}


def _exponents(tree: DomainTree) -> DomainTree:
    """A logarithmic range whose bounds are given as natural logarithms, as by W&B's `log_uniform`."""
    bounds = {key: _exp(tree[key]) for key in ("min", "max") if _fits_float(tree.get(key))}
    return {**tree, **bounds, "log": True}


def _inverse_exponents(tree: DomainTree) -> DomainTree:
    """W&B's `inv_log_uniform`: log(1/x) is uniform between min and max, so log(x) is between -max and -min."""
    negative = {"min": tree.get("max"), "max": tree.get("min")}
    return _exponents({**tree, **{key: -value for key, value in negative.items() if _fits_float(value)}})


def _logarithmic(tree: DomainTree) -> DomainTree:
    return {**_floats(tree), "log": True}


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _normal(name: str) -> Callable[[DomainTree], DomainTree]:
    """The translation of `normal` or `log_normal`; with a sigma of 0 it becomes a constant."""

    def translate(tree: DomainTree) -> DomainTree:
        if tree.get("sigma") != 0 or not _fits_float(tree.get("mu", 0.0)):
            return {"distribution": name, **tree}
        mu, q = float(tree.get("mu", 0.0)), tree.get("q")
        value = _exp(mu) if name == "log_normal" else mu
        rest = {key: inner for key, inner in tree.items() if key not in ("mu", "sigma", "q")}
        if _fits_float(q) and q != 0 and math.isfinite(value / q):
            value = round(value / q) * q
        return {"value": value, **rest}

    return translate


def _fits_float(value: object) -> TypeGuard[int | float]:
    return is_number(value) and abs(value) <= MAX_NUMBER  # others are left to the parser, which refuses them


def _values(tree: DomainTree) -> DomainTree:
    """A list of values, each once and with its probabilities added up, without those of probability 0."""
    values, shares = tree.get("values"), tree.get("probabilities")
    if not isinstance(values, list) or not check_plain(values, (), []):
        return tree
    first: dict[str, int] = {}
    firsts = [first.setdefault(canonical(value), position) for position, value in enumerate(values)]
    if shares is None:
        return {**tree, "values": [values[i] for i in first.values()]}
    if not isinstance(shares, list) or len(shares) != len(values) or not all(map(_is_share, shares)):
        return tree
    sums = dict.fromkeys(first.values(), 0)
    for position, share in zip(firsts, shares, strict=True):
        sums[position] += share
    kept = [position for position, share in sums.items() if share != 0]
    return {**tree, "values": [values[i] for i in kept], "probabilities": [sums[i] for i in kept]}


def _is_share(value: object) -> bool:
    return is_number(value) and 0 <= value <= 1


def _rounded(base: Callable[[DomainTree], DomainTree]) -> Callable[[DomainTree], DomainTree]:
    return lambda tree: base({**tree, "q": tree.get("q", 1.0)})


SHAPES: Mapping[str, Callable[[DomainTree], DomainTree]] = {
    "uniform": _floats,
    "log_uniform": _exponents,
    "log_uniform_values": _logarithmic,
    "inv_log_uniform": _inverse_exponents,
    "inv_log_uniform_values": _logarithmic,
    "normal": _normal("normal"),
    "log_normal": _normal("log_normal"),
    "beta": lambda tree: {"distribution": "beta", **tree},
}
"""Distributions that also exist with the prefix `q_`, which rounds."""
FORMS: Mapping[str, Callable[[DomainTree], DomainTree]] = {
    **SHAPES,
    **{f"q_{name}": _rounded(form) for name, form in SHAPES.items()},
    "int_uniform": _integers,
    "categorical": _values,
    "categorical_w_probabilities": _values,
    "constant": lambda tree: tree,
}
"""Name of a distribution to the function that translates its keys."""


@dataclass(kw_only=True)
class Parameters:
    """A translated search space."""

    tree: dict[str, Any] = field(default_factory=dict)
    """The space in hpsearch's keys, as `parse_space` expects it."""
    moved: dict[KeyPath, KeyPath] = field(default_factory=dict)
    """See `Translation.moved`."""
    originals: dict[KeyPath, Mapping[str, Any]] = field(default_factory=dict)
    """See `Translation.originals`."""
    problems: list[Problem] = field(default_factory=list)
    """Settings without an equivalent."""
    method: str | None = None
    """`grid` if the space is written as a grid search; otherwise None."""


def has_wandb_syntax(tree: object) -> bool:
    """Whether a space has W&B's names of distributions, or nests by `parameters`."""
    if not isinstance(tree, Mapping):
        return False
    return any(
        (isinstance(value.get("distribution"), str) and value["distribution"] not in DISTRIBUTIONS)
        or nested_parameters(value) is not None
        or has_wandb_syntax(value)
        for value in tree.values()
        if isinstance(value, Mapping)
    )


def translate_parameters(tree: Mapping[Any, Any], *, written: KeyPath, dotted: bool) -> Parameters:
    """Translate a search space; one in hpsearch's keys is returned equal.

    Args:
        tree: The space, which may have any mistakes.
        written: Key path of the space in the user's spec.
        dotted: Whether a dot in a name means nesting, as in W&B's files; otherwise the name is left as it is, which
            later checks report.
    """
    translator = _Translator(dotted=dotted)
    translator.found.tree = translator.level(tree, ("parameters",), written)
    translator.set_method()
    return translator.found


def nested_parameters(value: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """The inner map of W&B's `{parameters: {...}}`; None for any other map."""
    inner = value.get("parameters") if len(value) == 1 else None
    nests = isinstance(inner, Mapping) and inner and all(isinstance(each, Mapping) for each in inner.values())
    return inner if nests else None


def _merge(out: dict[str, Any], name: str, value: Any) -> bool:
    """Merge a value into a level; False if two parameters have the same name."""
    if name not in out:
        out[name] = value
        return True
    both = (out[name], value)
    if not all(isinstance(each, dict) and not is_domain(each) for each in both):
        return False
    return all(_merge(out[name], key, inner) for key, inner in value.items())


@final
class _Translator:
    """Walks through a space and translates each parameter."""

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
                    message = f"the part '{outer}' of the name is a key of ranges. Rename the parameter."
                    self._wrong((*old, name), message)
                    found = {"value": None}
            if not _merge(out, path[0], found):
                self._wrong((*old, name), "the name is there twice, nested and with dots. Keep one.")
        return out

    def _value(self, value: Any, new: KeyPath, old: KeyPath) -> Any:
        if new != old:
            self.found.moved[new] = old
        if is_ray_domain(value):
            return self._ray(value, new, old)
        if not isinstance(value, Mapping):
            return value
        if (inner := nested_parameters(value)) is not None:
            return self.level(inner, new, (*old, "parameters"))
        if not is_domain(value):
            return self.level(value, new, old)
        self._searched.append((False, old))
        self.found.originals[new] = value
        return self._domain(dict(value), old)

    def _domain(self, tree: DomainTree, old: KeyPath) -> DomainTree:
        name = tree.get("distribution")
        if not isinstance(name, str):
            return _values(tree) if self._dotted else tree
        if name not in FORMS:
            hint = f"{did_you_mean(name, FORMS)} Known: {', '.join(FORMS)}."
            advice = "For a parameter of that name, write {value: ...}."
            self._wrong((*old, "distribution"), f"unknown distribution {shown(name)}.{hint} {advice}")
            return {"value": None}
        if name in DISTRIBUTIONS and tree.get("sigma") != 0:
            return tree
        found = FORMS[name]({key: value for key, value in tree.items() if key != "distribution"})
        if not is_domain(found):
            needed = {"categorical": "values", "categorical_w_probabilities": "values", "constant": "value"}
            self._wrong(old, f"'{needed.get(name, 'min')}' is missing, which {name} needs.")
            return {"value": None}
        return dict(round_beyond(found))

    def _ray(self, value: Any, new: KeyPath, old: KeyPath) -> Any:
        try:
            tree, is_grid = ray_domain(value)
        except CannotTranslateError as error:
            self._wrong(old, str(error))
            return {"value": None}
        self._searched.append((is_grid, old))
        self.found.originals[new] = {"distribution": "grid_search" if is_grid else type(value).__name__}
        return tree

    def set_method(self) -> None:
        """Set the method. Ray Tune runs a grid again for each draw of the other parameters, which has no equivalent."""
        grids = [old for is_grid, old in self._searched if is_grid]
        if grids and len(grids) < len(self._searched):
            message = (
                "grid_search beside sampled parameters has no equivalent. Write tune.choice, or grid_search for all."
            )
            self._wrong(grids[0], message)
        self.found.method = "grid" if grids else None

    def _wrong(self, where: KeyPath, message: str) -> None:
        self.found.problems.append(Problem(where=where, message=message))
