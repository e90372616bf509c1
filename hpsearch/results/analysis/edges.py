"""Whether the best trials lie at the edge of what is searched, so that a wider range may hold better ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import comb
from typing import Literal

from hpsearch.ledger.records import TrialRecord
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.labels import value_text

NUM_BEST = 5
"""Trials that are looked at, the best; fewer where fewer have the parameter."""
MIN_BEST = 3
"""With fewer, nothing is said."""
EDGE = 0.1
"""The outermost part of a range, on the scale that is searched; of a list of n numbers it is one, 1/n."""
MAX_LUCK = 0.05
"""So many at one edge must be less likely than this if the parameter did not matter."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One parameter whose best values lie at the end of its range."""

    parameter: str
    """Dotted."""
    side: Literal["lower", "upper"]
    """Which end."""
    end: float
    """The range's end there."""
    count: int
    """How many of the best lie there."""
    of: int
    """Of how many."""

    def __str__(self) -> str:
        wider = "below" if self.side == "lower" else "above"
        return (
            f"{value_text(self.parameter)}: {self.count} of the {self.of} best trials are at the {self.side} edge "
            f"({value_text(self.end)}). Widen it: try values {wider}."
        )


def edges(trials: Iterable[TrialRecord], scales: Iterable[Scale], *, sign: int) -> list[Edge]:
    """The parameters whose range should be widened, in the order of `scales`.

    It is said of an edge where the best trial is there with so many of the next best that luck would do it less than
    once in twenty times (MAX_LUCK).

    Args:
        trials: Of one sweep.
        scales: Of the parameters to look at; lists of anything but numbers have no edge.
        sign: 1 to minimise, -1 to maximise.
    """
    ended = [trial for trial in trials if trial.succeeded and trial.best_value is not None]
    ranked = sorted(ended, key=lambda trial: sign * (trial.best_value or 0.0))
    found = (_edge(ranked, scale) for scale in scales if scale.has_edges)
    return [edge for edge in found if edge is not None]


def _edge(ranked: list[TrialRecord], scale: Scale) -> Edge | None:
    values = [trial.point[scale.name] for trial in ranked if scale.name in trial.point]
    shares = [share for share in map(scale.share, values[:NUM_BEST]) if share is not None]
    width = EDGE if scale.values is None else 0.0
    luck = EDGE if scale.values is None else 1 / len(scale.values)
    if len(shares) < MIN_BEST or (scale.values is not None and len(scale.values) < 3):
        return None
    low, high = (scale.low, scale.high) if scale.values is None else (scale.values[0], scale.values[-1])
    for side, end, at_edge in (
        ("lower", low, [share <= width for share in shares]),
        ("upper", high, [share >= 1 - width for share in shares]),
    ):
        count = sum(at_edge)
        if at_edge[0] and 2 * _at_least(count, len(shares), luck) < MAX_LUCK:
            side_: Literal["lower", "upper"] = "lower" if side == "lower" else "upper"
            return Edge(parameter=scale.name, side=side_, end=end, count=count, of=len(shares))
    return None


def _at_least(count: int, total: int, chance: float) -> float:
    """The chance of at least `count` successes among `total` independent tries."""
    return sum(comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(count, total + 1))
