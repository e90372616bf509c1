"""Codes points as plain numbers that any search library can model, and decodes them again.

    Choice          its index, without order
    Integer         its step's index; with log, the number itself
    Real            the number itself; with a step, its step's index
    Shaped          its quantile: the share of draws below it, in [0, 1]

Indices distinguish lists, None and values that compare equal (True, 1, 1.0). They also serve for a range whose width
is not a multiple of its step, which libraries refuse. Parameters with a single value are not coded, since a model
learns nothing from them; nor are inactive ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from hpsearch.space.space import Choice, Integer, Point, Real, Searched, Shaped, Space

Codes = dict[str, int | float]
"""Dotted name to code; has modelled parameters only."""


def num_codes(domain: Searched) -> int | None:
    """Number of indices of a domain that is coded by index; None if it is coded by its own numbers."""
    if isinstance(domain, Choice) or (isinstance(domain, Integer) and not domain.log):
        return domain.size
    return domain.size if isinstance(domain, Real) and domain.step is not None else None


@final
class Coding:
    """The modelled parameters of a space, and the translation of points to codes and back."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.domains = {name: domain for name, domain in space.searched.items() if domain.size != 1}
        """The parameters that have more than one value, in the order of the spec."""
        self._fixed = {name: (domain.grid() or ())[0] for name, domain in space.searched.items() if domain.size == 1}
        groups = (tuple(name for name in group if name in self.domains) for group in space.groups)
        self.groups = tuple(filter(None, groups))
        """Names of `domains`, grouped by the condition that they share; each group comes after the groups that have
        the parameters of its condition."""

    def encode(self, point: Point) -> Codes | None:
        """The codes of a point; None if it lies outside of the space."""
        if not self._space.contains(point):
            return None
        return {name: _encode(domain, point[name]) for name, domain in self.domains.items() if name in point}

    def decode(self, codes: Mapping[str, float]) -> Point:
        """The point of some codes.

        Args:
            codes: The codes of all active parameters, as numbers of any type; they may be outside of their range by a
                rounding error. Codes of inactive parameters are ignored.

        Returns:
            A point, which may break a constraint: `Searcher.ask` checks that.
        """
        return self._space.complete(self._fixed | {name: _decode(self.domains[name], codes[name]) for name in codes})

    def is_active(self, group: tuple[str, ...], codes: Mapping[str, float]) -> bool:
        """Whether the parameters of a group are active, given the codes of all groups before it."""
        return self._space.is_active(group[0], self.decode(codes))


def _encode(domain: Searched, value: Any) -> int | float:
    if isinstance(domain, Choice):
        return domain.index(value)
    if isinstance(domain, Shaped):
        return domain.cdf(value)
    if isinstance(domain, Integer):
        return int(value) if domain.log else (value - domain.min) // domain.step
    return float(value) if domain.step is None else round((value - domain.min) / domain.step)


def _decode(domain: Searched, code: float) -> Any:
    if isinstance(domain, Choice):
        return domain.values[min(max(round(code), 0), domain.size - 1)]
    if isinstance(domain, Shaped):
        return domain.quantile(code)
    if num_codes(domain) is not None:
        code = domain.min + round(code) * (domain.step or 1)
    return domain.clip(float(code))
