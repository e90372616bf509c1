"""The search space: all parameters with their conditions and constraints, and the points in it.

A *point* is a flat map from dotted names to the values of the active parameters, constants and computed ones included,
such as `{"optimizer.lr": 0.1, "augment": True}`. A *config* is the same as nested dicts, which a trainable gets.

Domains are in `domains.py`, conditions in `conditions.py`, arithmetic in `expressions.py`, counting in `lattice.py`,
parsing in `parser.py` and `references.py`. Translating domains for search libraries is in the folder `search/`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpsearch.errors import SpecError
from hpsearch.plain import canonical
from hpsearch.space.conditions import Condition, requirements, sorted_by_dependency
from hpsearch.space.distributions import Shaped
from hpsearch.space.domains import Choice, Computed, Constant, Domain, Integer, Point, Real, Searched
from hpsearch.space.expressions import Expression, ExpressionError
from hpsearch.space.lattice import Lattice

__all__ = [
    "Choice",
    "Computed",
    "Constant",
    "Domain",
    "Integer",
    "Point",
    "Real",
    "Searched",
    "Shaped",
    "Space",
    "to_config",
]

MAX_COUNTED = 10_000
"""Largest space with constraints whose points are checked one by one to count those that meet them."""
MAX_DRAWS = 100_000
"""Draws for one point that meets the constraints. Checks of a spec refuse spaces that need more."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """All parameters of a sweep in the order of the spec, their conditions and constraints."""

    domains: Mapping[str, Domain] = field(default_factory=dict)
    """Dotted name to domain; may be empty."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """Dotted name to the condition under which the parameter is active, without cycles. Others are always active."""
    constraints: tuple[Expression, ...] = ()
    """Expressions that are true at every point; one that refers to an inactive parameter counts as met."""

    @cached_property
    def constants(self) -> Point:
        """The values of the parameters that are not searched, active or not."""
        return {name: domain.value for name, domain in self.domains.items() if isinstance(domain, Constant)}

    @cached_property
    def searched(self) -> dict[str, Searched]:
        """Name to domain of the parameters that are searched."""
        return {name: domain for name, domain in self.domains.items() if not isinstance(domain, Constant | Computed)}

    @cached_property
    def _computed(self) -> tuple[str, ...]:
        return tuple(name for name, domain in self.domains.items() if isinstance(domain, Computed))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All names, each after those that its condition or its expression refers to."""
        needs: dict[str, set[str]] = {name: set(each.allowed) for name, each in self.conditions.items()}
        for name, domain in self.domains.items():
            if isinstance(domain, Computed):
                needs[name] = needs.get(name, set()) | domain.expression.names
        return sorted_by_dependency(self.domains, needs)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The searched parameters, grouped by the condition under which they are active; parents come first."""
        groups: dict[str, list[str]] = {}
        for name in self.order:
            if name in self.searched:
                needed = {parent: sorted(keys) for parent, keys in requirements(name, self.conditions).items()}
                groups.setdefault(canonical(needed), []).append(name)
        return tuple(map(tuple, groups.values()))

    @cached_property
    def size(self) -> int | None:
        """Number of distinct points; None if it is infinite. An upper bound if `is_counted` is false."""
        return self._lattice.size if self._allowed is None else len(self._allowed)

    @property
    def is_counted(self) -> bool:
        """Whether `size` is exact: there are no constraints, or so few points that each of them was checked."""
        return not self.constraints or self._allowed is not None

    @cached_property
    def on_grid(self) -> Space:
        """The subset of this space for grid search, in which a range with a `count` is a list of that many values."""
        return replace(self, domains={name: _on_grid(domain) for name, domain in self.domains.items()})

    @property
    def grid_size(self) -> int | None:
        """Number of grid points, exact or a bound as `size`; None if a range has neither step nor count."""
        return self.on_grid.size

    def draw(self, rng: random.Random, fixed: Mapping[str, Any] | None = None) -> Point:
        """One random point.

        Args:
            rng: Source of all randomness.
            fixed: Values that the point must have.

        Raises:
            SpecError: None of MAX_DRAWS draws met the constraints with all parameters of `fixed` active.
        """
        for _ in range(MAX_DRAWS):
            point = self.try_draw(rng, fixed)
            if point is not None:
                return point
        raise SpecError(f"none of {MAX_DRAWS} draws met the constraints. Loosen them.")

    def try_draw(self, rng: random.Random, fixed: Mapping[str, Any] | None = None) -> Point | None:
        """One random point; None if it violates a constraint, or a parameter of `fixed` is inactive."""
        point = self.draw_unchecked(rng, fixed)
        return point if point.keys() >= (fixed or {}).keys() and self.admits(point) else None

    def draw_unchecked(self, rng: random.Random, fixed: Mapping[str, Any] | None = None) -> Point:
        """One random point, which may violate constraints."""
        values = {name: domain.draw(rng) for name, domain in self.domains.items() if not isinstance(domain, Computed)}
        return self.complete({**values, **(fixed or {})})

    def complete(self, values: Mapping[str, Any]) -> Point:
        """The point with these values: inactive parameters removed, constants and computed ones added.

        Args:
            values: Name to value of at least all active parameters that are searched.

        Returns:
            A point in the order of the spec. A computed parameter that has no value (after a division by zero) is
            missing, and the point is then not in this space.
        """
        point: Point = {}
        for name in self.order:
            domain = self.domains[name]
            if not self.is_active(name, point):
                continue
            if isinstance(domain, Computed):
                self._compute(name, domain.expression, point)
            elif name in values:
                point[name] = values[name]
            elif isinstance(domain, Constant):
                point[name] = domain.value
        return {name: point[name] for name in self.domains if name in point}

    def is_active(self, name: str, point: Mapping[str, Any]) -> bool:
        """Whether a parameter is active at a point that has the values of the parameters it depends on."""
        return name not in self.conditions or self.conditions[name].holds(point)

    def admits(self, point: Point) -> bool:
        """Whether every computed parameter of a complete point has a value and every constraint is met."""
        return all(name in point or not self.is_active(name, point) for name in self._computed) and all(
            self.meets(constraint, point) for constraint in self.constraints
        )

    def contains(self, point: Point) -> bool:
        """Whether `point` is in this space: its names, its values, its conditions and the constraints."""
        known = all(name in self.domains and self._may_be(name, value) for name, value in point.items())
        return known and self._has_active(point) and self._is_complete(point) and self.admits(point)

    def key(self, point: Point) -> str:
        """Text that is equal for points with equal values; rounding errors of numbers on steps are removed before."""
        return canonical({name: self._nearest(name, point[name]) for name in point if name not in self._computed})

    def point_at(self, index: int) -> Point | None:
        """Point `index` in [0, size) of a finite space, in an order in which the last parameter varies fastest.

        Returns:
            None if the point violates a constraint, which happens only if `is_counted` is false.

        Raises:
            IndexError: There is no such point.
        """
        if not 0 <= index < (self.size or 0):
            raise IndexError(f"point {index} of {self.size}")
        point = self.complete(self._lattice.at(index if self._allowed is None else self._allowed[index]))
        return point if self.admits(point) else None

    def points(self) -> Iterator[Point]:
        """Every point of a finite space, computed one by one, the last parameter varying fastest.

        Raises:
            ValueError: The space is infinite.
        """
        if self.size is None:
            raise ValueError("an infinite space can't be enumerated")
        every = (self.point_at(index) for index in range(self.size))
        return (point for point in every if point is not None)

    @cached_property
    def _lattice(self) -> Lattice:
        drawn = {name: domain for name in self.order if not isinstance(domain := self.domains[name], Computed)}
        return Lattice(drawn, {name: each for name, each in self.conditions.items() if name in drawn})

    @cached_property
    def _allowed(self) -> list[int] | None:
        """Lattice indexes of the points that meet the constraints; None without constraints or with too many points."""
        size = self._lattice.size
        if not self.constraints or size is None or size > MAX_COUNTED:
            return None
        return [index for index in range(size) if self.admits(self.complete(self._lattice.at(index)))]

    def _compute(self, name: str, expression: Expression, point: Point) -> None:
        if expression.names <= point.keys():
            try:
                point[name] = expression.evaluate(point)
            except ExpressionError:
                return

    def meets(self, constraint: Expression, point: Point) -> bool:
        """Whether a constraint is met: it is true, or refers to an inactive parameter."""
        try:
            return not constraint.names <= point.keys() or constraint.holds(point)
        except ExpressionError:
            return False

    def _may_be(self, name: str, value: Any) -> bool:
        domain = self.domains[name]
        return isinstance(domain, Computed) or domain.contains(value)

    def _has_active(self, point: Point) -> bool:
        return all(name in point or not self.is_active(name, point) for name in self.domains)

    def _is_complete(self, point: Point) -> bool:
        """Whether `complete` leaves a point unchanged. Values that it passes on by identity are not compared."""
        if not self.conditions and not self._computed:
            return len(point) == len(self.domains)
        whole = self.complete(point)
        same = (whole[name] is value or canonical(whole[name]) == canonical(value) for name, value in point.items())
        return whole.keys() == point.keys() and all(same)

    def _nearest(self, name: str, value: Any) -> Any:
        domain = self.domains.get(name)
        return domain.clip(value) if isinstance(domain, Real | Shaped) and isinstance(value, int | float) else value


def to_config(point: Point) -> dict[str, Any]:
    """The nested dicts of a point, which a trainable gets; values are copied, so that a trainable can edit them.

    Example:
        >>> to_config({"optimizer.lr": 0.1, "seed": 3})
        {'optimizer': {'lr': 0.1}, 'seed': 3}
    """
    config: dict[str, Any] = {}
    for name, value in point.items():
        *outer, last = name.split(".")
        inner = config
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(json.dumps(value))
    return config


def _on_grid(domain: Domain) -> Domain:
    if isinstance(domain, Real | Integer) and domain.count is not None:
        return Choice(values=tuple(domain.grid() or ()))
    return domain
