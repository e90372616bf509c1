"""Colours and line styles of charts and of the report, distinguishable with every kind of colour vision.

Roles differ not only in colour but also in dash and marker. The colours are those of Okabe and Ito, darkened for a
white background and lightened for a dark one until each has a contrast of at least 4.5 to 1, so that text can use them
too (a test computes it). Saved and printed charts are always light; in dark mode a page replaces each light colour by
its dark counterpart.

Source:
    Okabe and Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/; WCAG 2.1, success criterion 1.4.3.
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
"""Name to colour in light mode: background (`paper`), tinted background, background of labels (`veil`), text (`ink`),
secondary text (`faint`), borders (`rule`), grid lines, the inside of bars (`pale`), then the colours of roles."""
DARK: Mapping[str, str] = {
    "paper": "#14191f", "tint": "#1e252d", "veil": "rgba(20, 25, 31, 0.75)", "ink": "#e3e8ee", "faint": "#a7b2be",
    "rule": "#38424d", "grid": "#2b343d",
    "pale": "#35668c", "blue": "#74b8f0", "warm": "#f2995a", "grey": "#9ba6b2", "green": "#43c79f", "pink": "#f183c4",
}  # fmt: skip
"""Name to colour in dark mode."""
IN_THE_DARK: Mapping[str, str] = {LIGHT[name]: DARK[name] for name in LIGHT}
"""Each light colour to its dark counterpart."""
INK, FAINT, GRID, PAPER = LIGHT["ink"], LIGHT["faint"], LIGHT["grid"], LIGHT["paper"]


@dataclass(frozen=True, kw_only=True)
class RoleStyle:
    """The style of a role."""

    colour: str
    """Colour of lines, markers and bars."""
    dash: tuple[int, ...] = ()
    """Lengths of dashes and gaps, px; empty for a solid line."""
    marker: str = "circle"
    """Plotly's name of the marker."""
    width_px: float = 1.5
    """Width of lines."""
    size_px: float = 7
    """Size of markers."""
    opacity: float = 1.0
    """Opacity of lines; below 1 for roles with many overlapping lines."""


DENSE_LINE, DENSE_MARKER, DENSE_SIZE = 0.3, 0.5, 0.6
"""Factors for the opacity of lines, the opacity of markers and the size of markers in a dense series."""

ROLE_STYLES: Mapping[Role, RoleStyle] = {
    "best": RoleStyle(colour=LIGHT["warm"], marker="star", width_px=3, size_px=14),
    "good": RoleStyle(colour=LIGHT["blue"], marker="circle", width_px=2),
    "done": RoleStyle(colour=LIGHT["blue"], marker="circle", opacity=0.75),
    "stopped": RoleStyle(colour=LIGHT["grey"], dash=(4, 3), marker="circle-open", width_px=1, opacity=0.6),
    "running": RoleStyle(colour=LIGHT["green"], dash=(8, 3, 2, 3), marker="triangle-up"),
    "failed": RoleStyle(colour=LIGHT["pink"], dash=(2, 2), marker="x", width_px=1, size_px=8),
    "mark": RoleStyle(colour=LIGHT["faint"], dash=(2, 3), width_px=1),
}
"""The style of each role."""


STATE_ROLES: Mapping[TrialState, Role] = {
    "done": "done", "reused": "done", "stopped": "stopped", "paused": "stopped",
    "running": "running", "queued": "running", "interrupted": "running", "failed": "failed",
}  # fmt: skip
"""The state of a trial to its role."""


DRAW_ORDER: tuple[Role, ...] = ("stopped", "failed", "running", "done", "good", "best")
"""Roles from the back of a chart to its front."""


ROLE_LABELS: Mapping[Role, str] = {
    "stopped": "stopped or paused",
    "failed": "failed",
    "running": "unfinished",
    "done": "fully trained",
    "good": "best tenth",
    "best": "best",
}
"""Names of roles in legends."""


def role_of(trial: TrialRecord) -> Role:
    """The role of a trial that is not highlighted."""
    return STATE_ROLES[trial.state]
