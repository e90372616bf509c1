"""The verb that writes a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import print_json
from hpsearch.plain import counted


@app.command(epilog="Example: hpsearch report resnet -o resnet.html")
def report(
    name: Name = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="File; default report.html in the sweep's folder; - for the console.")
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Pictures without zoom, no script: under 1 MB instead of 5.")
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write one HTML file about a sweep, also while it runs; it needs no network."""
    from hpsearch.ledger.home import home_dir
    from hpsearch.results.analysis.findings import read_findings
    from hpsearch.results.report.write import report_html, write_report

    found = read_findings(home_dir(home), name)
    if output == Path("-"):
        sys.stdout.buffer.write(report_html(found, is_static=static).encode("utf-8", "replace"))
        return
    path = output or found.home / found.sweep.folder / "report.html"
    write_report(found, path, is_static=static)
    if as_json:
        print_json({"path": str(path), "trials": len(found.trials), "bytes": path.stat().st_size})
    else:
        print(f"{path}: {counted(len(found.trials), 'trial')}. Open it in a browser; it needs no network.")
