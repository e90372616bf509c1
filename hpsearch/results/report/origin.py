"""How a sweep was made: its spec, code, versions, commit and machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from hpsearch.ledger.provenance import read_provenance
from hpsearch.results.analysis.findings import Findings
from hpsearch.results.html.elements import Node, element
from hpsearch.results.report.tables import facts, table
from hpsearch.text import duration_text

WORDS = {
    "started_at": "started (UTC)",
    "python": "Python",
    "packages": "packages",
    "platform": "platform",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "commit": "commit",
}
"""What the record of a run tells, in the words of the page; other keys stand as they are."""
MAX_RUNS = 10
"""Runs that are told of, the latest."""


def made(found: Findings) -> Iterator[Node]:
    """What is below the heading."""
    from hpsearch.spec.file import dump_yaml

    sweep = found.sweep
    yield facts(_facts(found))
    runs = read_provenance(found.home / sweep.folder)
    for position, run in list(enumerate(runs, start=1))[-MAX_RUNS:]:
        heading = "The process that ran it" if len(runs) == 1 else f"Run {position} of {len(runs)}"
        yield element("h3", heading)
        yield facts({WORDS.get(key, key): value for key, value in run.items()})
    yield element(
        "details", element("summary", "The resolved spec"), element("pre", dump_yaml(dict(sweep.spec)), tabindex="0")
    )
    if sweep.code:
        code = table("SHA-256 of each file or function.", ["code", "hash"], list(sweep.code.items()))
        yield element("details", element("summary", "The trainable's code"), code)


def _facts(found: Findings) -> dict[str, Node]:
    sweep = found.sweep
    rows: dict[str, Node] = {
        "trainable": sweep.spec.get("trainable") or "a function of a Python session",
        "seed": str(sweep.spec["seed"]),
        "began (UTC)": sweep.started_at[:19].replace("T", " "),
    }
    if sweep.ended_at is not None:
        rows["ended (UTC)"] = sweep.ended_at[:19].replace("T", " ")
        lasted = datetime.fromisoformat(sweep.ended_at) - datetime.fromisoformat(sweep.started_at)
        rows["from begin to end"] = duration_text(lasted.total_seconds())
    if notes := sweep.spec.get("notes"):
        rows |= {f"note: {key}": str(value) for key, value in notes.items()}
    reused = sum(trial.reused_from is not None for trial in found.trials)
    if reused:
        rows["answered by the ledger"] = f"{reused} trials, without training"
    codes = {code for trial in found.trials for code in trial.codes}
    if len(codes) > 1:
        rows["code"] = f"changed on the way: trials ran with {len(codes)} versions of it"
    return rows
