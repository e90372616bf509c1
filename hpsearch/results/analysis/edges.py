"""Finds parameters whose best values are at the edge of their range, so that a wider range may have better ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import comb
from typing import Literal

from hpsearch.ledger.records import TrialRecord
from hpsearch.results.analysis.best import ranked_successes
from hpsearch.results.analysis.scales import Scale
from hpsearch.results.labels import number, one_line

NUM_BEST = 5
"""Number of best trials that are looked at; fewer if fewer have the parameter."""
MIN_BEST = 3
"""Number of best trials with the parameter below which no advice is given."""
EDGE = 0.1
"""Share of a range that is its edge, on the scale that is searched; of a list of n numbers the edge is one of them."""
MAX_LUCK = 0.05
"""Advice is given if this many trials at one edge would be less likely than this if the parameter did not matter."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One parameter whose best values are at an end of its range."""

    parameter: str
    """Dotted name."""
    side: Literal["lower", "upper"]
    """Which end of the range."""
    end: float
    """The value of that end."""
    count: int
    """How many of the best trials are there."""
    of: int
    """How many of the best trials have the parameter, at most NUM_BEST."""

    def __str__(self) -> str:
        wider = "below" if self.side == "lower" else "above"
        return (
            f"{one_line(self.parameter)}: {self.count} of the {self.of} best trials are at the {self.side} edge "
            f"({number(self.end)}). Widen it: try values {wider}."
        )


def edges(trials: Iterable[TrialRecord], scales: Iterable[Scale], *, sign: int) -> list[Edge]:
    """The parameters whose range should be widened, in the order of `scales`.

    An edge counts if the best trial is there, together with so many of the next best trials that this would happen by
    chance in less than one of twenty sweeps (MAX_LUCK).

    Args:
        trials: All trials of one sweep.
        scales: The parameters to look at; lists with other values than numbers have no edge.
        sign: 1 to minimise, -1 to maximise.
    """
    ranked = ranked_successes(trials, sign=sign)
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
    ends: tuple[tuple[Literal["lower", "upper"], float, list[bool]], ...] = (
        ("lower", low, [share <= width for share in shares]),
        ("upper", high, [share >= 1 - width for share in shares]),
    )
    for side, end, at_edge in ends:
        count = sum(at_edge)
        if at_edge[0] and 2 * _at_least(count, len(shares), luck) < MAX_LUCK:
            return Edge(parameter=scale.name, side=side, end=end, count=count, of=len(shares))
    return None


def _at_least(count: int, total: int, chance: float) -> float:
    """The probability of at least `count` successes among `total` independent tries of probability `chance`."""
    return sum(comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(count, total + 1))
