"""The section "How it was made": the spec, code, versions, commit and machine of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from hpsearch.ledger.provenance import read_provenance
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.html.elements import Node, element
from hpsearch.results.report.tables import facts, table
from hpsearch.spec.yaml_writer import dump_yaml
from hpsearch.text import counted, duration_text

LABELS = {
    "started_at": "started (UTC)",
    "python": "Python",
    "packages": "packages",
    "platform": "platform",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "commit": "commit",
}
"""Key of a provenance record to its label in the report; other keys are shown as they are."""
MAX_RUNS = 10
"""Most runs that are shown, the latest ones."""


def origin_nodes(findings: Findings) -> Iterator[Node]:
    """The content of the section."""
    sweep = findings.sweep
    yield facts(_facts(findings))
    runs = read_provenance(findings.home / sweep.folder)
    for position, run in list(enumerate(runs, start=1))[-MAX_RUNS:]:
        heading = "The run" if len(runs) == 1 else f"Run {position} of {len(runs)}"
        yield element("h3", heading)
        yield facts({LABELS.get(key, key): value for key, value in run.items()})
    yield element(
        "details", element("summary", "The resolved spec"), element("pre", dump_yaml(dict(sweep.spec)), tabindex="0")
    )
    if sweep.code:
        code = table("SHA-256 of each file or function.", ["file or function", "hash"], list(sweep.code.items()))
        yield element("details", element("summary", "The code of the trainable"), code)


def _facts(findings: Findings) -> dict[str, Node]:
    sweep = findings.sweep
    rows: dict[str, Node] = {
        "trainable": sweep.spec.get("trainable") or "a function of a Python session",
        "seed": str(sweep.spec["seed"]),
        "started (UTC)": sweep.started_at[:19].replace("T", " "),
    }
    if sweep.ended_at is not None:
        rows["ended (UTC)"] = sweep.ended_at[:19].replace("T", " ")
        lasted = datetime.fromisoformat(sweep.ended_at) - datetime.fromisoformat(sweep.started_at)
        if lasted.total_seconds() >= 0:  # the clock was not set back in between
            rows["duration"] = duration_text(lasted.total_seconds())
    if notes := sweep.spec.get("notes"):
        rows |= {f"note: {key}": str(value) for key, value in notes.items()}
    reused = sum(trial.reused_from is not None for trial in findings.trials)
    if reused:
        rows["reused from the ledger"] = f"{counted(reused, 'trial')}, without training"
    codes = {code for trial in findings.trials for code in trial.codes}
    if len(codes) > 1:
        rows["code"] = f"changed during the sweep: trials ran with {len(codes)} versions of it"
    return rows
