"""Verbs that open a sweep in a browser, and that examine the machine."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import cell_text, print_json

UI_PORT = 8080
"""Default port of the verb `ui`."""
MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


@app.command(epilog="Example: python -m hpsearch ui resnet --port 8081")
def ui(
    name: Name = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any free port.")] = UI_PORT,
    home: Home = None,
) -> None:
    """Serve a sweep in optuna-dashboard, to this machine only, until Ctrl-C. Works while the sweep runs."""
    from hpsearch.paths import home_dir
    from hpsearch.results.export.optuna_dashboard import serving

    with suppress(KeyboardInterrupt), serving(home_dir(home), name, port=port) as (server, address):
        print(f"Open {address} (Ctrl-C ends the server)", flush=True)
        server.serve_forever()


@app.command(epilog="Example: python -m hpsearch doctor")
def doctor(as_json: Json = False, home: Home = None) -> None:
    """Examine what a sweep needs: packages, GPUs, disks, Ray, the ledger. Exits with 1 if there is a problem."""
    from hpsearch.doctor import examine
    from hpsearch.paths import home_dir
    from hpsearch.text import counted

    findings = list(examine(home_dir(home)))
    counts: Counter[str] = Counter(finding.state for finding in findings)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], **{state: counts[state] for state in MARKS}})
    else:
        for finding in findings:
            print(f"{MARKS[finding.state]}  {finding.check:9}  {cell_text(finding.text)}")
            if finding.advice is not None:
                print(f"{'':20}-> {cell_text(finding.advice)}")
        print(f"{counted(counts['problem'], 'problem')}, {counted(counts['warning'], 'warning')}")
    raise typer.Exit(1 if counts["problem"] else 0)
