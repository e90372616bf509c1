"""Checks of a parsed space that need points: random draws, which show whether it can be sampled, and initial points.

Checks that need no points are in `references.py`; checks of other keys of a spec are in `spec/checks.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.errors import Problem
from hpsearch.plain import KeyPath, canonical
from hpsearch.space.conditions import requirements
from hpsearch.space.distributions import Shaped
from hpsearch.space.domains import Computed, Point, Real
from hpsearch.space.expressions import ExpressionError
from hpsearch.space.references import name_hint
from hpsearch.space.space import Space
from hpsearch.text import shown

NUM_DRAWS = 10_000
"""Draws after which constraints that almost no draw meets are refused."""
MIN_PASSED = 10
"""Draws out of NUM_DRAWS that must meet all constraints; finding a point then takes at most a tenth of a second."""
ENOUGH_PASSED = 100
"""Draws that meet all constraints, after which the check ends early."""
MAX_INITIAL = 1000
"""Initial points of a spec."""


def check_draws(space: Space) -> list[Problem]:
    """Mistakes that random draws show: an expression without a value, or constraints that almost no draw meets."""
    if not space.constraints and not any(isinstance(domain, Computed) for domain in space.domains.values()):
        return []
    rng = random.Random(0)
    num_draws = num_passed = 0
    while num_draws < NUM_DRAWS and num_passed < ENOUGH_PASSED:
        point = space.draw_unchecked(rng)
        if problem := _uncomputable(space, point):
            return [problem]
        num_draws += 1
        num_passed += space.admits(point)
    if num_passed >= MIN_PASSED or (space.is_counted and space.size):
        return []
    return [Problem(where=("constraints",), message=_too_few(space, num_draws, num_passed))]


def _too_few(space: Space, num_draws: int, num_passed: int) -> str:
    if space.is_counted:
        return "no point meets the constraints. Loosen them."
    share = f"{num_passed} of {num_draws} draws ({num_passed / num_draws:.2%})"
    return f"only {share} met the constraints, too few for a search. Loosen them, or narrow the ranges."


def _uncomputable(space: Space, point: Point) -> Problem | None:
    """The problem of the first expression that has no value at `point`; None if all have one."""
    for name, domain in space.domains.items():
        if isinstance(domain, Computed) and name not in point and space.is_active(name, point):
            where: KeyPath = ("parameters", *name.split("."), "expr")
            if domain.expression.names <= point.keys():
                return _failure(where, domain.expression.evaluate, domain.expression.names, point)
    for position, constraint in enumerate(space.constraints):
        if constraint.names <= point.keys():
            problem = _failure(("constraints", position), constraint.holds, constraint.names, point)
            if problem is not None:
                return problem
    return None


def _failure(where: KeyPath, evaluate: Any, names: frozenset[str], point: Point) -> Problem | None:
    try:
        evaluate(point)
    except ExpressionError as error:
        at = ", ".join(f"{name} = {canonical(point[name])[:40]}" for name in sorted(names))
        return Problem(where=where, message=f"the expression can't be computed at {at}: {error}")
    return None


def parse_initial_points(raw: object, space: Space, problems: list[Problem], *, is_grid: bool = False) -> list[Point]:
    """The spec's initial points, each a flat map of the parameters that it sets.

    Args:
        raw: The spec's list of maps, with dotted or nested names. Another type is ignored; it is reported elsewhere.
        space: A space without mistakes.
        problems: One entry is added for each mistake.
        is_grid: Whether the points must be on the grid.
    """
    entries = raw if isinstance(raw, list | tuple) else []
    if len(entries) > MAX_INITIAL:
        message = f"expected at most {MAX_INITIAL} points, got {len(entries)}. Write fewer."
        problems.append(Problem(where=("initial_points",), message=message))
        return []
    points = []
    for position, entry in enumerate(entries):
        where: KeyPath = ("initial_points", position)
        if isinstance(entry, Mapping):
            found = list(_initial_point(entry, space, where, is_grid=is_grid))
            problems += (each for each in found if isinstance(each, Problem))
            points.append({name: value for each in found if not isinstance(each, Problem) for name, value in [each]})
    return points


def _initial_point(
    entry: Mapping[Any, Any], space: Space, where: KeyPath, *, is_grid: bool
) -> Iterator[Problem | tuple[str, Any]]:
    good: Point = {}
    is_good = True
    for path, value in flattened(entry, (), space):
        name = ".".join(path)
        message = _wrong_value(name, value, space, is_grid=is_grid)
        if message is not None:
            is_good = False
            yield Problem(where=(*where, *path), message=message)
        else:
            domain = space.domains[name]
            good[name] = domain.clip(value) if isinstance(domain, Real | Shaped) else value
    if is_good:
        message = _wrong_together(good, space.on_grid if is_grid else space)
        if message is not None:
            yield Problem(where=where, message=message)
    yield from good.items()


def flattened(entry: Mapping[Any, Any], prefix: tuple[str, ...], space: Space) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys, value) of every parameter set in nested maps; a map that is the value of a parameter is not flattened."""
    for key, value in entry.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and ".".join(path) not in space.domains and value:
            yield from flattened(value, path, space)
        else:
            yield path, value


def _wrong_value(name: str, value: Any, space: Space, *, is_grid: bool) -> str | None:
    domain = space.domains.get(name)
    if domain is None:
        return f"unknown parameter '{name[:60]}'.{name_hint(name, space.domains)}"
    if isinstance(domain, Computed):
        return f"'{name}' is computed ({domain}) and can't be set. Remove it."
    if not domain.contains(value):
        return f"expected {str(domain)[:200]}, got {shown(value)}."
    on_grid = space.on_grid.domains[name]
    if is_grid and not isinstance(on_grid, Computed):
        value = domain.clip(value) if isinstance(domain, Real | Shaped) else value
        if not on_grid.contains(value):
            return f"expected a point of the grid, {str(on_grid)[:200]}, got {shown(value)}."
    return None


def _wrong_together(point: Point, space: Space) -> str | None:
    for name in point:
        for parent, keys in requirements(name, space.conditions).items():
            if parent in point and canonical(point[parent]) not in keys:
                given = f"{parent} is {canonical(point[parent])[:60]}"
                return f"'{name}' is inactive if {given}. Remove it, or set {parent} to {' or '.join(sorted(keys))}."
    rng = random.Random(0)
    if any(
        space.try_draw(rng, point) is not None for _ in range(1 if len(point) == len(space.searched) else NUM_DRAWS)
    ):
        return None
    known = point | space.complete(point)
    for constraint in space.constraints:
        if constraint.names <= known.keys() and not space.meets(constraint, known):
            return f"the point violates the constraint {constraint.text!r:.200}. Change one of them."
    return f"none of {NUM_DRAWS} draws of the other parameters met the constraints. Set more parameters."
