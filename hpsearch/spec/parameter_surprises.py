"""Notes on single parameters: ranges, lists and maps that may mean something else than their author thinks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.errors import Problem
from hpsearch.plain import KeyPath, canonical, is_number
from hpsearch.space.domain_parser import is_domain
from hpsearch.space.domains import Integer, Real
from hpsearch.space.rounding import TOLERANCE, clipped_bounds, rounded_bounds
from hpsearch.spec.yaml_writer import flow

Note = tuple[KeyPath, str]
"""(keys from the parameter to what the note is about, sentence)."""

WIDE = 1000
"""Factor between the bounds of a range from which on a logarithmic scale is probably meant."""
LISTS = re.compile(r"(.*_)?(betas|milestones|shape|hidden_sizes|hidden_dims|layer_sizes)|(image_)?(mean|std)")
"""Names of parameters that are lists wherever they are used."""
MAX_SHOWN = 60
"""Characters of a list that a note repeats."""
BOUNDS = {"low": "high", "lower": "upper"}
"""Names of the bounds of a range in other tools."""
CHOICES = ("choices", "options", "categories")
"""Names of a list of values in other tools."""
BESIDE = frozenset(("type", "name", "q", "base"))
"""Further keys of a range or a choice in other tools; with `log` or `step` beside them a map is a mistake."""


def parameter_surprises(tree: Mapping[str, Any], originals: Mapping[KeyPath, Mapping[str, Any]]) -> Iterator[Problem]:
    """The notes on the parameters of a valid spec.

    Args:
        tree: The parameters in hpsearch's keys, ranges with a `q` not clipped yet.
        originals: As in `Translation`.
    """
    for where, value in _each(tree, ("parameters",)):
        if not isinstance(value, Mapping):
            notes = iter(()) if LISTS.fullmatch(str(where[-1])) else _about_list(value)
        elif not is_domain(value):
            notes = _about_group(value)
        else:
            notes = _about_domain(value, originals.get(where, value))
        yield from (Problem(where=(*where, *keys), message=message) for keys, message in notes)


def _each(tree: Mapping[str, Any], where: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """(key path, value) of all parameters and groups; a group that reads as another tool's domain is not entered."""
    for name, value in tree.items():
        path = (*where, name)
        yield path, value
        if isinstance(value, Mapping) and not is_domain(value) and not any(_about_group(value)):
            yield from _each(value, path)


def _about_list(value: object) -> Iterator[Note]:
    if not isinstance(value, list) or len(value) < 2 or any(isinstance(each, list | dict) for each in value):
        return
    if len(set(map(canonical, value))) == len(value):  # a choice has no value twice
        items = flow(value)
        text = items if len(items) <= MAX_SHOWN else "[...]"
        choice, spelled = f"{{values: {text}}}", f"{{value: {text}}}"
        yield (), f"is one constant list. Write {choice} for a choice, or {spelled} if the list is meant."


def _about_group(tree: Mapping[str, Any]) -> Iterator[Note]:
    """The note on a map of constants that describes a range or a choice in the words of Optuna or Ray Tune."""
    for low, high in BOUNDS.items():
        ends = (tree.get(low), tree.get(high))
        if all(map(is_number, ends)) and tree.keys() <= BESIDE | {low, high}:
            yield (), f"{low} and {high} are constants here. Write {{min: {ends[0]}, max: {ends[1]}}} for a range."
    for name in CHOICES:
        if isinstance(tree.get(name), list) and tree.keys() <= BESIDE | {name}:
            yield (), f"'{name}' is one constant list here. Write {{values: [...]}} for a choice."


def _about_domain(tree: Mapping[str, Any], original: Mapping[str, Any]) -> Iterator[Note]:
    named = original.get("distribution")
    if "values" in tree:
        yield from _about_repeats(original.get("values"))
    elif named in ("log_uniform", "q_log_uniform"):
        yield from _about_exponents(original, tree)
    elif "q" in tree and named is not None:
        yield from _about_rounding(tree)
    elif {"min", "max"} <= tree.keys() and named is None:
        yield from _about_range(tree)


def _about_range(tree: Mapping[str, Any]) -> Iterator[Note]:
    low, high = tree["min"], tree["max"]
    if "q" in tree:
        if tree.get("clip") is not False:
            yield from _about_multiples(low, high, tree["q"])
    elif tree.get("step") is not None:
        yield from _about_step(low, high, tree["step"])
    elif (low, high) == (0, 1) and isinstance(low, int) and isinstance(high, int):
        wanted = "{min: 0.0, max: 1.0} for a number between them, or {values: [0, 1]} for a choice"
        yield (), f"takes only the values 0 and 1, since both bounds are whole numbers. Write {wanted}."
    elif "log" not in tree and "count" not in tree and _is_wide(low, high):
        share = f"is even from {_text(low)} to {_text(high)}: 9 of 10 draws are above {_text(high / 10)}"
        yield (), f"{share}. Write log: true to search each power of ten alike, or log: false if this is meant."


def _is_wide(low: float, high: float) -> bool:
    return isinstance(low, float) and low > 0 and high / low >= WIDE


def _about_multiples(low: float, high: float, q: float) -> Iterator[Note]:
    ends = clipped_bounds(low, high, q)
    assert ends is not None, "the spec is valid"
    for key, bound, end, which in (("min", low, ends[0], "smallest"), ("max", high, ends[1], "largest")):
        if end != bound:
            yield (key,), f"{_text(bound)} is not a multiple of q {_text(q)}: the {which} value is {_text(end)}."


def _about_step(low: float, high: float, step: float) -> Iterator[Note]:
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        last: float = Integer(min=low, max=high, step=step).clip(high)
    else:
        last = Real(min=low, max=high, step=step).clip(high)
    if high - last > TOLERANCE * step:
        steps = f"steps of {_text(step)} from {_text(low)} miss max {_text(high)}"
        yield ("step",), f"{steps}: the largest value is {_text(last)}."


def _about_rounding(tree: Mapping[str, Any]) -> Iterator[Note]:
    """The note on a distribution whose rounded values leave its bounds."""
    q, is_beta = tree["q"], tree.get("distribution") == "beta"
    if not is_beta and tree.get("clip") is not False:
        return
    low, high = (0, 1) if is_beta else (tree["min"], tree["max"])
    first, last = rounded_bounds(low, high, q)
    if low <= first and last <= high:
        return
    values = f"rounds to multiples of {_text(q)}, from {_text(first)} to {_text(last)}"
    log = ", log: true" if tree.get("log") else ""
    own = f"{{min: {_text(low)}, max: {_text(high)}, q: {_text(q)}{log}}}"
    if is_beta:
        yield (), f"{values}, although a beta distribution ends at 1."
    else:
        yield (), f"{values}, as W&B does. Write {own} for those between min and max alone."


def _about_exponents(original: Mapping[str, Any], tree: Mapping[str, Any]) -> Iterator[Note]:
    name, low, high = original["distribution"], original["min"], original["max"]
    if low > 0 and high <= 1:
        values = f"the bounds of {name} are exponents of e: the values are {tree['min']:.4g} to {tree['max']:.4g}"
        yield (), f"{values}. Write distribution: {name}_values for values from {_text(low)} to {_text(high)}."


def _about_repeats(values: object) -> Iterator[Note]:
    first: set[str] = set()
    for position, key in enumerate(map(canonical, values if isinstance(values, list) else ())):
        if key in first:
            yield ("values", position), f"{key[:MAX_SHOWN]} is there twice and counts once. W&B draws it more often."
        first.add(key)


def _text(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.12g}"
