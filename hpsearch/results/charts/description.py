"""The description of a chart, which both renderers draw. It consists of plain values and imports no plotting library.

Texts may contain anything that a user wrote; each renderer escapes them in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

GAP = math.nan
"""As x and y of a point, a gap in the line, so that one series can contain several curves."""

DENSE = 100
"""If a series has more trials than this, each is drawn semi-transparent."""

Role = Literal["best", "good", "done", "stopped", "running", "failed", "mark"]
"""The meaning of a series, from which `palette.py` derives its colour, dash and marker."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal or vertical axis of a chart."""

    name: str
    """The quantity and its unit; empty for none."""
    is_log: bool = False
    """Whether the axis is logarithmic; then all points must be above 0."""
    ticks: tuple[tuple[float, str], ...] | None = None
    """Position and text of each tick; None lets the renderer choose."""
    limits: tuple[float, float] | None = None
    """Low and high end, both above 0 if `is_log`; None shows all points."""
    is_hidden: bool = False
    """Whether line, ticks and grid are hidden."""

    @property
    def title(self) -> str:
        """The name, with ", log" after it if the axis is logarithmic."""
        return f"{self.name}, log" if self.is_log and self.name else self.name


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points with the same meaning, drawn in the same style."""

    name: str
    """Name in the legend; empty leaves the series out of it."""
    role: Role
    """Meaning of the series, which determines its style."""
    kind: Literal["lines", "points", "steps", "bars"]
    """`steps` keeps a value until the next point; `bars` are horizontal, from 0 to x at height y."""
    x: tuple[float, ...]
    """Horizontal positions: finite, or GAP."""
    y: tuple[float, ...]
    """Vertical positions, as many as `x`; GAP where `x` is."""
    trials: tuple[int, ...] = ()
    """Trial number of each point, as many as `x`; empty if the points are not trials."""
    texts: tuple[str, ...] = ()
    """Hover text of each point, as many as `x`; empty shows the coordinates."""
    low: tuple[float, ...] = ()
    """Lower ends of intervals along x, as many as `x`; empty for no intervals."""
    high: tuple[float, ...] = ()
    """Upper ends of the intervals."""

    @property
    def is_dense(self) -> bool:
        """Whether so many trials overlap that each must be semi-transparent."""
        return len(set(self.trials)) > DENSE


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line over the whole height of the chart."""

    x: float
    """Position on the horizontal axis."""
    text: str
    """Text at its upper end; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A short text beside a point."""

    x: float
    """Horizontal position of the point."""
    y: float
    """Vertical position of the point."""
    text: str
    """The text."""
    is_above: bool = False
    """True puts the text above the point, right-aligned with it; False puts it to the right."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart that both renderers can draw."""

    title: str
    """What the chart shows, in a few words."""
    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    series: tuple[Series, ...]
    """The data; later series are drawn over earlier ones. May be empty."""
    marks: tuple[Mark, ...] = ()
    """Vertical lines: rungs, budgets, the axes of parallel coordinates."""
    labels: tuple[Label, ...] = ()
    """Texts inside the chart."""
    alternative: str
    """Text alternative: the main facts of the chart in sentences, made from the same data."""
    note: str = ""
    """Sentences about what was left out or clipped; empty if nothing was."""
    can_brush: bool = False
    """Whether selecting points highlights all points of their trials."""
    is_small: bool = False
    """Whether the chart has half the width, beside another one."""
    height_px: int = 380
    """Height on a screen, px."""

    @property
    def is_empty(self) -> bool:
        """Whether there are no points to draw."""
        return not any(series.x for series in self.series)


Point = tuple[float, float, int]
"""x, y and trial number."""


def joined(curves: Iterable[Sequence[Point]]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """Join curves into one series, with a gap after each.

    Args:
        curves: The points of each curve; empty curves are skipped.

    Returns:
        `x`, `y` and `trials` of the series.

    Example:
        >>> joined([[(1, 0.5, 7)], [(1, 0.25, 8), (2, 0.2, 8)]])
        ((1, nan, 1, 2, nan), (0.5, nan, 0.25, 0.2, nan), (7, 7, 8, 8, 8))
    """
    points = [point for curve in curves if curve for point in (*curve, (GAP, GAP, curve[-1][2]))]
    return tuple(x for x, _, _ in points), tuple(y for _, y, _ in points), tuple(trial for _, _, trial in points)
