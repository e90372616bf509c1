"""The command line. Each verb reads its arguments, calls one function of the package and prints what came back.

Heavy packages are imported inside the verb that needs them: `list`, `show` and `best` work without Ray, torch, pandas.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hpsearch.errors import HpsearchError

if TYPE_CHECKING:
    from hpsearch.sweep import Sweep

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Finds good hyperparameters for a PyTorch training function.",
)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the ledger; default HPSEARCH_HOME, else ./sweeps.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str | None, typer.Argument(help="The sweep; default the newest.", show_default=False)]
Spec = Annotated[str, typer.Argument(help="A YAML file, or the name of one in search_spaces/.")]
Accept = Annotated[bool, typer.Option("--accept-changes", help="Go on although the trainable's code has changed.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec; VALUE is YAML. May be repeated."),
]


END_ROWS = 10
"""Trials that a sweep prints at its end."""


class ExportFormat(StrEnum):
    """What `export` can write."""

    csv = "csv"
    parquet = "parquet"
    json = "json"


def main() -> NoReturn:
    """Run the command line and leave with its exit code; an error of ours is one message, not a traceback."""
    try:
        app()
    except HpsearchError as error:
        print(f"Error: {error}" if "\n" not in str(error) else f"{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as interrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(getattr(interrupt, "exit_code", 130))
    sys.exit(0)


@app.command(epilog="Example: hpsearch sweep search_spaces/resnet.yaml --set limits.trials=12")
def sweep(
    spec: Spec,
    trials: Annotated[int | None, typer.Option("-n", help="Short for --set limits.trials=N.")] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep; default the spec's.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Train what other sweeps have trained, too.")] = False,
    accept_changes: Accept = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials' configurations as JSON lines; start nothing.")
    ] = False,
    home: Home = None,
) -> None:
    """Run a sweep: search, train, print the best configuration."""
    from hpsearch.specfile import find_spec, load_sweep

    path = find_spec(spec)
    if str(path) != spec:
        print(f"Using {path}", file=sys.stderr if dry_run else sys.stdout)
    overrides = [
        *(set_ or []),
        *([f"limits.trials={trials}"] if trials is not None else []),
        *([f"name={json.dumps(name)}"] if name else []),
    ]
    loaded = load_sweep(path, overrides=overrides)
    if dry_run:
        for config in _first_configs(loaded, loaded.max_trials):
            print(json.dumps(config, ensure_ascii=False))
        return
    from hpsearch.driver import Run, home_dir

    run = Run(
        sweep=loaded,
        home=home_dir(home),
        spec_dir=path.parent,
        again=again,
        accept_changes=accept_changes,
        show="lines",
    )
    results, exit_code = run.start()
    print_end(results.home, results.name)
    raise typer.Exit(exit_code)


@app.command(epilog="Example: hpsearch resume resnet -n 40")
def resume(
    name: Name = None,
    trials: Annotated[int | None, typer.Option("-n", help="The new total of trials.")] = None,
    accept_changes: Accept = False,
    home: Home = None,
) -> None:
    """Go on with a sweep that was interrupted or killed, or with more trials; nothing finished is trained again."""
    from hpsearch import driver

    results, exit_code = driver.resume(name, trials=trials, home=home, accept_changes=accept_changes, show="lines")
    print_end(results.home, results.name)
    raise typer.Exit(exit_code)


@app.command(epilog="Example: hpsearch validate search_spaces/resnet.yaml")
def validate(
    spec: Spec,
    set_: Set = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, max=10_000, help="Also print the first N configurations as JSON lines.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Check a spec and show what it means: the space, the rungs, how many trials run at once. Starts nothing."""
    from hpsearch.devices.inventory import host_cpus, host_gpus
    from hpsearch.plan import make_plan, render, to_dict
    from hpsearch.specfile import find_spec, load_sweep

    path = find_spec(spec)
    loaded = load_sweep(path, overrides=set_ or [])
    plan = make_plan(loaded, cpus=host_cpus(), gpus=host_gpus())
    configs = _first_configs(loaded, sample) if sample else []
    if as_json:
        _print_json(to_dict(plan) | ({"sample": configs} if sample else {}))
        return
    from rich.console import Console

    if str(path) != spec:
        print(f"Using {path}")
    Console(soft_wrap=False, highlight=False).print(render(plan))
    if configs:
        print(f"\nFirst {len(configs)} configurations:")
    for config in configs:
        print(json.dumps(config, ensure_ascii=False))


