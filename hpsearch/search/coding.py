"""Points as the plain numbers that a library can model, and back; no library is known here.

    Choice          its index, without order
    Integer         its step's index; with log, the number itself
    Real            the number itself; with a step, its step's index
    Shaped          the share of draws below it, in [0, 1]

Indices keep lists, None and look-alikes (True, 1, 1.0) apart, and spare the libraries ranges that their step does not
divide. Parameters with a single value are constants to a model, and not coded; nor are inactive ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from hpsearch.space.space import Choice, Integer, Point, Real, Searched, Shaped, Space

Codes = dict[str, int | float]
"""Dotted name to code, of the modelled parameters alone."""


def num_codes(domain: Searched) -> int | None:
    """How many indices a domain is coded by; None if it is coded by its own numbers."""
    if isinstance(domain, Choice) or (isinstance(domain, Integer) and not domain.log):
        return domain.size
    return domain.size if isinstance(domain, Real) and domain.step is not None else None


@final
class Coding:
    """The modelled parameters of a space, and the way to codes and back."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.domains = {name: domain for name, domain in space.searched.items() if domain.size != 1}
        """The parameters that have more than one value, in the order of the spec."""
        self._fixed = {name: (domain.grid() or ())[0] for name, domain in space.searched.items() if domain.size == 1}
        groups = (tuple(name for name in group if name in self.domains) for group in space.groups)
        self.groups = tuple(filter(None, groups))
        """Their names, together those that are always active together; what a group's activity hangs on comes first."""

    def encode(self, point: Point) -> Codes | None:
        """The codes of a point; None if it lies outside of the space, which no model can express."""
        if not self._space.contains(point):
            return None
        return {name: _encode(domain, point[name]) for name, domain in self.domains.items() if name in point}

    def decode(self, codes: Mapping[str, float]) -> Point:
        """The point of codes that may be an ulp outside of their range, in the library's own kinds of numbers.

        Args:
            codes: Of all active parameters; those of inactive ones do no harm.

        Returns:
            A point that may break a constraint: the contract's `ask` looks at it.
        """
        return self._space.complete(self._fixed | {name: _decode(self.domains[name], codes[name]) for name in codes})

    def is_active(self, group: tuple[str, ...], codes: Mapping[str, float]) -> bool:
        """Whether the parameters of a group are active, by the codes of all groups before it."""
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
