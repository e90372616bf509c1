"""The sections of the report, from the best configuration to how the sweep was made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hpsearch.results import plots
from hpsearch.results.analysis.best import architecture_lines, best_spec, trial_command
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.charts.description import Chart
from hpsearch.results.html.elements import Element, Node, element
from hpsearch.results.report.failures import failure_nodes
from hpsearch.results.report.origin import origin_nodes
from hpsearch.results.report.summary import saved_sentence
from hpsearch.results.report.tables import rungs_table, top_table
from hpsearch.spec.yaml_writer import dump_yaml

Draw = Callable[[Chart], Node]
"""Draws a chart as a node of the page."""


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    key: str
    """Identifier in links."""
    label: str
    """Short title in the navigation."""
    title: str
    """Text of the heading."""
    content: tuple[Node, ...]
    """Content below the heading."""

    def to_element(self) -> Element:
        """The section as an HTML element."""
        return element("section", element("h2", self.title), *self.content, id=self.key)


def sections(findings: Findings, draw: Draw) -> Iterator[Section]:
    """All sections that have content, in order.

    Args:
        findings: What was read from the ledger.
        draw: Draws a chart.
    """
    yield Section("best", "Best", "Best configuration", tuple(_best(findings)))
    yield Section("curves", "Curves", "Learning curves", (draw(plots.curves_of(findings)),))
    yield Section("progress", "Progress", "Best so far", (_pair(plots.progress_of(findings), draw),))
    yield Section("importance", "Importance", "Importance of the parameters", (draw(plots.importance_of(findings)),))
    yield Section("parallel", "All trials", "All trials at a glance", (draw(plots.parallel_of(findings)),))
    if slices := plots.slices_of(findings):
        yield Section("slices", "Parameters", "The most important parameters", (_pair(slices, draw),))
    if rungs := rungs_table(findings.rung_table):
        saved = element("p", f"{saved_sentence(findings)}.")
        yield Section("rungs", "Stopping", "What early stopping saved", (saved, rungs))
    if top := top_table(findings):
        yield Section("top", "Top ten", "Top ten", (top,))
    yield Section("failures", "Failures", "What failed and why", tuple(failure_nodes(findings)))
    yield Section("made", "Origin", "How it was made", tuple(origin_nodes(findings)))


def _best(findings: Findings) -> Iterator[Node]:
    if findings.best is None:
        yield element("p", "No trial has succeeded yet.", class_="nothing")
        return
    spec, sentence = best_spec(findings.sweep, findings.trials)
    yield element("p", f"{sentence[0].upper()}{sentence[1:]}.")
    if lines := architecture_lines(findings.sweep, findings.trials):
        yield element("ul", *(element("li", line) for line in lines))
    whole = [
        element(
            "p", "As a spec for ", element("code", "python -m hpsearch sweep"), ", with every parameter a constant:"
        ),
        element("pre", dump_yaml(spec), tabindex="0"),
    ]
    command = trial_command(findings.sweep, findings.trials, home=findings.home)
    by_hand = (
        [
            element("p", "To train it again in one process, without Ray:"),
            element("pre", _broken(command), class_="wrapped", tabindex="0"),
        ]
        if command
        else []
    )
    yield element("div", element("div", *whole), element("div", *by_hand), class_="pair")


def _broken(command: str) -> str:
    """A command with one line for each setting, unless a shell would read that differently."""
    broken = command.replace(" --set ", " \\\n  --set ")
    arguments = [each for each in shlex.split(broken) if each != "\n"]  # only shlex keeps escaped line ends
    return broken if arguments == shlex.split(command) else command


def _pair(charts: Any, draw: Draw) -> Element:
    """Charts beside each other, each below its title."""
    return element("div", *(element("div", element("h3", c.title), draw(c)) for c in charts), class_="pair")
