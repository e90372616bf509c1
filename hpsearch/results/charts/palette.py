"""How each role looks: never by colour alone, and readable with every kind of colour vision.

Colours are darkened from Okabe and Ito's set until each has a contrast of at least 4.5 to 1 on white, so that text may
have them too (a test computes it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpsearch.results.charts.description import Role

INK, FAINT, GRID, PAPER = "#1d2733", "#5a6673", "#e3e7ec", "#ffffff"
"""Text, secondary text, grid lines, background."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a role is drawn."""

    colour: str
    """Of lines, markers and bars."""
    dash: tuple[int, ...] = ()
    """Lengths of line and space in turn, px; empty for a solid line."""
    marker: str = "circle"
    """Plotly's name of the symbol."""
    width_px: float = 1.5
    """Of lines."""
    size_px: float = 7
    """Of markers."""
    opacity: float = 1.0
    """Of lines; below 1 where many lie over each other."""


DENSE_LINE, DENSE_MARKER, DENSE_SIZE = 0.3, 0.5, 0.6
"""Opacity of lines and of markers, and size of markers, times so much where many lie over each other."""

LOOKS: Mapping[Role, Look] = {
    "best": Look(colour="#a63f00", marker="star", width_px=3, size_px=14),
    "good": Look(colour="#0063a6", marker="circle", width_px=2),
    "done": Look(colour="#0063a6", marker="circle", opacity=0.75),
    "stopped": Look(colour="#68717c", dash=(4, 3), marker="circle-open", width_px=1, opacity=0.6),
    "running": Look(colour="#00755a", dash=(8, 3, 2, 3), marker="triangle-up"),
    "failed": Look(colour="#a3006b", dash=(2, 2), marker="x", width_px=1, size_px=8),
    "mark": Look(colour=FAINT, dash=(2, 3), width_px=1),
}
