"""Translates Ray Tune's domains (`tune.uniform(...)` and so on) into the maps by which a spec describes parameters.

Ray is not imported here: its objects are recognised by the names of their classes. The tests create one of each kind
with Ray's own functions (`tests/unit/spec/dialects/test_ray_tune.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MODULE = "ray.tune.search.sample"
"""Ray's module that defines the domains."""
DomainTree = dict[str, Any]
"""The map of one parameter in a spec, such as {min: 0, max: 1}."""


class CannotTranslateError(ValueError):
    """A domain without an equivalent; the message says what to write instead."""


def is_ray_domain(value: object) -> bool:
    """Whether a value is one of Ray Tune's domains or its `grid_search`."""
    if isinstance(value, Mapping):
        return value.keys() == {"grid_search"}
    return any(kind.__module__ == MODULE and kind.__name__ == "Domain" for kind in type(value).__mro__)


def contains_ray_domain(value: object) -> bool:
    """Whether there is one of Ray Tune's domains somewhere in a tree."""
    if is_ray_domain(value):
        return True
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(map(contains_ray_domain, inner))


def ray_domain(value: Any) -> tuple[DomainTree, bool]:
    """(map of the parameter, whether it is a grid search) for one of Ray Tune's domains.

    Raises:
        CannotTranslateError: The domain has no equivalent.
    """
    if isinstance(value, Mapping):
        return _values(value["grid_search"]), True
    sampler, q = value.get_sampler(), None
    if type(sampler).__name__ == "Quantized":
        sampler, q = sampler.sampler, sampler.q
    kind, distribution = type(value).__name__, type(sampler).__name__.lstrip("_")
    if kind == "Categorical":
        return _values(value.categories), distribution == "Grid"
    if kind == "Float" and distribution in ("Uniform", "LogUniform"):
        bounds = {"min": float(value.lower), "max": float(value.upper)}
        return {**bounds, **_log(distribution), **({} if q is None else {"q": float(q)})}, False
    if kind == "Float" and distribution == "Normal" and math.isinf(value.lower) and math.isinf(value.upper):
        normal = {"distribution": "normal", "mu": float(sampler.mean), "sigma": float(sampler.sd)}
        return {**normal, **({} if q is None else {"q": float(q)})}, False
    if kind == "Integer" and distribution in ("Uniform", "LogUniform"):
        return _integers(value, distribution, q), False
    if kind == "Function":
        raise CannotTranslateError(
            "a function (tune.sample_from) can't be modelled or compared between trials. Write"
            ' {"expr": "5 * batch_size"} for a computed parameter, {..., "when": {name: value}} for a condition.'
        )
    raise CannotTranslateError(f"Ray's {value!r:.80} has no equivalent. Write values, or min and max.")


def _log(distribution: str) -> DomainTree:
    return {"log": True} if distribution == "LogUniform" else {}


def _integers(value: Any, distribution: str, q: int | None) -> DomainTree:
    """A range of whole numbers. Ray excludes the upper bound, except for multiples of a `q` other than 1."""
    if q is None or q == 1:
        return {"min": int(value.lower), "max": int(value.upper) - 1, **_log(distribution)}
    if distribution == "LogUniform":
        raise CannotTranslateError("a logarithmic range of multiples of q has no equivalent. Write values: [...].")
    low, high = math.ceil(value.lower / q), math.floor(value.upper / q)
    return {"min": low * q, "max": high * q, **({"step": q} if high > low else {})}


def _values(categories: Any) -> DomainTree:
    values = list(categories)
    if any(map(contains_ray_domain, values)):
        raise CannotTranslateError(
            "a choice between spaces has no equivalent. Write a parameter with the names of the spaces as values, and"
            ' {..., "when": {name: value}} for the parameters of each.'
        )
    return {"values": values}
