"""Puts the report of a sweep together and writes it to a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hpsearch.paths import report_path
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.files import record_outputs, replace_file
from hpsearch.results.html.elements import Element, element
from hpsearch.results.html.page import html_page, picture
from hpsearch.results.labels import one_line
from hpsearch.results.report.sections import Section, sections
from hpsearch.results.report.summary import remarks, tiles
from hpsearch.time_of_day import utc_now

STATES = {
    "done": "is done",
    "gave_up": "gave up",
    "interrupted": "was interrupted and can be resumed",
}
"""State of a sweep to its text. `running` is missing: such a sweep runs, or its driver was killed."""


def report_html(findings: Findings, *, is_static: bool = False, now: datetime | None = None) -> str:
    """The report of a sweep as one HTML page.

    Args:
        findings: What was read from the ledger, from `read_findings`.
        is_static: True makes a page with SVG pictures and no scripts, about 4.8 MB smaller. False makes interactive
            charts.
        now: Time of the report; None for the current time.

    Returns:
        The page, which loads nothing from the network.
    """
    made = list(sections(findings, lambda chart: picture(chart, is_static=is_static)))
    title = one_line(findings.sweep.name, most=80)
    body = [
        element(
            "header",
            element("h1", title),
            element("p", _lead(findings, now), class_="lead"),
            tiles(findings),
            remarks(findings),
        ),
        _navigation(made),
        element("main", *(section.to_element() for section in made)),
        element("footer", "Made by hpsearch from its ledger. This page loads nothing from the network."),
    ]
    return html_page(f"{title}: report", body, is_static=is_static)


def write_report(findings: Findings, path: Path, *, is_static: bool = False) -> None:
    """Write the report to a file, which is replaced atomically.

    Args:
        findings: What was read from the ledger.
        path: File to write.
        is_static: As for `report_html`.

    Raises:
        LedgerError: The file can't be written.
    """
    html = report_html(findings, is_static=is_static)
    digest = replace_file(path, html.encode("utf-8", "replace"))
    folder = findings.home / findings.sweep.folder
    if path == report_path(folder):
        record_outputs(folder, {path: digest}, change=findings.change)


def _lead(findings: Findings, now: datetime | None) -> str:
    sweep = findings.sweep
    method = "/".join(filter(None, (sweep.spec["method"], sweep.spec.get("sampler"))))
    rule = sweep.spec["early_terminate"]["type"]
    goal = f"{sweep.spec['metric']['goal']} {one_line(sweep.metric)}"
    at = (now or utc_now()).strftime("%Y-%m-%d %H:%M UTC")
    stopping = "no early stopping" if rule == "none" else f"early stopping by {rule}"
    state = STATES.get(sweep.state, "is running" if findings.is_alive else "was killed and can be resumed")
    return f"{goal[0].upper()}{goal[1:]} with {method}, {stopping}. As of {at} the sweep {state}."


def _navigation(made: list[Section]) -> Element:
    links = (element("a", section.label, href=f"#{section.key}") for section in made)
    return element("nav", element("div", *links), aria_label="Sections")