@app.command("list", epilog="Example: hpsearch list")
def list_(as_json: Json = False, home: Home = None) -> None:
    """List the sweeps of the ledger, the newest last."""
    from hpsearch.ledger.records import best_of

    with _ledger(home) as ledger:
        rows = []
        for record in ledger.sweeps():
            found, best = ledger.trials(record), best_of(ledger.trials(record), sign=record.sign)
            rows.append({
                "name": record.name, "state": record.state, "method": record.spec["method"], "trials": len(found),
                "failed": sum(1 for trial in found if trial.state == "failed"), "metric": record.metric,
                "best": best.best_value if best else None, "started_at": record.started_at,
            })  # fmt: skip
    _print_rows(rows, as_json=as_json)


@app.command(epilog="Example: hpsearch show resnet --trial 3")
def show(
    name: Name = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Show one trial with its epochs.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the trials of a sweep, best first, or one trial."""
    from hpsearch.results.shown import trial_details, trial_summary

    with _ledger(home) as ledger:
        record = ledger.sweep(name)
        if trial is None:
            rows, note = trial_summary(record, ledger.trials(record))
            if as_json:
                from hpsearch.results.rows import trial_rows

                rows = trial_rows(record, ledger.trials(record))
            else:
                print(note)
            _print_rows(rows, as_json=as_json)
            return
        details = trial_details(record, ledger.trials(record), ledger.reports(record), trial, home=ledger.home)
    if as_json:
        _print_json(details)
        return
    history = details.pop("history")
    for key, value in details.items():
        print(f"{key}: {_text(value)}")
    _print_rows(history, as_json=False)


@app.command(epilog="Example: hpsearch best resnet > best.yaml; hpsearch sweep best.yaml")
def best(name: Name = None, as_json: Json = False, home: Home = None) -> None:
    """Print the best configuration as a spec that `hpsearch sweep` takes, every parameter a constant."""
    from hpsearch.results.shown import best_spec

    with _ledger(home) as ledger:
        record = ledger.sweep(name)
        tree, note = best_spec(record, ledger.trials(record))
    if as_json:
        _print_json(tree)
        return
    from hpsearch.specfile import dump_yaml

    print(f"# {note}")
    print(dump_yaml(tree), end="")


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
        _print_json({"path": str(path), "rows": len(frame)})
    else:
        print(f"{path}: {len(frame)} trials")


def print_end(home: Path, name: str) -> None:
    """What a sweep says at its end: its trials, the best configuration and the command that uses it."""
    from hpsearch.ledger.store import Ledger
    from hpsearch.results.shown import best_spec, failure_lines, trial_summary
    from hpsearch.specfile import dump_yaml

    with Ledger(home) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
    at = "" if home == Path("sweeps") else f" --home {home}"
    rows, note = trial_summary(record, trials)
    _print_rows(rows[:END_ROWS], as_json=False)
    if len(rows) > END_ROWS:
        print(f"... and {len(rows) - END_ROWS} more: python -m hpsearch show {name}{at}")
    for line in failure_lines(record, trials):
        print(line)
    print(note)
    if record.state == "interrupted":
        print(f"Go on with it:   python -m hpsearch resume {name}{at}")
    if not any(trial.succeeded and trial.best_value is not None for trial in trials):
        return
    tree, _ = best_spec(record, trials)
    print("Best configuration:")
    print("".join(f"  {line}\n" for line in dump_yaml(tree["parameters"]).splitlines()), end="")
    file = f"{name}-best.yaml"
    print(f"Train it again:  python -m hpsearch best {name}{at} > {file} && python -m hpsearch sweep {file}{at}")


def _first_configs(loaded: Sweep, count: int) -> list[dict[str, Any]]:
    from hpsearch.search import first_points
    from hpsearch.space import to_config

    return [to_config(point) for point in first_points(loaded, count)]


def _copy_to_console(write: Callable[[Path], None]) -> None:
    """Write a file elsewhere and send its bytes to the standard output."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        write(path)
        sys.stdout.buffer.write(path.read_bytes())


def _ledger(home: Path | None) -> Any:
    import os

    from hpsearch.ledger.store import Ledger

    return Ledger(Path(home or os.environ.get("HPSEARCH_HOME") or "sweeps"))


def _print_rows(rows: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    rows = list(rows)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        return
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    numeric = [all(isinstance(row[key], int | float | None) for row in rows) for key in rows[0]]
    for line in cells:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())


def _text(value: Any) -> str:
    """A value as one cell: short, on one line, with nothing that a terminal obeys."""
    if value is None:
        return "-"
    text = f"{value:.5g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
