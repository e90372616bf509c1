"""Interactive charts: plotly's JSON as plain dicts, drawn by the plotly.js that the package `plotly` contains."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from hpsearch.results.charts.description import Axis, Chart, Label, Mark, Series
from hpsearch.results.charts.palette import (
    DENSE_LINE,
    DENSE_MARKER,
    DENSE_SIZE,
    FAINT,
    GRID,
    INK,
    LIGHT,
    PAPER,
    ROLE_STYLES,
)
from hpsearch.results.labels import one_line

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
"""CSS font family of all texts."""
SHAPES = {"lines": "linear", "steps": "hv"}
"""Kind of a series to plotly's line shape."""
LEGEND_PX = 50
"""Distance from the axis down to the legend, px."""
BRUSHED_PX = 3
"""Size of the selectable points on a line, px."""
GUTTER = 0.16
"""Space between charts beside each other, as a share of the width or height."""


def plotly_script() -> str:
    """The source of plotly.js, about 4.8 MB."""
    from importlib.resources import files

    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def to_plotly(charts: Sequence[Chart], *, has_titles: bool = True) -> dict[str, Any]:
    """One figure with all charts, at most two beside each other.

    Args:
        charts: The charts, at least one.
        has_titles: Whether titles are part of the figure; a page may have its own.

    Returns:
        `{"data": [...], "layout": {...}}`, as `Plotly.react` takes it.
    """
    num_columns = min(len(charts), 2)
    num_rows = math.ceil(len(charts) / num_columns)
    layout: dict[str, Any] = {
        "autosize": True,
        "height": num_rows * max(chart.height_px for chart in charts),
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": PAPER, "font": {"color": INK, "family": FONT}, "align": "left"},
        "margin": {"l": 8, "r": 12, "t": 52 if has_titles else 28, "b": 8},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": -LEGEND_PX / (charts[-1].height_px * num_rows - 100),
            "yanchor": "top",
        },
        "dragmode": "select" if any(chart.can_brush for chart in charts) else "zoom",
        "annotations": [],
        "shapes": [],
    }
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    for position, chart in enumerate(charts):
        suffix = "" if position == 0 else str(position + 1)
        row, column = divmod(position, num_columns)
        layout[f"xaxis{suffix}"] = _axis(chart.x, _share(column, num_columns), f"y{suffix}")
        layout[f"yaxis{suffix}"] = _axis(chart.y, _share(num_rows - 1 - row, num_rows), f"x{suffix}")
        for series in chart.series:
            in_legend = bool(series.name) and series.name not in named
            trace = _trace(series, suffix, in_legend=in_legend, can_brush=chart.can_brush)
            data.append(trace | _hover(series, chart))
            named.add(series.name)
        layout["shapes"] += [_line(mark, suffix) for mark in chart.marks]
        layout["annotations"] += [_mark_text(mark, chart.x, suffix) for mark in chart.marks if mark.text]
        layout["annotations"] += [_label(label, chart, suffix) for label in chart.labels]
        if has_titles:
            layout["annotations"].append(_title(chart, suffix))
    layout["showlegend"] = len(named - {""}) > 1
    return {"data": data, "layout": layout}


def text(value: str) -> str:
    """A text escaped so that plotly, which interprets some HTML tags, shows it literally."""
    return html.escape(one_line(value, most=160), quote=False)


def _share(position: int, count: int) -> list[float]:
    """Start and end of the chart at `position` of `count`, as shares of the figure."""
    width = (1 - GUTTER * (count - 1)) / count
    return [position * (width + GUTTER), min(position * (width + GUTTER) + width, 1.0)]


def _axis(axis: Axis, domain: list[float], anchor: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "domain": domain,
        "anchor": anchor,
        "automargin": True,
        "title": {"text": text(axis.title), "font": {"size": 12, "color": FAINT}, "standoff": 6},
        "type": "log" if axis.is_log else "linear",
        "gridcolor": GRID,
        "linecolor": FAINT,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": GRID,
    }
    if axis.ticks is not None:
        made |= {
            "tickmode": "array",
            "tickvals": [at for at, _ in axis.ticks],
            "ticktext": [text(name) for _, name in axis.ticks],
        }
    if axis.limits is not None:
        made["range"] = [math.log10(end) for end in axis.limits] if axis.is_log else list(axis.limits)
    return made | ({"visible": False} if axis.is_hidden else {})


