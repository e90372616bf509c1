"""Verbs that write a sweep to a file or a folder."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import open_ledger, print_json
from hpsearch.links import IN_HOME, IN_SWEEP, check_unlinked
from hpsearch.paths import report_path, study_path
from hpsearch.text import counted


class ExportFormat(StrEnum):
    """Formats that `export` writes."""

    csv = "csv"
    parquet = "parquet"
    json = "json"
    optuna = "optuna"
    tensorboard = "tensorboard"


@app.command(epilog="Example: python -m hpsearch export resnet --to csv -o resnet.csv")
def export(
    name: Name = None,
    to: Annotated[
        ExportFormat, typer.Option("--to", metavar="FORMAT", help="csv, parquet, json, optuna or tensorboard.")
    ] = ExportFormat.csv,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            help="File, or - for the console; for tensorboard a folder. Default: trials.FORMAT, study.db or"
            " tensorboard/ in the sweep's folder.",
        ),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Export the table of trials to a file, the sweep as an Optuna study, or its curves for TensorBoard."""
    if to is ExportFormat.optuna:
        _export_to_optuna(name, output, as_json=as_json, home=home)
        return
    if to is ExportFormat.tensorboard:
        _export_to_tensorboard(name, output, as_json=as_json, home=home)
        return
    from hpsearch.results import tables
    from hpsearch.results.rows import trial_rows

    with open_ledger(home) as ledger:
        sweep = ledger.sweep(name)
        trials = ledger.current_trials(sweep)
        path = output or check_unlinked(ledger.home / sweep.folder, parts=IN_HOME) / f"trials.{to.value}"
    write: Callable[[Path], object]
    if to is ExportFormat.json:
        rows = trial_rows(sweep, trials, home=ledger.home)
        write = partial(tables.write_json, rows)
    else:
        frame = tables.trials_frame(sweep, trials, home=ledger.home)
        write = partial(tables.write_csv if to is ExportFormat.csv else tables.write_parquet, frame)
    if path == Path("-"):
        _copy_to_console(write)
        return
    write(path)
    if as_json:
        print_json({"path": str(path), "rows": len(trials)})
    else:
        print(f"{path}: {counted(len(trials), 'trial')}")


def _export_to_optuna(name: str | None, output: Path | None, *, as_json: bool, home: Path | None) -> None:
    from hpsearch.results.export.optuna_file import write_study

    with open_ledger(home) as ledger:
        sweep = ledger.sweep(name)
        trials, reports = ledger.trials(sweep), ledger.reports(sweep)
        path = output or check_unlinked(study_path(ledger.home / sweep.folder), parts=IN_SWEEP)
    if path == Path("-"):
        _copy_to_console(lambda beside: write_study(sweep, trials, reports, beside))
        return
    write_study(sweep, trials, reports, path)
    if as_json:
        print_json({"path": str(path), "study": sweep.name, "rows": len(trials)})
    else:
        print(f"{path}: {counted(len(trials), 'trial')}. Open it with")
        print(f"optuna.load_study(study_name={sweep.name!r}, storage={f'sqlite:///{path}'!r})")


def _export_to_tensorboard(name: str | None, output: Path | None, *, as_json: bool, home: Path | None) -> None:
    from hpsearch.results.export.tensorboard import write_tensorboard

    if output == Path("-"):
        raise typer.BadParameter("tensorboard writes a folder, which can't go to the console. Write -o FOLDER.")
    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        folder = output or check_unlinked(ledger.home / record.folder / "tensorboard", parts=IN_SWEEP)
        num_runs = write_tensorboard(record, ledger.trials(record), ledger.reports(record), folder)
    if as_json:
        print_json({"path": str(folder), "runs": num_runs})
    else:
        print(f"{folder}: {num_runs} runs. Look at them: tensorboard --logdir {shlex.quote(str(folder))}")


def _copy_to_console(write: Callable[[Path], object]) -> None:
    """Write a temporary file and copy its bytes to the standard output."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        write(path)
        sys.stdout.buffer.write(path.read_bytes())


@app.command(epilog="Example: python -m hpsearch report resnet -o resnet.html")
def report(
    name: Name = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="File, or - for the console. Default: report.html in the sweep's folder.")
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Draw charts without zoom and without scripts: under 1 MB instead of 5.")
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write the report of a sweep as one HTML file that needs no network. Works while the sweep runs."""
    from hpsearch.paths import home_dir
    from hpsearch.results.analysis.findings import read_findings
    from hpsearch.results.report.write import report_html, write_report

    found = read_findings(home_dir(home), name)
    if output == Path("-"):
        sys.stdout.buffer.write(report_html(found, is_static=static).encode("utf-8", "replace"))
        return
    path = output or report_path(check_unlinked(found.home / found.sweep.folder, parts=IN_HOME))
    write_report(found, path, is_static=static)
    if as_json:
        print_json({"path": str(path), "trials": len(found.trials), "bytes": path.stat().st_size})
    else:
        print(f"{path}: {counted(len(found.trials), 'trial')}. Open it in a browser; it needs no network.")
