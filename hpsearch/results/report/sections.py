"""The sections of the report, from what one sees first to how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hpsearch.causes import CAUSE_CLASSES
from hpsearch.ledger.records import TrialRecord
from hpsearch.results import plots
from hpsearch.results.charts.description import Chart
from hpsearch.results.fences import fence_lines
from hpsearch.results.fidelity import ahead_of_winner
from hpsearch.results.findings import Findings
from hpsearch.results.report.html import Element, Node, element
from hpsearch.results.report.made import made
from hpsearch.results.report.tables import rungs_table, table, top_table
from hpsearch.results.shown import architecture_lines, best_spec, remark_lines, trial_command
from hpsearch.results.texts import number, one_line, seconds

Draw = Callable[[Chart], Node]
"""Turns a chart into what stands on the page."""
FOLLOWS = {
    "config": "the configuration's fault: not tried again, and the search avoids it",
    "infra": "the machine's fault: tried again elsewhere",
    "unknown": "tried again a limited number of times, then counted against the configuration",
}
"""What follows from each class of causes."""
MAX_GROUPS = 20
"""Different failures that are told of."""


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
    yield Section("importance", "Importance", "What matters", tuple(_importance(found, draw)))
    yield Section("parallel", "All trials", "All trials at a glance", (draw(plots.parallel_of(found)),))
    if slices := plots.slices_of(found):
        yield Section("slices", "Parameters", "The parameters that matter most", (_pair(slices, draw),))
    if rungs := rungs_table(found.rung_table):
        yield Section("rungs", "Stopping", "What stopping saved", (element("p", saved_sentence(found)), rungs))
    if top := top_table(found):
        yield Section("top", "Top ten", "Top ten", (top,))
    yield Section("failures", "Failures", "What failed and why", tuple(_failures(found)))
    yield Section("made", "Origin", "How it was made", tuple(made(found)))


def tiles(found: Findings) -> Element:
    """How far, how good, what matters, what failed, at what cost."""
    best = found.best
    states = Counter(trial.state for trial in found.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common()) or "no trial yet"
    limit = found.sweep.spec["limits"]["trials"]
    parts = [_tile("How far", f"{len(found.trials)}" + (f" of {limit}" if limit else ""), f"trials: {counts}")]
    if best is not None:
        where = f"trial {best.number}, epoch {best.best_epoch}"
        parts.append(_tile(f"Best {short(found.sweep.metric)}", number(best.best_value), where, kind="best"))
    else:
        parts.append(_tile(f"Best {short(found.sweep.metric)}", "none yet", "no trial has succeeded"))
    rows = found.importance.rows
    matters = ", then ".join(f"{short(row.parameter)} {row.importance:.0%}" for row in rows[1:3])
    first = f"{short(rows[0].parameter)} {rows[0].importance:.0%}" if rows else "not known yet"
    parts.append(_tile("What matters", first, f"then {matters}" if matters else found.importance.sentence))
    causes = Counter(trial.cause or "failed" for trial in found.trials if trial.state == "failed")
    failed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "every trial is fine"
    parts.append(_tile("What failed", str(sum(causes.values()) or "nothing"), failed))
    spent = found.steps[-1].seconds if found.steps else sum(trial.duration_s or 0.0 for trial in found.trials)
    parts.append(_tile("What it took", seconds(spent), saved_sentence(found)))
    return element("dl", *parts, class_="tiles")


def saved_sentence(found: Findings) -> str:
    """Epochs that were trained, and what stopping saved of them."""
    rungs = found.rung_table
    sentence = f"{rungs.trained_epochs} epochs trained"
    if rungs.saved_epochs:
        sentence += f"; stopping saved {rungs.saved_epochs} ({rungs.saved_share:.0%} of full training)"
    return sentence


def remarks(found: Findings) -> Element | None:
    """What one should know before reading on; None where there is nothing."""
    lines = [found.sweep.reason] if found.sweep.reason else []
    lines += remark_lines(found.sweep, found.trials)
    lines += [f"{edge}" for edge in found.edges]
    lines += _ahead(found)
    return element("ul", *(element("li", line) for line in lines), class_="remarks") if lines else None


def _ahead(found: Findings) -> list[str]:
    """The stopped trial that was furthest ahead of the winner."""
    ahead = ahead_of_winner(found.sweep, found.trials, found.reports)
    if not ahead:
        return []
    first = ahead[0]
    others = f" {len(ahead) - 1} more were ahead as well." if len(ahead) > 1 else ""
    return [
        f"Trial {first.trial} was stopped after epoch {first.epoch} at {number(first.value)}, "
        f"where the best trial {first.winner} stood at {number(first.winner_value)}.{others}"
    ]


def short(name: str) -> str:
    """A name as it stands in a tile."""
    return one_line(name, most=24)


def _tile(name: str, figure: str, detail: str, *, kind: str = "") -> Element:
    return element(
        "div",
        element("dt", name),
        element("dd", figure, class_="figure"),
        element("dd", detail, class_="detail"),
        class_=f"tile {kind}".strip(),
    )


def _best(found: Findings) -> Iterator[Node]:
    from hpsearch.specfile import dump_yaml

    if found.best is None:
        yield element("p", "No trial has succeeded yet.", class_="nothing")
        return
    spec, sentence = best_spec(found.sweep, found.trials)
    yield element("p", f"{sentence[0].upper()}{sentence[1:]}.")
    if words := architecture_lines(found.sweep, found.trials):
        yield element("ul", *(element("li", line) for line in words))
    yield element("p", "As a spec for ", element("code", "hpsearch sweep"), ", every parameter a constant:")
    yield element("pre", dump_yaml(spec), tabindex="0")
    if command := trial_command(found.sweep, found.trials, home=found.home):
        yield element("p", "Or train it again by hand, without Ray:")
        yield element("pre", command, class_="wrapped", tabindex="0")


def _importance(found: Findings, draw: Draw) -> Iterator[Node]:
    yield draw(plots.importance_of(found))
    if found.edges:
        yield element("ul", *(element("li", str(edge)) for edge in found.edges), class_="remarks")


def _pair(charts: Any, draw: Draw) -> Element:
    return element("div", *(element("div", element("h3", c.title), draw(c)) for c in charts), class_="pair")


def _failures(found: Findings) -> Iterator[Node]:
    failed = [trial for trial in found.trials if trial.state == "failed"]
    retried = sum(failure.was_retried for failure in found.failures)
    if not failed:
        more = f" {retried} attempts failed and were tried again." if retried else ""
        yield element("p", f"No trial failed.{more}")
        return
    causes = Counter(trial.cause for trial in failed if trial.cause is not None)
    rows = [(cause, count, FOLLOWS.get(str(CAUSE_CLASSES.get(cause)), "")) for cause, count in causes.most_common()]
    yield table(
        f"{len(failed)} trials failed; {retried} attempts were tried again.", ["cause", "trials", "what follows"], rows
    )
    if lines := fence_lines(found.trials):
        yield element("p", "Where configurations fail:")
        yield element("ul", *(element("li", line) for line in lines))
    yield from _groups(found, failed)


def _groups(found: Findings, failed: list[TrialRecord]) -> Iterator[Node]:
    groups: dict[tuple[str, str], list[int]] = {}
    for trial in failed:
        groups.setdefault((trial.cause or "", trial.evidence or ""), []).append(trial.number)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = [(cause, evidence, _numbers(numbers)) for (cause, evidence), numbers in ranked[:MAX_GROUPS]]
    more = f" {len(ranked) - MAX_GROUPS} more are in `hpsearch show`." if len(ranked) > MAX_GROUPS else ""
    yield table(f"Different failures, the most frequent first.{more}", ["cause", "evidence", "trials"], rows)


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
