"""The sections of the report, from what one sees first to how it was made."""

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
from hpsearch.results.report.failures import failed
from hpsearch.results.report.origin import made
from hpsearch.results.report.summary import saved_sentence
from hpsearch.results.report.tables import rungs_table, top_table

Draw = Callable[[Chart], Node]
"""Turns a chart into what stands on the page."""


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    key: str
    """Where links lead to."""
    label: str
    """In the navigation."""
    title: str
    """The heading."""
    content: tuple[Node, ...]
    """What is below."""

    def to_element(self) -> Element:
        """The section on the page."""
        return element("section", element("h2", self.title), *self.content, id=self.key)


def sections(found: Findings, draw: Draw) -> Iterator[Section]:
    """All sections that have something to say, in order.

    Args:
        found: The sweep.
        draw: Makes a chart's picture.
    """
    yield Section("best", "Best", "Best configuration", tuple(_best(found)))
    yield Section("curves", "Curves", "Learning curves", (draw(plots.curves_of(found)),))
    yield Section("progress", "Progress", "Best so far", (_pair(plots.progress_of(found), draw),))
    yield Section("importance", "Importance", "What matters", (draw(plots.importance_of(found)),))
    yield Section("parallel", "All trials", "All trials at a glance", (draw(plots.parallel_of(found)),))
    if slices := plots.slices_of(found):
        yield Section("slices", "Parameters", "The parameters that matter most", (_pair(slices, draw),))
    if rungs := rungs_table(found.rung_table):
        yield Section("rungs", "Stopping", "What stopping saved", (element("p", saved_sentence(found)), rungs))
    if top := top_table(found):
        yield Section("top", "Top ten", "Top ten", (top,))
    yield Section("failures", "Failures", "What failed and why", tuple(failed(found)))
    yield Section("made", "Origin", "How it was made", tuple(made(found)))


def _best(found: Findings) -> Iterator[Node]:
    from hpsearch.spec.file import dump_yaml

    if found.best is None:
        yield element("p", "No trial has succeeded yet.", class_="nothing")
        return
    spec, sentence = best_spec(found.sweep, found.trials)
    yield element("p", f"{sentence[0].upper()}{sentence[1:]}.")
    if words := architecture_lines(found.sweep, found.trials):
        yield element("ul", *(element("li", line) for line in words))
    whole = [
        element("p", "As a spec for ", element("code", "hpsearch sweep"), ", every parameter a constant:"),
        element("pre", dump_yaml(spec), tabindex="0"),
    ]
    command = trial_command(found.sweep, found.trials, home=found.home)
    by_hand = (
        [
            element("p", "Or train it again by hand, without Ray:"),
            element("pre", _broken(command), class_="wrapped", tabindex="0"),
        ]
        if command
        else []
    )
    yield element("div", element("div", *whole), element("div", *by_hand), class_="pair")


def _broken(command: str) -> str:
    """A command line with a line for each setting, where a shell reads that in the same way."""
    broken = command.replace(" --set ", " \\\n  --set ")
    words = [word for word in shlex.split(broken) if word != "\n"]  # what a shell drops, shlex keeps
    return broken if words == shlex.split(command) else command


def _pair(charts: Any, draw: Draw) -> Element:
    return element("div", *(element("div", element("h3", c.title), draw(c)) for c in charts), class_="pair")
