"""The section "What failed and why": causes, regions of the space that fail, and each distinct failure with its log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpsearch.results.analysis.failure_regions import failure_region_lines
from hpsearch.results.analysis.failures import WHAT_FOLLOWS, FailedAttempt, count_by_cause, failed_attempts, log_tail
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.html.elements import Element, Node, element
from hpsearch.results.report.tables import table
from hpsearch.text import counted

MAX_GROUPS = 12
"""Most distinct failures that are shown, the most frequent ones."""
MAX_NUMBERS = 8
"""Most trial numbers that are listed for a failure."""
MAX_EVIDENCE = 600
"""Most characters of the evidence of a failure."""


def failure_nodes(findings: Findings) -> Iterator[Node]:
    """The content of the section."""
    attempts = failed_attempts(findings.sweep, findings.trials, findings.failures, home=findings.home)
    if not attempts:
        yield element("p", "Nothing failed.")
        return
    causes = [
        (each.cause, each.attempts, each.trials, each.final, f"{each.cause_class}: {WHAT_FOLLOWS[each.cause_class]}")
        for each in count_by_cause(attempts)
    ]
    head = ["cause", "attempts", "trials", "failed for good", "consequence"]
    yield table("Causes of failed attempts, the most frequent first.", head, causes)
    if lines := failure_region_lines(findings.trials):
        yield element("p", "Configurations that fail:")
        yield element("ul", *(element("li", line) for line in lines))
    groups = _groups(attempts)
    yield from (_group(group) for group in groups[:MAX_GROUPS])
    if len(groups) > MAX_GROUPS:
        rest = f"To list {counted(len(groups) - MAX_GROUPS, 'more distinct failure')}, run "
        yield element("p", rest, element("code", f"python -m hpsearch show {findings.sweep.name} --failures"), ".")


def _groups(attempts: Sequence[FailedAttempt]) -> list[list[FailedAttempt]]:
    """The attempts grouped by cause and evidence, the largest group first."""
    groups: dict[tuple[str, str], list[FailedAttempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.cause, attempt.evidence), []).append(attempt)
    return sorted(groups.values(), key=lambda group: -len(group))


def _group(group: list[FailedAttempt]) -> Element:
    first = group[0]
    evidence = first.evidence if len(first.evidence) <= MAX_EVIDENCE else f"{first.evidence[:MAX_EVIDENCE]} ..."
    retried = sum(attempt.was_retried for attempt in group)
    again = f"; retried {counted(retried, 'time')}" if retried else ""
    tail = log_tail(first.log)
    return element(
        "div",
        element("h3", f"{first.cause}: {_trials(group)}{again}"),
        element("p", evidence or "No evidence was recorded."),
        element("p", first.place) if first.place else None,
        element(
            "details",
            element("summary", f"End of the log of trial {first.trial}"),
            element("pre", tail or "The log is empty.", tabindex="0", class_="wrapped"),
        ),
        class_="failure",
    )


def _trials(group: list[FailedAttempt]) -> str:
    numbers = list(dict.fromkeys(attempt.trial for attempt in group))
    named = ", ".join(map(str, numbers[:MAX_NUMBERS]))
    more = f" and {len(numbers) - MAX_NUMBERS} more" if len(numbers) > MAX_NUMBERS else ""
    return f"{'trial' if len(numbers) == 1 else 'trials'} {named}{more}"