def _trace(series: Series, suffix: str, *, in_legend: bool, can_brush: bool) -> dict[str, Any]:
    style = ROLE_STYLES[series.role]
    trace: dict[str, Any] = {
        "x": _numbers(series.x),
        "y": _numbers(series.y),
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
        "name": text(series.name),
        "legendgroup": series.role,
        "showlegend": in_legend,
    }
    if series.trials:
        trace["customdata"] = list(series.trials)
    if series.kind == "bars":
        return trace | _bars(series)
    trace |= {"type": "scatter", "mode": "markers" if series.kind == "points" else "lines"}
    if can_brush:
        trace |= {"mode": "lines+markers"}  # plotly selects markers only
    if series.kind == "points":
        opacity, size = (DENSE_MARKER, style.size_px * DENSE_SIZE) if series.is_dense else (1.0, style.size_px)
        return trace | {"marker": {"color": style.colour, "symbol": style.marker, "size": size, "opacity": opacity}}
    dash = ",".join(f"{length}px" for length in style.dash) or "solid"
    line = {"color": style.colour, "width": style.width_px, "dash": dash, "shape": SHAPES[series.kind]}
    opacity = style.opacity * (DENSE_LINE if series.is_dense else 1.0)
    marker = {"color": style.colour, "size": BRUSHED_PX, "symbol": style.marker}
    return trace | {"line": line, "opacity": opacity, "connectgaps": False, "marker": marker}


def _hover(series: Series, chart: Chart) -> dict[str, Any]:
    """The text shown for the point under the mouse."""
    if series.texts:
        return {"hoverinfo": "text", "hovertext": [text(each) for each in series.texts]}
    names = (text(axis.name).replace("%{", "% {") for axis in (chart.x, chart.y))  # "%{" begins a placeholder
    lines = (f"{name}: %{{{letter}:.4~g}}" for name, letter in zip(names, "xy", strict=True))
    trial = "trial %{customdata}<br>" if series.trials else ""
    return {"hovertemplate": f"{trial}{'<br>'.join(lines)}<extra></extra>"}


def _bars(series: Series) -> dict[str, Any]:
    bars: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "marker": {"color": LIGHT["pale"], "line": {"color": ROLE_STYLES[series.role].colour, "width": 1.5}},
        "width": 0.6,
    }
    if series.low:
        bars["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - at for at, high in zip(series.x, series.high, strict=True)],
            "arrayminus": [at - low for at, low in zip(series.x, series.low, strict=True)],
            "color": INK,
            "thickness": 1.5,
            "width": 5,
        }
    return bars


def _line(mark: Mark, suffix: str) -> dict[str, Any]:
    style = ROLE_STYLES["mark"]
    line = {"color": style.colour, "width": style.width_px, "dash": "dot"}
    ends = {"x0": mark.x, "x1": mark.x, "y0": 0, "y1": 1}
    return {"type": "line", "xref": f"x{suffix}", "yref": f"y{suffix} domain", "layer": "below", "line": line, **ends}


def _mark_text(mark: Mark, axis: Axis, suffix: str) -> dict[str, Any]:
    at = math.log10(mark.x) if axis.is_log else mark.x
    position = {"xref": f"x{suffix}", "yref": f"y{suffix} domain", "x": at, "y": 1, "yanchor": "bottom"}
    return position | _annotation(mark.text)


def _label(label: Label, chart: Chart, suffix: str) -> dict[str, Any]:
    at = (math.log10(label.x) if chart.x.is_log else label.x, math.log10(label.y) if chart.y.is_log else label.y)
    position = {"xref": f"x{suffix}", "yref": f"y{suffix}", "x": at[0], "y": at[1]}
    position |= {"xanchor": "right", "yshift": 14} if label.is_above else {"xanchor": "left", "xshift": 3}
    return position | _annotation(label.text)


def _title(chart: Chart, suffix: str) -> dict[str, Any]:
    position = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "x": 0, "y": 1, "xanchor": "left"}
    font = {"size": 14, "color": INK}
    return position | _annotation(chart.title) | {"yanchor": "bottom", "yshift": 18, "font": font}


def _annotation(value: str) -> dict[str, Any]:
    """A text in the figure, without its position."""
    font = {"size": 11, "color": FAINT}
    return {"text": text(value), "showarrow": False, "font": font, "bgcolor": LIGHT["veil"]}


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Numbers for JSON, with null for a gap, since JSON has no NaN. Six digits are more than a screen can show."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
