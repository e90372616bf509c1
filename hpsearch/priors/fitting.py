"""Outcomes of trials elsewhere, mapped into the space of a sweep; what doesn't fit is counted with its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hpsearch.plain import canonical
from hpsearch.search.searcher import Outcome
from hpsearch.space.distributions import Shaped
from hpsearch.space.domains import Choice, Computed, Constant, Domain, Drawn, Integer, Real
from hpsearch.space.space import Point, Space
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted

MAX_TOLD = 1000
"""Priors that a searcher hears of, the newest ones; at so many a proposal of TPE takes some 30 ms (Optuna 5.0)."""
MAX_TOLD_GP = 100
"""The same for Gaussian processes, where a proposal takes 1.7 s at 200."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """How a trial ended that is none of this sweep."""

    source: str
    """Whose trial it was, for the reader: a sweep's name, a file."""
    point: Mapping[str, Any]
    """Dotted name to value; values may be text as it stands in a table."""
    state: Literal["done", "stopped", "infeasible"]
    """As in `Outcome`."""
    losses: Mapping[int, float]
    """Epoch to loss, lower is better; may be empty only if infeasible."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What a sweep begins with."""

    outcomes: tuple[Outcome, ...] = ()
    """All in the space, the newest last."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Name to the number of outcomes that came from there."""
    misfits: Mapping[str, int] = field(default_factory=dict)
    """Why others were left out, to how many."""

    def __str__(self) -> str:
        """How many there are and from where, how many don't fit and why, in one sentence without an end."""
        told = counted(len(self.outcomes), "earlier trial")
        if self.sources:
            told += f" of {_listed(self.sources)}" if len(self.sources) > 1 else f" of {next(iter(self.sources))}"
        left_out = "; ".join(f"{count} left out: {why}" for why, count in self.misfits.items())
        return f"{told}; {left_out}" if left_out else told


class Misfit(ValueError):
    """A point has no place in a space; the message says why, without the value, so that equal ones can be counted."""


def fit(earlier: Iterable[Earlier], sweep: Sweep, *, left_out: Mapping[str, int] | None = None) -> Prior:
    """What of earlier outcomes a sweep can begin with.

    Args:
        earlier: The newest last.
        sweep: Which space they shall lie in, and which method hears of them.
        left_out: Reasons and numbers of those that were no candidates.
    """
    fitting: list[tuple[str, Outcome]] = []
    misfits: Counter[str] = Counter()
    for each in earlier:
        try:
            point = fitted(each.point, sweep.space)
        except Misfit as misfit:
            misfits[str(misfit)] += 1
            continue
        fitting.append((each.source, Outcome(number=0, point=point, state=each.state, losses=each.losses)))
    at_most = MAX_TOLD_GP if sweep.resolved_sampler == "gp" else MAX_TOLD
    if len(fitting) > at_most:
        misfits[f"older than the newest {at_most}"] = len(fitting) - at_most
    told = fitting[-at_most:]
    sources = Counter(source for source, _ in told)
    return Prior(
        outcomes=tuple(outcome for _, outcome in told),
        sources=dict(sources),
        misfits={**dict(misfits.most_common()), **(left_out or {})},
    )


def fitted(point: Mapping[str, Any], space: Space) -> Point:
    """The point of `space` that an earlier point is.

    Parameters that the space doesn't have, or that are inactive in it, are dropped; those that have one value in it
    alone are filled in where the point has none; computed ones are computed anew.

    Args:
        point: Dotted name to value; text stands for the number or value that it spells.
        space: Where it shall lie.

    Raises:
        Misfit: A value is missing, outside of its domain or another than the one that is computed; or a constraint is
            broken.
    """
    found: Point = {}
    for name in space.order:
        domain = space.domains[name]
        if not isinstance(domain, Computed) and space.is_active(name, found):
            found[name] = _value(name, domain, point)
    whole = space.complete(found)
    if not space.admits(whole):
        raise Misfit(_broken(space, whole))
    for name, domain in space.domains.items():
        if isinstance(domain, Computed) and name in point and name in whole and not _same(point[name], whole[name]):
            raise Misfit(f"{name} was another than the one that is computed now")
    return whole


def _value(name: str, domain: Drawn, point: Mapping[str, Any]) -> Any:
    if name not in point:
        if domain.size == 1:
            return (domain.grid() or ())[0]
        raise Misfit(f"they have no {name}")
    value = _in_kind(domain, point[name])
    if not domain.contains(value):
        raise Misfit(f"{name} was not in {str(domain)[:100]}")
    return domain.clip(value) if isinstance(domain, Real | Shaped) else value


def _in_kind(domain: Domain, value: Any) -> Any:
    """A value in the kind that its domain has: 32.0 or the text 32 as 32; as it is where it is none of these."""
    if isinstance(domain, Choice | Constant):
        known = domain.values if isinstance(domain, Choice) else (domain.value,)
        exact = [each for each in known if canonical(each) == canonical(value)]
        return next(iter([*exact, *(each for each in known if _same(value, each))]), value)
    number = _number(value)
    is_whole = isinstance(domain, Integer) or (isinstance(domain, Shaped) and isinstance(domain.q, int))
    if number is None or (is_whole and not number.is_integer()):
        return value
    return int(number) if is_whole else number


def _same(value: Any, known: Any) -> bool:
    """Whether a value of a table, or of a spec that wrote 32.0 for 32, is this one."""
    if isinstance(value, str) and not isinstance(known, str):
        return value in (str(known), canonical(known)) or (_number(known) is not None and _number(value) == known)
    return _number(known) is not None and _number(value) == _number(known)


def _number(value: Any) -> float | None:
    """A finite number, or the one that a text spells; None for anything else."""
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
