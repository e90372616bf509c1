"""The report as a reader has it: every picture drawn, nothing asked of the network, nothing run that a user wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpsearch.api.results import Results
from hpsearch.results.analysis.findings import read_findings
from hpsearch.results.charts.palette import DARK, LIGHT
from hpsearch.results.report.write import write_report
from tests.support import curves, hostile
from tests.support.browser import new_context
from tests.support.waiting import until

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
        assert page.locator("script").count() == (
            0 if name.endswith("static") else 12
        )  # 9 of data, colours, plotly, ours
        assert wrong == []


OUTSIDE = """() => [...document.querySelectorAll('figure.live .canvas')].flatMap(canvas => {
  const box = canvas.getBoundingClientRect();
  const isOut = ({left, right, top, bottom, width}) => width > 0 && (
    left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1);
  return [...canvas.querySelectorAll('text, path.point')].filter(e => isOut(e.getBoundingClientRect()))
    .map(e => e.textContent || 'a marker');
})"""
"""Texts and markers of pictures that are cut off at the edge."""


@SIZES
@pytest.mark.parametrize("name", ["usual", "hostile"])
def test_nothing_is_cut_off_at_the_edge_of_a_picture(name, width, height, browser: Any, reports: Path):
    with opened(browser, reports / f"{name}.html", width=width, height=height) as (page, _):
        assert page.evaluate(OUTSIDE) == []


def test_who_can_not_drag_is_not_told_to(browser: Any, reports: Path):
    assert "Drag over" not in (reports / "usual-static.html").read_text()
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, _):
        assert page.get_by_text("Drag over").is_visible()
    with opened(browser, reports / "usual.html", width=390, height=844, has_touch=True, is_mobile=True) as (page, _):
        assert not page.get_by_text("Drag over").is_visible()


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


def test_a_point_under_the_mouse_says_whose_it_is_in_short_numbers(browser: Any, reports: Path):
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, _):
        page.evaluate("Plotly.Fx.hover(document.querySelector('#curves .canvas'), [{curveNumber: 0, pointNumber: 0}])")
        said = page.locator("#curves .hovertext tspan").all_text_contents()
    assert re.fullmatch(r"trial \d+", said[0])
    assert said[1] == "epoch: 1"
    assert re.fullmatch(r"val_loss \(lower is better\): \d\.\d{1,3}", said[2])


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


SEEN = """() => {
  const [body, figure] = [getComputedStyle(document.body), document.querySelector('figure.live .main-svg')];
  return [body.backgroundColor, body.color, figure ? figure.style.background.replaceAll(' ', '') : null];
}"""
"""Ground and text of the page, ground of an interactive picture."""
RANGE = "document.querySelector('#curves .canvas')._fullLayout.yaxis.range"
IS_SEEN = f"wanted => String(({SEEN})()) === String(wanted)"
LIGHT_PAGE = ["rgb(255, 255, 255)", "rgb(29, 39, 51)", "rgb(255,255,255)"]
DARK_PAGE = ["rgb(20, 25, 31)", "rgb(227, 232, 238)", "rgb(20,25,31)"]
OF_TEXT = """() => [...new Set([...document.querySelectorAll('body *')]
  .filter(e => [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim()) && e.tagName !== 'SCRIPT')
  .map(e => e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color))]"""
"""Every colour that letters have."""


def hexadecimal(colour: str) -> str:
    """`rgb(1, 2, 3)` as `#010203`."""
    return "#" + "".join(f"{int(part):02x}" for part in colour[4:-1].split(","))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_letter_has_a_colour_of_the_palette_of_its_screen(scheme, browser: Any, reports: Path):
    palette = {"light": LIGHT, "dark": DARK}[scheme]
    options: Any = {"width": 1280, "height": 900, "color_scheme": scheme}
    with opened(browser, reports / "usual.html", **options) as (page, wrong):
        found = {hexadecimal(colour) for colour in page.evaluate(OF_TEXT)}
        assert found <= {palette[name] for name in ("ink", "faint", "blue", "warm")}
        assert wrong == []


def test_a_screen_that_turns_dark_takes_the_open_report_along(browser: Any, reports: Path):
    with opened(browser, reports / "usual.html", width=1280, height=900) as (page, wrong):
        assert page.evaluate(SEEN) == LIGHT_PAGE
        whole = page.evaluate(RANGE)
        area = page.locator("#curves .nsewdrag").first
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 150, steps=5)
        page.mouse.up()
        page.wait_for_function(f"whole => String({RANGE}) !== String(whole)", arg=whole, timeout=120_000)
        zoomed = page.evaluate(RANGE)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(IS_SEEN, arg=DARK_PAGE, timeout=120_000)
        assert page.evaluate(RANGE) == zoomed, "what a reader looks at stays"
        page.emulate_media(color_scheme="light")
        page.wait_for_function(IS_SEEN, arg=LIGHT_PAGE, timeout=120_000)
        assert wrong == []


def test_paper_is_light_on_a_dark_screen_too(browser: Any, reports: Path):
    with opened(browser, reports / "usual.html", width=1280, height=900, color_scheme="dark") as (page, _):
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(SEEN) == LIGHT_PAGE
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(SEEN) == DARK_PAGE


WIDER = """() => [...document.querySelectorAll('.table')].filter(e => e.scrollWidth > e.clientWidth)
  .map(e => e.textContent)"""
"""Tables that need more room than there is."""


@pytest.mark.parametrize("name", ["usual", "hostile", "many"])
def test_tables_fit_on_paper(name, browser: Any, reports: Path, tmp_path: Path):
    path = reports / f"{name}-static.html"
    if name == "many":
        names = {f"weight_decay_of_layer_{at}": {"min": 1e-6, "max": 1.0, "log": True} for at in range(9)}
        home = tmp_path / "sweeps"
        sweep = curves.run(home, parameters={**curves.SPEC["parameters"], **names})
        path = Results(home, sweep).report(tmp_path / "many.html", static=True)
    with opened(browser, path, width=680, height=900) as (page, _):
        page.emulate_media(media="print")
        assert page.evaluate(WIDER) == []


@pytest.mark.parametrize(("media", "scheme"), [("screen", "light"), ("screen", "dark"), ("print", "dark")])
def test_a_drawn_picture_is_dark_with_its_page_and_light_on_paper(media, scheme, browser: Any, reports: Path):
    path = reports / "usual-static.html"
    with opened(browser, path, width=1280, height=900, color_scheme=scheme) as (page, _):
        page.emulate_media(media=media)
        shot: Any = Image.open(BytesIO(page.locator("#curves img").screenshot())).convert("RGB")
        colours = {
            f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue) in shot.getcolors(shot.width * shot.height)
        }
    ours, others = (DARK, LIGHT) if (media, scheme) == ("screen", "dark") else (LIGHT, DARK)
    assert {ours[name] for name in ("paper", "ink", "blue", "warm")} <= colours
    assert not {others[name] for name in ("paper", "blue", "warm")} & colours  # soft edges have many colours


def test_a_value_that_is_a_colour_keeps_its_name_in_the_dark(browser: Any, tmp_path: Path):
    words = {"background": {"values": [LIGHT["paper"], LIGHT["ink"]]}, "lr": {"min": 0.1, "max": 1.0}}
    landscape = curves.Landscape(
        report=lambda config, epoch: {"val_loss": config["lr"] / epoch}, failure=lambda _: None
    )
    name = curves.run(tmp_path / "sweeps", parameters=words, landscape=landscape)
    path = Results(tmp_path / "sweeps", name).plot.slices("background").save(tmp_path / "colours.html")
    with opened(browser, path, width=1280, height=900, color_scheme="dark") as (page, _):
        assert set(page.locator(".xtick text").all_text_contents()) == {LIGHT["paper"], LIGHT["ink"]}


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
