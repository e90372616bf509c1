"""The points of a conditional space by number, each once, without holding them in memory.

A lattice is a product of *blocks*, the groups of parameters that conditions link. A block is a union of *cases*: its
first parameter takes some values that all conditions treat alike, and what is then active among the others is a
lattice again. So points are counted and numbered by arithmetic, however many there are. Computed parameters and
constraints are not known here.
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
"""Cases of a lattice, those inside of others counted in; each takes memory."""
MAX_NESTING = 50
"""Levels of conditions on conditional parameters."""

Values = Sequence[Any] | None
"""All values of a parameter; None where they are infinitely many."""


class TooManyCases(ValueError):
    """The conditions make more than MAX_CASES cases, or nest deeper than MAX_NESTING."""


@final
class Lattice:
    """All points of parameters and their conditions, the last block varying fastest."""

    def __init__(self, domains: Mapping[str, Drawn], conditions: Mapping[str, Condition]) -> None:
        """Lay out the cases.

        Args:
            domains: Parents before the parameters that depend on them, else in the order of the spec.
            conditions: Of the conditional parameters.

        Raises:
            TooManyCases: It would be too large.
        """
        self._product = _Builder(domains).product(domains, conditions, depth=0)

    @property
    def size(self) -> int | None:
        """Number of points; None where it is infinite."""
        return self._product.size

    def at(self, index: int) -> Point:
        """Values of the active parameters of point `index`, in [0, size) of a finite lattice."""
        return self._product.at(index)


@final
class _Product:
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
    values: Values
    """Values of the block's first parameter that all conditions treat alike; not empty."""
    inner: _Product
    """The other parameters that are active then."""

    @property
    def size(self) -> int | None:
        return None if self.values is None or self.inner.size is None else len(self.values) * self.inner.size


@final
class _Builder:
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
    """(names, conditions) that are left of `others` once `first` has a value with the canonical form `key`."""
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
    """A sequence without some of its positions; it may be a range of 2**53 numbers."""

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
    """Every value of a domain, whatever its `count`."""
    if isinstance(domain, Choice | Constant | Shaped):
        return domain.grid()
    if isinstance(domain, Real):
        return Real(min=domain.min, max=domain.max, step=domain.step).grid()
    return range(domain.min, domain.max + 1, domain.step)


def _classes(domain: Drawn, asked: Sequence[frozenset[str]]) -> list[Values]:
    """The values of a parameter, those together that every condition on it treats alike; no class is empty."""
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
    """Where the values with these canonical forms stand, in their order; those that are not there are left out."""
    if isinstance(values, range):
        found = {key: values.index(int(key)) for key in keys if int(key) in values}
    else:
        found = {key: position for position, key in enumerate(map(canonical, values)) if key in keys}
    return dict(sorted(found.items(), key=lambda item: item[1]))
