"""How each role looks: never by colour alone, and readable with every kind of colour vision.

Colours are Okabe and Ito's, darkened for white paper and lightened for dark ground until each has a contrast of at
least 4.5 to 1, so that text may have them too (a test computes it). Whatever is saved or printed is light; a page on a
screen that asks for dark replaces each light colour by its dark one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpsearch.ledger.records import TrialRecord, TrialState
from hpsearch.results.charts.description import Role

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "tint": "#f4f6f8", "veil": "rgba(255, 255, 255, 0.75)", "ink": "#1d2733", "faint": "#5a6673",
    "rule": "#d8dee5", "grid": "#e3e7ec",
    "pale": "#7fb1d6", "blue": "#0063a6", "warm": "#a63f00", "grey": "#68717c", "green": "#00755a", "pink": "#a3006b",
}  # fmt: skip
"""Ground and what lies on it, text and secondary text, lines between things and behind them, the inside of bars (an
interval shows on it), then what roles have."""
DARK: Mapping[str, str] = {
    "paper": "#14191f", "tint": "#1e252d", "veil": "rgba(20, 25, 31, 0.75)", "ink": "#e3e8ee", "faint": "#a7b2be",
    "rule": "#38424d", "grid": "#2b343d",
    "pale": "#35668c", "blue": "#74b8f0", "warm": "#f2995a", "grey": "#9ba6b2", "green": "#43c79f", "pink": "#f183c4",
}  # fmt: skip
"""The same on a screen that asks for dark."""
IN_THE_DARK: Mapping[str, str] = {LIGHT[name]: DARK[name] for name in LIGHT}
"""What each light colour becomes."""
INK, FAINT, GRID, PAPER = LIGHT["ink"], LIGHT["faint"], LIGHT["grid"], LIGHT["paper"]


@dataclass(frozen=True, kw_only=True)
class RoleStyle:
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

ROLE_STYLES: Mapping[Role, RoleStyle] = {
    "best": RoleStyle(colour=LIGHT["warm"], marker="star", width_px=3, size_px=14),
    "good": RoleStyle(colour=LIGHT["blue"], marker="circle", width_px=2),
    "done": RoleStyle(colour=LIGHT["blue"], marker="circle", opacity=0.75),
    "stopped": RoleStyle(colour=LIGHT["grey"], dash=(4, 3), marker="circle-open", width_px=1, opacity=0.6),
    "running": RoleStyle(colour=LIGHT["green"], dash=(8, 3, 2, 3), marker="triangle-up"),
    "failed": RoleStyle(colour=LIGHT["pink"], dash=(2, 2), marker="x", width_px=1, size_px=8),
    "mark": RoleStyle(colour=LIGHT["faint"], dash=(2, 3), width_px=1),
}


STATE_ROLES: Mapping[TrialState, Role] = {
    "done": "done", "reused": "done", "stopped": "stopped", "paused": "stopped",
    "running": "running", "queued": "running", "interrupted": "running", "failed": "failed",
}  # fmt: skip


DRAW_ORDER: tuple[Role, ...] = ("stopped", "failed", "running", "done", "good", "best")
"""From the back of a picture to its front."""


ROLE_LABELS: Mapping[Role, str] = {
    "stopped": "stopped or waiting",
    "failed": "failed",
    "running": "not over",
    "done": "trained to the end",
    "good": "best tenth",
    "best": "best",
}
"""For legends."""


def role_of(trial: TrialRecord) -> Role:
    """How a trial is drawn that is not the best."""
    return STATE_ROLES[trial.state]
