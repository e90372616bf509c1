"""The report as a reader has it: every picture drawn, nothing asked of the network, nothing run that a user wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpsearch.results.findings import read_findings
from hpsearch.results.report.write import write_report
from hpsearch.results.results import Results
from tests import curves, hostile
from tests.browser import new_context
from tests.waiting import until

pytestmark = pytest.mark.browser

DRAWN = """() => [...document.querySelectorAll('figure')].map(figure => {
  const boxes = [...figure.querySelectorAll('.scatterlayer path, .barlayer path')].map(e => e.getBoundingClientRect());
  const image = figure.querySelector('img');
  return boxes.filter(box => box.width + box.height > 0).length || (image ? image.naturalWidth : 0);
})"""
"""Marks that can be seen in each figure, or the width of its image."""
LAST = "document.querySelector('#parallel .canvas').data.at(-1)"
SIZES = pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reports of a usual and of a hostile sweep, interactive and static."""
    folder = tmp_path_factory.mktemp("reports")
    for name, run in (("usual", curves.run), ("hostile", hostile.run)):
        home = folder / name
        found = read_findings(home, run(home))
        write_report(found, folder / f"{name}.html")
        write_report(found, folder / f"{name}-static.html", is_static=True)
    return folder


@contextmanager
def opened(browser: Any, path: Path, *, width: int, height: int, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """The page, and what went wrong on it: messages, errors, dialogs, and every request but for the file itself."""
    wrong: list[str] = []
    with new_context(browser, viewport={"width": width, "height": height}, **options) as context:
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: wrong.extend(asked(request.url, path)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.failure}"))
        page.goto(path.as_uri())
        if page.locator("figure.live").count():
            page.wait_for_selector("html.is-drawn")
        yield page, wrong


def asked(url: str, path: Path) -> list[str]:
    """The address, unless it is the page's own, or holds what it stands for and asks nobody."""
    return [] if url == path.as_uri() or url.startswith("data:image/svg+xml;base64,") else [url]


@SIZES
@pytest.mark.parametrize("name", ["usual", "usual-static", "hostile", "hostile-static"])
def test_every_picture_is_drawn_and_nothing_else_happens(name, width, height, browser: Any, reports: Path):
    with opened(browser, reports / f"{name}.html", width=width, height=height) as (page, wrong):
        drawn = page.evaluate(DRAWN)
        assert len(drawn) == 9
        assert min(drawn) > 0
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("globalThis.harmed") is None
        assert page.locator("script").count() == (0 if name.endswith("static") else 11)  # 9 of data, plotly and ours
        assert wrong == []


def test_every_picture_has_a_text_that_says_what_it_shows(browser: Any, reports: Path):
    for name, described in (("usual", "[role=img][aria-label]"), ("usual-static", "figure img[alt]")):
        with opened(browser, reports / f"{name}.html", width=1280, height=900) as (page, _):
            texts = page.locator(described).evaluate_all("all => all.map(e => e.ariaLabel || e.alt)")
            assert len(texts) == 9
            assert all(text.endswith(".") and len(text) > 40 for text in texts)


def test_a_part_of_an_axis_brings_out_the_trials_that_pass_there(browser: Any, reports: Path):
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, wrong):
        area = page.locator("#parallel .nsewdrag").first
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        left = box["x"] + box["width"] * 0.01
        page.mouse.move(left, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(left + 30, box["y"] + box["height"] / 3, steps=5)
        page.mouse.up()
        page.wait_for_function(f"() => {LAST}.name.endsWith('chosen')")
        traces = page.evaluate("document.querySelector('#parallel .canvas').data.map(t => [t.name, t.opacity])")
        assert all(opacity == 0.1 for _, opacity in traces[:-1])
        first = page.evaluate(f"(trace => trace.y.filter((_, at) => trace.x[at] === 0))({LAST})")
        assert len(first) == int(traces[-1][0].partition(" ")[0]) < 30  # of 64; of its axis alone
        assert all(share > 0.6 for share in first)

        def is_let_go() -> bool:
            page.mouse.dblclick(left + 200, box["y"] + box["height"] / 2)  # two clicks, if the page is slow
            return bool(page.evaluate(f"!{LAST}.name.endsWith('chosen')"))

        until(is_let_go, every_s=1.0)
        assert wrong == []


def test_no_button_uploads_a_picture(browser: Any, reports: Path):
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, _):
        buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(e => e.dataset.title)")
    assert {button.partition(" ")[0] for button in buttons} == {"Download", "Zoom", "Pan", "Box", "Reset"}


def test_a_finger_scrolls_the_page_over_a_picture(browser: Any, reports: Path):
    size = {"width": 390, "height": 844}
    with opened(browser, reports / "usual.html", **size, has_touch=True, is_mobile=True) as (page, _):
        assert page.evaluate("document.querySelector('#curves .canvas').layout.dragmode") is False
        assert page.locator(".modebar-btn").count() == 0


def test_pictures_fit_on_paper(browser: Any, reports: Path):
    widths = "[...document.querySelectorAll('.canvas .main-svg')].map(svg => svg.getBoundingClientRect().width)"
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, _):
        before = page.evaluate(widths)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert max(page.evaluate(widths)) == 680
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(widths) == before


def test_markup_that_got_through_would_run_nothing(browser: Any, reports: Path, tmp_path: Path):
    """The second line of defence: what the page's policy lets through, should a text ever not be escaped."""
    html = (reports / "usual.html").read_text()
    planted = f'<script>{hostile.RUN}</script><img src="http://127.0.0.1:9/a.png" onerror="{hostile.RUN}">'
    path = tmp_path / "planted.html"
    path.write_text(html.replace("<main>", f"<main>{planted}"))
    with opened(browser, path, width=1280, height=900) as (page, wrong):
        assert page.evaluate("globalThis.harmed") is None
        assert "failed: csp" in wrong  # the image was never asked for
        assert sum("Content Security Policy" in entry for entry in wrong) >= 2  # and the script did not run


def test_a_saved_figure_opens_on_its_own(browser: Any, reports: Path, tmp_path: Path):
    path = Results(reports / "usual").plot.slices("lr", "width").save(tmp_path / "slices.html")
    with opened(browser, path, width=1280, height=900) as (page, wrong):
        assert min(page.evaluate(DRAWN)) > 0
        assert wrong == []
