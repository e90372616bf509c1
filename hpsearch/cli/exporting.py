"""Verbs that write a sweep to a file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import print_json


class ExportFormat(StrEnum):
    """What `export` can write."""

    csv = "csv"
    parquet = "parquet"
    json = "json"


@app.command(epilog="Example: hpsearch export resnet --to csv -o resnet.csv")
def export(
    name: Name = None,
    to: Annotated[ExportFormat, typer.Option("--to", help="csv, parquet or json.")] = ExportFormat.csv,
    output: Annotated[
        Path | None, typer.Option("-o", help="File; default trials.FORMAT in the sweep's folder; - for the console.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write the table of trials to a file."""
    from hpsearch.driver import home_dir
    from hpsearch.results import tables
    from hpsearch.results.results import Results

    results = Results(home_dir(home), name)
    path = output or results.folder / f"trials.{to.value}"
    writers: dict[str, Callable[..., None]] = {
        "csv": tables.write_csv,
        "parquet": tables.write_parquet,
        "json": tables.write_json,
    }
    frame = results.trials
    if path == Path("-"):
        _copy_to_console(lambda beside: writers[to.value](frame, beside))
        return
    writers[to.value](frame, path)
    if as_json:
        print_json({"path": str(path), "rows": len(frame)})
    else:
        print(f"{path}: {len(frame)} trials")


def _copy_to_console(write: Callable[[Path], None]) -> None:
    """Write a file elsewhere and send its bytes to the standard output."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        write(path)
        sys.stdout.buffer.write(path.read_bytes())
