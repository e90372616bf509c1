"""Counts and numbers the points of a conditional space without holding them in memory.

A lattice is a product of *blocks*, the groups of parameters that conditions connect. A block is a union of *cases*. In
each case the block's first parameter has some of its values, which all conditions treat alike, and the other parameters
that are then active form a lattice again. Points are counted and numbered by arithmetic, however many there are.

Computed parameters and constraints are not part of a lattice; `space.py` adds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from hpsearch.plain import canonical
from hpsearch.space.conditions import Condition, linked_groups
from hpsearch.space.distributions import Shaped
from hpsearch.space.domains import Choice, Constant, Drawn, Point, Real

MAX_CASES = 20_000
"""Cases of a lattice, nested ones included; each takes memory."""
MAX_NESTING = 50
"""Levels of parameters that are conditional on conditional parameters."""

Values = Sequence[Any] | None
"""All values of a parameter; None if there are infinitely many."""


class TooManyCases(ValueError):
    """The conditions result in more than MAX_CASES cases, or nest deeper than MAX_NESTING."""


@final
class Lattice:
    """All points of some parameters and their conditions, numbered so that the last block varies fastest."""

    def __init__(self, domains: Mapping[str, Drawn], conditions: Mapping[str, Condition]) -> None:
        """Work out the cases.

        Args:
            domains: Name to domain, parents before the parameters that depend on them, else in the order of the spec.
            conditions: Name to condition of the conditional parameters.

        Raises:
            TooManyCases: There are too many cases, or they nest too deep.
        """
        self._product = _Builder(domains).product(domains, conditions, depth=0)

    @property
    def size(self) -> int | None:
        """Number of points; None if it is infinite."""
        return self._product.size

    def at(self, index: int) -> Point:
        """Values of the active parameters at point `index` of a finite lattice, in [0, size)."""
        return self._product.at(index)


@final
class _Product:
    """Every combination of the points of several blocks."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self.blocks = blocks
        sizes = [block.size for block in blocks]
        self.size = None if None in sizes else math.prod(size for size in sizes if size is not None)

    def at(self, index: int) -> Point:
        point: Point = {}
        for block in reversed(self.blocks):
            assert block.size is not None, "an infinite lattice has no numbers"
            index, position = divmod(index, block.size)
            point |= block.at(position)
        return point


@final
class _Block:
    """A parameter and those that are conditional on it, as cases."""

    def __init__(self, name: str, cases: Sequence[_Case]) -> None:
        self.name = name
        self.cases = cases
        sizes = [case.size for case in cases]
        self.size = None if None in sizes else sum(size for size in sizes if size is not None)

    def at(self, index: int) -> Point:
        for case in self.cases:
            assert case.size is not None and case.values is not None, "an infinite lattice has no numbers"
            if index < case.size:
                position, inner = divmod(index, case.inner.size or 1)
                return {self.name: case.values[position], **case.inner.at(inner)}
            index -= case.size
        raise AssertionError("an index is below the size")


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Some values of a block's first parameter, and the other parameters that are active with them."""

    values: Values
    """Values of the first parameter that all conditions treat alike; at least one."""
    inner: _Product
    """The other active parameters."""

    @property
    def size(self) -> int | None:
        return None if self.values is None or self.inner.size is None else len(self.values) * self.inner.size


@final
class _Builder:
    """Builds products recursively and counts their cases."""

    def __init__(self, domains: Mapping[str, Drawn]) -> None:
        self._domains = domains
        self._num_cases = 0

    def product(self, names: Iterable[str], conditions: Mapping[str, Condition], *, depth: int) -> _Product:
        return _Product([self._block(group, conditions, depth) for group in linked_groups(names, conditions)])

    def _block(self, names: Sequence[str], conditions: Mapping[str, Condition], depth: int) -> _Block:
        first, *others = names
        inside = {name: conditions[name] for name in others if name in conditions}
        cases = []
        for values in _classes(
            self._domains[first], [each.allowed[first] for each in inside.values() if first in each.allowed]
        ):
            self._num_cases += 1
            if self._num_cases > MAX_CASES + len(self._domains) or depth > MAX_NESTING:
                raise TooManyCases
            key = canonical(values[0]) if values is not None else ""
            active, left = _settled(first, key, others, inside)
            cases.append(_Case(values=values, inner=self.product(active, left, depth=depth + 1)))
        return _Block(first, cases)


def _settled(
    first: str, key: str, others: Iterable[str], conditions: Mapping[str, Condition]
) -> tuple[list[str], dict[str, Condition]]:
    """(names, conditions) of the `others` that can be active if `first` has the value with canonical form `key`."""
    gone: set[str] = set()
    left: dict[str, Condition] = {}
    for name in others:
        allowed = dict(conditions[name].allowed) if name in conditions else {}
        if not gone.isdisjoint(allowed) or key not in allowed.pop(first, (key,)):
            gone.add(name)
        elif allowed:
            left[name] = Condition(allowed=allowed)
    return [name for name in others if name not in gone], left


@final
class _Without(Sequence[Any]):
    """A view of a sequence without some of its positions; the sequence may be a range of 2**53 numbers."""

    def __init__(self, values: Sequence[Any], left_out: Iterable[int]) -> None:
        self._values = values
        self._left_out = sorted(left_out)

    def __len__(self) -> int:
        return len(self._values) - len(self._left_out)

    def __getitem__(self, index: Any) -> Any:
        for position in self._left_out:
            index += position <= index
        return self._values[index]


def all_values(domain: Drawn) -> Values:
    """Every value of a domain; a `count` of grid points does not matter."""
    if isinstance(domain, Choice | Constant | Shaped):
        return domain.grid()
    if isinstance(domain, Real):
        return Real(min=domain.min, max=domain.max, step=domain.step).grid()
    return range(domain.min, domain.max + 1, domain.step)


def _classes(domain: Drawn, asked: Sequence[frozenset[str]]) -> list[Values]:
    """The values of a parameter in groups that every condition on it treats alike; no group is empty."""
    values = all_values(domain)
    if values is None or not asked:
        return [values]
    position_of = _positions(values, frozenset().union(*asked))
    alike: dict[tuple[bool, ...], list[int]] = {}
    for key, position in position_of.items():
        alike.setdefault(tuple(key in allowed for allowed in asked), []).append(position)
    classes: list[Values] = [[values[position] for position in sorted(group)] for group in alike.values()]
    rest = _Without(values, position_of.values())
    return [*classes, rest] if len(rest) else classes


def _positions(values: Sequence[Any], keys: frozenset[str]) -> dict[str, int]:
    """Canonical form to position, in rising order, of those of the `keys` that are in `values`."""
    if isinstance(values, range):
        found = {key: values.index(int(key)) for key in keys if int(key) in values}
    else:
        found = {key: position for position, key in enumerate(map(canonical, values)) if key in keys}
    return dict(sorted(found.items(), key=lambda item: item[1]))
