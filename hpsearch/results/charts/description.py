"""One description of a picture, which both renderers draw. Plain values only, no third party.

Texts in it may be whatever a user wrote; each renderer makes them harmless in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

GAP = math.nan
"""As x and y of a point: lifts the pen, so that one series holds many curves."""

DENSE = 100
"""Trials of one series; with more, each is drawn faint."""

Role = Literal["best", "good", "done", "stopped", "running", "failed", "mark"]
"""What a series stands for; `palette.py` gives each its colour, dash and marker."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis."""

    name: str
    """What it counts, with the unit; empty for none."""
    is_log: bool = False
    """Logarithmic; then no point is at or below 0."""
    ticks: tuple[tuple[float, str], ...] | None = None
    """Position and text of every tick; None for numbers chosen by the renderer."""
    limits: tuple[float, float] | None = None
    """What is shown; None for everything. Low below high, both above 0 where `is_log`."""
    is_hidden: bool = False
    """Without line, ticks and grid."""

    @property
    def title(self) -> str:
        """The name, and that it is logarithmic."""
        return f"{self.name}, log" if self.is_log and self.name else self.name


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that stand for the same thing."""

    name: str
    """In the legend; empty to stay out of it."""
    role: Role
    """How it looks."""
    kind: Literal["lines", "points", "steps", "bars"]
    """`steps` keeps a value until the next point; `bars` are horizontal, from 0 to x at y."""
    x: tuple[float, ...]
    """Finite, or GAP."""
    y: tuple[float, ...]
    """As long as `x`; GAP where `x` is."""
    trials: tuple[int, ...] = ()
    """The trial of each point, as long as `x`; empty where points are no trials."""
    texts: tuple[str, ...] = ()
    """What is said of each point, as long as `x`; empty for its coordinates."""
    low: tuple[float, ...] = ()
    """Lower ends of intervals along x, as long as `x`; empty without."""
    high: tuple[float, ...] = ()
    """Upper ends, as `low`."""

    @property
    def is_dense(self) -> bool:
        """Whether so many trials lie over each other that each must be faint."""
        return len(set(self.trials)) > DENSE


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line through the whole picture."""

    x: float
    """Where."""
    text: str
    """At its upper end; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A short text beside a point."""

    x: float
    """Of the point."""
    y: float
    """Of the point."""
    text: str
    """What it says."""
    is_above: bool = False
    """Above the point, ending there, instead of to its right."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture."""

    title: str
    """What it shows, in few words."""
    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    series: tuple[Series, ...]
    """Later ones are drawn over earlier ones; may be empty."""
    marks: tuple[Mark, ...] = ()
    """Vertical lines: rungs, edges, the axes of parallel coordinates."""
    labels: tuple[Label, ...] = ()
    """Texts in the picture."""
    alternative: str
    """The picture in sentences, made from the same data, for who can't see it."""
    note: str = ""
    """What was left out or limited, in sentences; empty where nothing was."""
    can_brush: bool = False
    """Whether choosing points brings out all points of their trials."""
    is_small: bool = False
    """Whether it stands beside another one, with half the width."""
    height_px: int = 380
    """On a screen."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no point to draw."""
        return not any(series.x for series in self.series)


Point = tuple[float, float, int]
"""x, y and the number of a trial."""


def joined(curves: Iterable[Sequence[Point]]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """(x, y, trials) of one series that holds several curves, with a gap after each.

    Example:
        >>> joined([[(1, 0.5, 7)], [(1, 0.25, 8), (2, 0.2, 8)]])
        ((1, nan, 1, 2, nan), (0.5, nan, 0.25, 0.2, nan), (7, 7, 8, 8, 8))
    """
    points = [point for curve in curves if curve for point in (*curve, (GAP, GAP, curve[-1][2]))]
    return tuple(x for x, _, _ in points), tuple(y for _, y, _ in points), tuple(trial for _, _, trial in points)
