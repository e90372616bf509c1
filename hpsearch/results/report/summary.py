"""The summary at the top of the report: five tiles and the remarks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hpsearch.results.analysis.findings import Findings
from hpsearch.results.html.elements import Element, element
from hpsearch.results.labels import number, one_line
from hpsearch.results.summaries import ahead_lines, note_lines
from hpsearch.text import counted, duration_text

if TYPE_CHECKING:
    from hpsearch.results.analysis.importance import Importance


def tiles(findings: Findings) -> Element:
    """Five tiles: progress, best value, most important parameter, failures and cost."""
    states = Counter(trial.state for trial in findings.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common()) or "no trials yet"
    total = max(findings.spec.max_trials, len(findings.trials))
    causes = Counter(trial.cause or "failed" for trial in findings.trials if trial.state == "failed")
    failed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "no trial has failed"
    spent = findings.steps[-1].seconds if findings.steps else sum(trial.duration_s or 0.0 for trial in findings.trials)
    return element(
        "dl",
        _tile("Trials", f"{len(findings.trials)} of {total}", counts),
        _best_tile(findings),
        _matters_tile(findings.importance),
        _tile("Failed trials", str(sum(causes.values()) or "none"), failed),
        _tile("Training time", duration_text(spent), saved_sentence(findings)),
        class_="tiles",
    )


def _matters_tile(importance: Importance) -> Element:
    """The most important parameter, and the next two."""
    shares = [f"{_short(row.parameter)} {row.importance:.0%}" for row in importance.rows[:3]]
    if not shares:
        return _tile("Most important", "not known yet", importance.sentence)
    first, others = importance.rows[0], ", then ".join(shares[1:])
    interval = f"between {first.low:.0%} and {first.high:.0%}"
    return _tile("Most important", shares[0], f"{interval}; then {others}" if others else interval)


def _best_tile(findings: Findings) -> Element:
    """The best finished trial, and an unfinished one if that is better."""
    name, best, step = (
        f"Best {_short(findings.sweep.metric)}",
        findings.best,
        findings.steps[-1] if findings.steps else None,
    )
    if best is None and step is None:
        return _tile(name, "none yet", "no trial has reported a value", kind="best")
    ahead = f"{number(step.value)} in trial {step.trial}, unfinished" if step is not None else ""
    if best is None:
        return _tile(name, number(step.value) if step else "-", ahead, kind="best")
    is_ahead = step is not None and findings.sweep.sign * (step.value - (best.best_value or 0.0)) < 0
    where = f"trial {best.number}, epoch {best.best_epoch}" + (f"; {ahead}" if is_ahead else "")
    return _tile(name, number(best.best_value), where, kind="best")


def saved_sentence(findings: Findings) -> str:
    """A text on the epochs that were trained, and those that early stopping saved."""
    rungs = findings.rung_table
    sentence = f"{counted(rungs.trained_epochs, 'epoch')} trained"
    if rungs.saved_epochs:
        sentence += f"; early stopping saved {rungs.saved_epochs} ({rungs.saved_share:.0%} of full training)"
    return sentence


def remarks(findings: Findings) -> Element | None:
    """Remarks that a reader should know first, such as parameters whose best value is at an end; None without any."""
    lines = [findings.sweep.reason] if findings.sweep.reason else []
    lines += note_lines(findings.sweep, findings.trials)
    lines += [f"{edge}" for edge in findings.edges]
    lines += ahead_lines(findings.sweep, findings.trials, findings.reports)
    return element("ul", *(element("li", line) for line in lines), class_="remarks") if lines else None


def _short(name: str) -> str:
    """A name shortened for a tile."""
    return one_line(name, most=24)


def _tile(name: str, figure: str, detail: str, *, kind: str = "") -> Element:
    return element(
        "div",
        element("dt", name),
        element("dd", figure, class_="figure"),
        element("dd", detail, class_="detail"),
        class_=f"tile {kind}".strip(),
    )
