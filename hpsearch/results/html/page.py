"""HTML pages: head, styles, scripts and content in one text, which loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files

from hpsearch.results.charts.description import Chart
from hpsearch.results.charts.palette import DARK, IN_THE_DARK, LIGHT, ROLE_STYLES
from hpsearch.results.html.elements import Node, Trusted, element, render, script_json


def html_page(title: str, body: Iterable[Node], *, is_static: bool) -> str:
    """A complete HTML page.

    Its content security policy allows only the scripts of hpsearch, by their hash, and no network requests. If a text
    were ever interpreted as markup, no script in it would run.

    Args:
        title: Title of the window.
        body: Content of the page.
        is_static: Whether the page has no scripts; then the charts in `body` must be pictures.

    Source:
        Content Security Policy Level 3, https://www.w3.org/TR/CSP3/.
    """
    scripts = [] if is_static else [_plotly(), _own("report.js")]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Trusted(styles())),
    )
    colours = element("script", Trusted(script_json(IN_THE_DARK)), type="application/json", id="in-the-dark")
    tail = [colours, *(element("script", Trusted(script)) for script in scripts)] if scripts else []
    return f"<!doctype html>\n{render(element('html', head, element('body', *body, *tail), lang='en'))}\n"


def styles() -> str:
    """The style sheet of the page: the palette as CSS custom properties, light and dark, and the rules that use it."""
    light, dark = (" ".join(f"--{name}: {colour};" for name, colour in each.items()) for each in (LIGHT, DARK))
    declared = f":root {{ color-scheme: light; {light} }}\n"
    declared += f"@media screen and (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {dark} }} }}\n"
    return declared + _own("report.css")


def figure_page(charts: Sequence[Chart]) -> str:
    """A page that contains only these charts, each below its title."""
    pictures = [picture(chart, is_static=False) for chart in charts]
    heading = "; ".join(chart.title for chart in charts)
    titled = [element("section", element("h2", c.title), p) for c, p in zip(charts, pictures, strict=True)]
    return html_page(heading, [element("main", *titled)], is_static=False)


def picture(chart: Chart, *, is_static: bool) -> Node:
    """A chart as a figure, with its text alternative as caption; only the text if there is nothing to draw.

    Args:
        chart: The chart.
        is_static: True draws an SVG picture now; False lets plotly draw it in the browser.
    """
    if chart.is_empty:
        return element("p", chart.alternative, class_="nothing")
    wide = " wide" if chart.can_brush else ""
    caption = element("figcaption", *_caption(chart, can_brush=chart.can_brush and not is_static))
    if is_static:
        from hpsearch.results.charts.static import draw

        svg = base64.b64encode(draw([chart], "svg", has_titles=False, can_darken=True)).decode()
        drawn: Node = element("img", src=f"data:image/svg+xml;base64,{svg}", alt=chart.alternative)
        return element("figure", element("div", drawn, class_="canvas"), caption, class_=f"drawn{wide}")
    from hpsearch.results.charts.interactive import to_plotly

    data = script_json(
        to_plotly([chart], has_titles=False) | {"brushcolor": ROLE_STYLES["good"].colour if chart.can_brush else None}
    )
    canvas = element(
        "div", class_="canvas", role="img", aria_label=chart.alternative, style=f"height: {chart.height_px}px"
    )
    scroller = element("div", canvas, class_="scroller")
    return element(
        "figure", scroller, caption, element("script", Trusted(data), type="application/json"), class_=f"live{wide}"
    )


def _caption(chart: Chart, *, can_brush: bool) -> Iterable[Node]:
    brush = " Drag over part of an axis to highlight the trials that pass through it; double-click to clear."
    yield chart.alternative
    if can_brush:
        yield element("span", brush, class_="hint")
    if chart.note:
        yield element("strong", f" {chart.note}")


def _policy(scripts: Iterable[str]) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes or chr(39) + 'none' + chr(39)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    return (files("hpsearch.results.html") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from hpsearch.results.charts.interactive import plotly_script

    return plotly_script()
