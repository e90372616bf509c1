"""Writes the report of a sweep."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hpsearch.results.analysis.findings import Findings
from hpsearch.results.files import replace_file
from hpsearch.results.html.elements import Element, element
from hpsearch.results.html.page import html_page, picture
from hpsearch.results.labels import one_line
from hpsearch.results.report.sections import Section, sections
from hpsearch.results.report.summary import remarks, tiles

STATES = {
    "done": "is done",
    "gave_up": "gave up",
    "interrupted": "was interrupted, and can go on",
}
"""How a sweep stands that is not `running`, as one that was killed is too."""


def report_html(found: Findings, *, is_static: bool = False, now: datetime | None = None) -> str:
    """The report as one HTML text.

    Args:
        found: What there is to tell.
        is_static: With drawn pictures and no script; some 4.8 MB smaller.
        now: Time of the report; None for now.
    """
    made = list(sections(found, lambda chart: picture(chart, is_static=is_static)))
    title = one_line(found.sweep.name, most=80)
    body = [
        element(
            "header",
            element("h1", title),
            element("p", _lead(found, now), class_="lead"),
            tiles(found),
            remarks(found),
        ),
        _navigation(made),
        element("main", *(section.to_element() for section in made)),
        element("footer", "Made by hpsearch from its ledger. This file asks the network for nothing."),
    ]
    return html_page(f"{title}: report", body, is_static=is_static)


def write_report(found: Findings, path: Path, *, is_static: bool = False) -> None:
    """Write the report to a file, in one step; see `report_html`.

    Raises:
        LedgerError: It can't be written.
    """
    html = report_html(found, is_static=is_static)
    replace_file(path, html.encode("utf-8", "replace"))


def _lead(found: Findings, now: datetime | None) -> str:
    sweep = found.sweep
    method = "/".join(filter(None, (sweep.spec["method"], sweep.spec.get("sampler"))))
    rule = sweep.spec["early_terminate"]["type"]
    goal = f"{sweep.spec['metric']['goal']} {one_line(sweep.metric)}"
    at = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    stopping = "no early stopping" if rule == "none" else f"stopping by {rule}"
    state = STATES.get(sweep.state, "runs" if found.is_alive else "was killed, and can go on: hpsearch resume")
    return f"{goal} by {method}, {stopping}. As of {at} the sweep {state}."


def _navigation(made: list[Section]) -> Element:
    links = (element("a", section.label, href=f"#{section.key}") for section in made)
    return element("nav", element("div", *links), aria_label="Sections")
