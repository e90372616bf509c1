"""The verb that looks at the machine."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import typer

from hpsearch.cli.app import Home, Json, app
from hpsearch.cli.printing import cell_text, print_json

MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


@app.command(epilog="Example: hpsearch doctor")
def doctor(as_json: Json = False, home: Home = None) -> None:
    """Look at what a sweep needs: packages, GPUs, disks, Ray, the ledger; exit code 1 if there is a problem."""
    from hpsearch.doctor import examine
    from hpsearch.doctor.finding import count_text

    findings = list(examine(Path(home or os.environ.get("HPSEARCH_HOME") or "sweeps")))
    counts: Counter[str] = Counter(finding.state for finding in findings)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], **{state: counts[state] for state in MARKS}})
    else:
        for finding in findings:
            print(f"{MARKS[finding.state]}  {finding.check:9}  {cell_text(finding.text)}")
            if finding.advice is not None:
                print(f"{'':20}-> {cell_text(finding.advice)}")
        print(f"{count_text(counts['problem'], 'problem')}, {count_text(counts['warning'], 'warning')}")
    raise typer.Exit(1 if counts["problem"] else 0)
