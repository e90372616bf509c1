"""Maps outcomes of earlier trials into the space of a sweep, and counts those that don't fit by their reasons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hpsearch.plain import canonical, value_text
from hpsearch.search.searcher import Outcome
from hpsearch.space.distributions import Shaped
from hpsearch.space.domains import Choice, Computed, Constant, Domain, Drawn, Integer, Real
from hpsearch.space.space import Point, Space
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted

MAX_PRIORS = 1000
"""Priors that a searcher gets, the newest ones; with so many, a proposal of TPE takes some 30 ms (Optuna 5.0)."""
MAX_PRIORS_GP = 100
"""The same for a Gaussian process, of which a proposal takes 1.7 s with 200."""


@dataclass(frozen=True, kw_only=True)
class EarlierTrial:
    """The outcome of a trial of another sweep or from another source."""

    source: str
    """Where it is from, for messages: the name of a sweep or of a file."""
    point: Mapping[str, Any]
    """Dotted name to value; values may be texts, as in a table."""
    state: Literal["done", "stopped", "infeasible"]
    """As in `Outcome`."""
    losses: Mapping[int, float]
    """Epoch to loss, lower is better; may be empty only if infeasible."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The priors of a sweep."""

    outcomes: tuple[Outcome, ...] = ()
    """All are in the sweep's space; the newest is last."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Name of a source to the number of outcomes from there."""
    misfits: Mapping[str, int] = field(default_factory=dict)
    """Reason for which trials were left out to their number."""

    def __str__(self) -> str:
        """How many there are and from where, and how many were left out and why; one sentence without a full stop."""
        text = counted(len(self.outcomes), "earlier trial")
        if self.sources:
            text += f" of {_listed(self.sources)}" if len(self.sources) > 1 else f" of {next(iter(self.sources))}"
        left_out = "; ".join(f"{count} left out: {why}" for why, count in self.misfits.items())
        return f"{text}; {left_out}" if left_out else text


class Misfit(ValueError):
    """A point does not fit into a space; the message says why, without values, so that equal reasons can be counted."""


def make_prior(earlier: Iterable[EarlierTrial], sweep: Sweep, *, left_out: Mapping[str, int] | None = None) -> Prior:
    """Map earlier trials into the space of a sweep, and count those that don't fit.

    Args:
        earlier: The newest is last.
        sweep: Its space, and its method, which limits how many are kept.
        left_out: Reason to number of trials that are not among `earlier`, for the counts.
    """
    fitting: list[tuple[str, Outcome]] = []
    misfits: Counter[str] = Counter()
    for each in earlier:
        try:
            point = map_point(each.point, sweep.space)
        except Misfit as misfit:
            misfits[str(misfit)] += 1
            continue
        fitting.append((each.source, Outcome(number=0, point=point, state=each.state, losses=each.losses)))
    at_most = MAX_PRIORS_GP if sweep.resolved_sampler == "gp" else MAX_PRIORS
    if len(fitting) > at_most:
        misfits[f"older than the newest {at_most}"] = len(fitting) - at_most
    newest = fitting[-at_most:]
    sources = Counter(source for source, _ in newest)
    return Prior(
        outcomes=tuple(outcome for _, outcome in newest),
        sources=dict(sources),
        misfits={**dict(misfits.most_common()), **(left_out or {})},
    )


def map_point(point: Mapping[str, Any], space: Space) -> Point:
    """The point of a space that corresponds to an earlier point.

    Parameters that the space doesn't have, or that are inactive in it, are dropped. A missing parameter that has a
    single value in the space gets that value, and computed parameters are computed.

    Args:
        point: Dotted name to value; a text may represent a number or another value of the parameter.
        space: The space to map into.

    Raises:
        Misfit: A value is missing, outside of its domain, or not the one that is computed; or the point breaks a
            constraint.
    """
    drawn: Point = {}
    for name in space.order:
        domain = space.domains[name]
        if not isinstance(domain, Computed) and space.is_active(name, drawn):
            drawn[name] = _value(name, domain, point)
    whole = space.complete(drawn)
    if not space.admits(whole):
        raise Misfit(_broken(space, whole))
    for name, domain in space.domains.items():
        if isinstance(domain, Computed) and name in point and name in whole and not _same(point[name], whole[name]):
            raise Misfit(f"{name} differs from the value that is computed now")
    return whole


def _value(name: str, domain: Drawn, point: Mapping[str, Any]) -> Any:
    if name not in point:
        if domain.size == 1:
            return (domain.grid() or ())[0]
        raise Misfit(f"they have no {name}")
    value = _in_type(domain, point[name])
    if not domain.contains(value):
        raise Misfit(f"{name} was not in {str(domain)[:100]}")
    return domain.clip(value) if isinstance(domain, Real | Shaped) else value


def _in_type(domain: Domain, value: Any) -> Any:
    """A value in its domain's type, such as 32 for 32.0 or for the text 32; unchanged if it can't be converted."""
    if isinstance(domain, Choice | Constant):
        known = domain.values if isinstance(domain, Choice) else (domain.value,)
        exact = [each for each in known if canonical(each) == canonical(value)]
        return next(iter([*exact, *(each for each in known if _same(value, each))]), value)
    number = finite_number(value)
    is_whole = isinstance(domain, Integer) or (isinstance(domain, Shaped) and isinstance(domain.q, int))
    if number is None or (is_whole and not number.is_integer()):
        return value
    return int(number) if is_whole else number


def _same(value: Any, known: Any) -> bool:
    """Whether a value, which may be a text of a table or spelled differently (32.0 for 32), is a known value."""
    if isinstance(value, str) and not isinstance(known, str):
        return value in (str(known), canonical(known)) or (
            finite_number(known) is not None and finite_number(value) == known
        )
    return finite_number(known) is not None and finite_number(value) == finite_number(known)


def value_of_cell(domain: Domain | None, cell: Any) -> Any:
    """The value for which a text is in a table's column of values of different types, as our own tables write them.

    Args:
        domain: The parameter's domain; None if the space has no such parameter.
        cell: A value of a table; anything but a text is returned as it is, as is a text that means no value.

    Example:
        >>> value_of_cell(Choice(values=(1, "1", None)), '"1"'), value_of_cell(Choice(values=(1, "1", None)), "1")
        ('1', 1)
    """
    known = domain.values if isinstance(domain, Choice) else (domain.value,) if isinstance(domain, Constant) else ()
    return next((each for each in known if cell in (value_text(each), canonical(each))), cell)


def finite_number(value: Any) -> float | None:
    """A value as a finite number, also if it is the text of one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _broken(space: Space, point: Point) -> str:
    broken = (each.text for each in space.constraints if not space.meets(each, point))
    return next((f"they break the constraint {text!r:.100}" for text in broken), "a computed parameter has no value")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())
