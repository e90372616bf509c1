"""The head of the report: what one sees in ten seconds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hpsearch.results.analysis.findings import Findings
from hpsearch.results.html.elements import Element, element
from hpsearch.results.labels import number, one_line
from hpsearch.results.summaries import ahead_lines, note_lines
from hpsearch.text import duration_text

if TYPE_CHECKING:
    from hpsearch.results.analysis.importance import Importance


def tiles(found: Findings) -> Element:
    """How far, how good, what matters, what failed, at what cost."""
    states = Counter(trial.state for trial in found.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common()) or "no trial yet"
    total = max(found.spec.max_trials, len(found.trials))
    causes = Counter(trial.cause or "failed" for trial in found.trials if trial.state == "failed")
    failed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "every trial is fine"
    spent = found.steps[-1].seconds if found.steps else sum(trial.duration_s or 0.0 for trial in found.trials)
    return element(
        "dl",
        _tile("How far", f"{len(found.trials)} of {total}", f"trials: {counts}"),
        _best_tile(found),
        _matters_tile(found.importance),
        _tile("What failed", str(sum(causes.values()) or "nothing"), failed),
        _tile("What it took", duration_text(spent), saved_sentence(found)),
        class_="tiles",
    )


def _matters_tile(importance: Importance) -> Element:
    """The most important parameter, then the next two."""
    shares = [f"{_short(row.parameter)} {row.importance:.0%}" for row in importance.rows[:3]]
    if not shares:
        return _tile("What matters", "not known yet", importance.sentence)
    first, others = importance.rows[0], ", then ".join(shares[1:])
    sure = f"between {first.low:.0%} and {first.high:.0%}"
    return _tile("What matters", shares[0], f"{sure}; then {others}" if others else sure)


def _best_tile(found: Findings) -> Element:
    """The best trial; where one that is not over is better, that one beside it."""
    name, best, step = f"Best {_short(found.sweep.metric)}", found.best, found.steps[-1] if found.steps else None
    if best is None and step is None:
        return _tile(name, "none yet", "no trial has reported", kind="best")
    ahead = f"{number(step.value)} in trial {step.trial}, not over yet" if step is not None else ""
    if best is None:
        return _tile(name, number(step.value) if step else "-", ahead, kind="best")
    is_ahead = step is not None and found.sweep.sign * (step.value - (best.best_value or 0.0)) < 0
    where = f"trial {best.number}, epoch {best.best_epoch}" + (f"; {ahead}" if is_ahead else "")
    return _tile(name, number(best.best_value), where, kind="best")


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
    lines += note_lines(found.sweep, found.trials)
    lines += [f"{edge}" for edge in found.edges]
    lines += ahead_lines(found.sweep, found.trials, found.reports)
    return element("ul", *(element("li", line) for line in lines), class_="remarks") if lines else None


def _short(name: str) -> str:
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
