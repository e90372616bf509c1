"""Ray Tune's search objects (`tune.uniform(...)` and the like), put into our words for what a parameter may be.

Ray is not imported here: whoever has one of its objects has imported it, and they are known by the names of their
classes. `tests/unit/spec/dialects/test_ray_tune.py` makes every kind by Ray's own functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MODULE = "ray.tune.search.sample"
DomainTree = dict[str, Any]


class CannotTranslateError(ValueError):
    """A sentence on what has no equal in our words, and what to write."""


def is_ray_domain(value: object) -> bool:
    """Whether a value is one of Ray's search objects, or its `grid_search`."""
    if isinstance(value, Mapping):
        return value.keys() == {"grid_search"}
    return any(kind.__module__ == MODULE and kind.__name__ == "Domain" for kind in type(value).__mro__)


def contains_ray_domain(value: object) -> bool:
    """Whether there is one of them somewhere in a tree."""
    if is_ray_domain(value):
        return True
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(map(contains_ray_domain, inner))


def ray_domain(value: Any) -> tuple[DomainTree, bool]:
    """(our words, whether it is a grid) for one of Ray's search objects.

    Raises:
        CannotTranslateError: It has no equal in our words.
    """
    if isinstance(value, Mapping):
        return _values(value["grid_search"]), True
    sampler, q = value.get_sampler(), None
    if type(sampler).__name__ == "Quantized":
        sampler, q = sampler.sampler, sampler.q
    kind, curve = type(value).__name__, type(sampler).__name__.lstrip("_")
    if kind == "Categorical":
        return _values(value.categories), curve == "Grid"
    if kind == "Float" and curve in ("Uniform", "LogUniform"):
        bounds = {"min": float(value.lower), "max": float(value.upper)}
        return {**bounds, **_log(curve), **({} if q is None else {"q": float(q)})}, False
    if kind == "Float" and curve == "Normal" and math.isinf(value.lower) and math.isinf(value.upper):
        bell = {"distribution": "normal", "mu": float(sampler.mean), "sigma": float(sampler.sd)}
        return {**bell, **({} if q is None else {"q": float(q)})}, False
    if kind == "Integer" and curve in ("Uniform", "LogUniform"):
        return _integers(value, curve, q), False
    if kind == "Function":
        raise CannotTranslateError(
            "a function (tune.sample_from) can't be searched by a model or compared between trials. Write"
            ' {"expr": "5 * batch_size"} for what is computed, {..., "when": {name: value}} for a condition.'
        )
    raise CannotTranslateError(f"Ray's {value!r:.80} has no equal here. Write values, or min and max.")


def _log(curve: str) -> DomainTree:
    return {"log": True} if curve == "LogUniform" else {}


def _integers(value: Any, curve: str, q: int | None) -> DomainTree:
    """Ray leaves the upper bound out, and takes it in where it rounds to a `q` other than 1."""
    if q is None or q == 1:
        return {"min": int(value.lower), "max": int(value.upper) - 1, **_log(curve)}
    if curve == "LogUniform":
        raise CannotTranslateError("whole numbers in logarithmic steps of q have no equal here. Write values: [...].")
    low, high = math.ceil(value.lower / q), math.floor(value.upper / q)
    return {"min": low * q, "max": high * q, **({"step": q} if high > low else {})}


def _values(categories: Any) -> DomainTree:
    values = list(categories)
    if any(map(contains_ray_domain, values)):
        raise CannotTranslateError(
            "a choice between spaces is written by conditions here: a parameter with the names as values, and"
            ' {..., "when": {name: value}} on what belongs to one of them.'
        )
    return {"values": values}
