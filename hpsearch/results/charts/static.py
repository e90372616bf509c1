"""Static charts: PNG and SVG, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from hpsearch.results.charts.description import Axis, Chart, Label, Series
from hpsearch.results.charts.palette import (
    DENSE_LINE,
    DENSE_MARKER,
    DENSE_SIZE,
    FAINT,
    GRID,
    IN_THE_DARK,
    INK,
    LIGHT,
    PAPER,
    ROLE_STYLES,
    RoleStyle,
)
from hpsearch.results.labels import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS_IN = {False: 8.4, True: 4.6}
"""Widths of a large and a small chart (`is_small`), inches."""
PX_PER_INCH = 92
"""Pixels of `height_px` in an inch."""
PT_PER_PX = 0.75
"""Typographic points for a pixel of a screen."""
DPI = 144
"""Resolution of PNG files, dots per inch."""
MARKERS = {"circle": "o", "circle-open": "o", "star": "*", "triangle-up": "^", "x": "x"}
"""Plotly's marker names to matplotlib's."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hpsearch",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "path.simplify": True,
}
"""Matplotlib's rcParams while a chart is drawn."""


def draw(
    charts: Sequence[Chart], kind: Literal["png", "svg"], *, has_titles: bool = True, can_darken: bool = False
) -> bytes:
    """Draw charts into one picture, at most two beside each other.

    Args:
        charts: The charts, at least one.
        kind: Format of the picture.
        has_titles: Whether titles are part of the picture; a page may have its own.
        can_darken: Whether an SVG follows a page into dark mode; otherwise it is always light.

    Returns:
        The bytes of the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    num_columns = min(len(charts), 2)
    num_rows = math.ceil(len(charts) / num_columns)
    height = num_rows * max(chart.height_px for chart in charts) / PX_PER_INCH
    buffer, rc = io.BytesIO(), cast(Any, STYLE)  # matplotlib types its keys as one long literal
    with mpl.rc_context(rc), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a missing glyph is drawn as a box
        figure = Figure(
            figsize=(WIDTHS_IN[charts[0].is_small] * num_columns, height), layout="constrained", facecolor=PAPER
        )
        for position, chart in enumerate(charts, 1):
            _draw_chart(figure.add_subplot(num_rows, num_columns, position), chart, has_title=has_titles)
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return (
        buffer.getvalue().replace(b"</style>", _dark_styles().encode() + b"</style>", 1)
        if can_darken
        else buffer.getvalue()
    )


def _dark_styles() -> str:
    """CSS rules for dark mode: they replace the colours that matplotlib writes into the style of each element."""
    rules = (
        f'[style*="{what}: {light}"] {{{what}: {dark} !important}}'
        for light, dark in IN_THE_DARK.items()
        for what in ("fill", "stroke")
        if light.startswith("#")
    )
    return f"@media screen and (prefers-color-scheme: dark) {{{''.join(rules)}}}"


def _draw_chart(axes: Axes, chart: Chart, *, has_title: bool) -> None:
    if has_title:
        axes.set_title(one_line(chart.title, most=90), loc="left", fontsize=11, pad=16)
    _set_axis(axes, "x", chart.x)
    _set_axis(axes, "y", chart.y)
    for mark in chart.marks:
        axes.axvline(mark.x, color=ROLE_STYLES["mark"].colour, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        if mark.text:
            top = axes.get_xaxis_transform()
            axes.text(mark.x, 1.01, one_line(mark.text), transform=top, ha="center", fontsize=8, color=FAINT)
    for series in chart.series:
        _draw_series(axes, series)
    for label in chart.labels:
        _draw_label(axes, label)
    named = [handle for handle in axes.get_legend_handles_labels()[0] if handle]
    if len(named) > 1:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -44 / chart.height_px), ncols=4 - chart.is_small, fontsize=8
        )


def _draw_label(axes: Axes, label: Label) -> None:
    shift, sides = ((0, 9), ("right", "bottom")) if label.is_above else ((3, 0), ("left", "center"))
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    axes.annotate(
        one_line(label.text),
        (label.x, label.y),
        xytext=shift,
        textcoords="offset points",
        ha=sides[0],
        va=sides[1],
        fontsize=7.5,
        color=FAINT,
        bbox=box,
    )


def _draw_series(axes: Axes, series: Series) -> None:
    name = one_line(series.name) or "_nolegend_"
    name = f"\u200b{name}" if name.startswith("_") and series.name else name  # else hidden from the legend
    draw = {"bars": _draw_bars, "points": _draw_points}.get(series.kind, _draw_lines)
    draw(axes, series, ROLE_STYLES[series.role], name)


def _draw_bars(axes: Axes, series: Series, style: RoleStyle, name: str) -> None:
    axes.barh(series.y, series.x, height=0.6, color=LIGHT["pale"], edgecolor=style.colour, label=name)
    if series.low:
        low = [at - end for at, end in zip(series.x, series.low, strict=True)]
        high = [end - at for at, end in zip(series.x, series.high, strict=True)]
        axes.errorbar(series.x, series.y, xerr=[low, high], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)


def _draw_points(axes: Axes, series: Series, style: RoleStyle, name: str) -> None:
    opacity, share = (DENSE_MARKER, DENSE_SIZE) if series.is_dense else (1.0, 1.0)
    face = "none" if style.marker.endswith("-open") else style.colour
    options: dict[str, Any] = {"linestyle": "none", "marker": MARKERS[style.marker], "markerfacecolor": face}
    size = style.size_px * share * PT_PER_PX
    axes.plot(series.x, series.y, color=style.colour, markersize=size, alpha=opacity, label=name, **options)


def _draw_lines(axes: Axes, series: Series, style: RoleStyle, name: str) -> None:
    options: dict[str, Any] = {
        "linestyle": (0, style.dash) if style.dash else "solid",
        "linewidth": style.width_px * PT_PER_PX,
        "alpha": style.opacity * (DENSE_LINE if series.is_dense else 1.0),
        "drawstyle": "steps-post" if series.kind == "steps" else "default",
    }
    axes.plot(series.x, series.y, color=style.colour, label=name, **options)


def _set_axis(axes: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    line = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}label": one_line(axis.title), f"{which}scale": "log" if axis.is_log else "linear"})
    if axis.ticks is not None:
        line.set_ticks([at for at, _ in axis.ticks], labels=[one_line(name, most=24) for _, name in axis.ticks])
        line.set_minor_locator(_no_ticks())
    if axis.limits is not None:
        axes.set(**{f"{which}lim": axis.limits})
    if axis.is_hidden:
        line.set_visible(False)
        axes.spines["bottom" if which == "x" else "left"].set_visible(False)


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
