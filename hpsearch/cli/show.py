"""Verbs that read the ledger, without importing Ray, torch or pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import (
    cell_text,
    open_ledger,
    print_json,
    print_lines,
    print_rows,
    print_table,
    print_text,
)
from hpsearch.ledger.records import SweepRecord, best_of
from hpsearch.paths import home_option
from hpsearch.text import minute_text

if TYPE_CHECKING:
    from hpsearch.ledger.store import Ledger


@app.command("list", epilog="Example: python -m hpsearch list")
def list_(as_json: Json = False, home: Home = None) -> None:
    """List the sweeps of the ledger, the newest last."""
    from hpsearch.ledger.lock import was_killed
    from hpsearch.ledger.sweep_files import are_gone, gone_text
    from hpsearch.results.analysis.best import best_so_far

    with open_ledger(home) as ledger:
        at = home_option(ledger.home)
        rows: list[dict[str, Any]] = []
        gone: list[str] = []
        for record in ledger.sweeps():
            found = ledger.current_trials(record)
            best = best_so_far(record, found)
            is_gone = are_gone(ledger.home / record.folder)
            gone += [gone_text(ledger.home, record)] if is_gone else []
            state = "killed" if was_killed(ledger.home, record) else record.state
            rows.append({
                "name": record.name, "state": "files removed" if is_gone else state, "method": record.spec["method"],
                "trials": len(found), "failed": sum(1 for trial in found if trial.state == "failed"),
                "metric": record.metric, "best": best.best_value if best else None, "started_at": record.started_at,
            })  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        shorter = [row | {"started_at": minute_text(row["started_at"])} for row in rows]
        print_rows(shorter, kept=("name", "state", "best"), complete=[f"python -m hpsearch list --json{at}"])
        print_lines(gone)


@app.command(epilog="Example: python -m hpsearch show resnet --trial 3; python -m hpsearch show resnet --failures")
def show(
    name: Name = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Show one trial with its epochs.")] = None,
    epoch: Annotated[
        int | None, typer.Option("--epoch", min=1, help="Rank trials by their best up to this epoch.")
    ] = None,
    failures: Annotated[bool, typer.Option("--failures", help="Show failed attempts and their causes.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the trials of a sweep, the best first; or their ranking at an epoch, one trial, or the failures."""
    if (trial is not None) + (epoch is not None) + failures > 1:
        raise typer.BadParameter("--trial, --epoch and --failures show different tables. Give only one of them.")
    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        if trial is not None:
            _show_trial(ledger, record, trial, as_json=as_json)
        elif epoch is not None:
            _show_ranking(ledger, record, epoch, as_json=as_json)
        elif failures:
            _show_failures(ledger, record, as_json=as_json)
        else:
            _show_trials(ledger, record, as_json=as_json)


def _show_trials(ledger: Ledger, record: SweepRecord, *, as_json: bool) -> None:
    from hpsearch.ledger.lock import is_held
    from hpsearch.ledger.sources import lost_sources
    from hpsearch.ledger.sweep_files import are_gone, gone_text
    from hpsearch.results.rows import trial_rows
    from hpsearch.results.summaries import ahead_lines, next_step_lines, note_lines, source_lines, trial_summary

    trials = ledger.current_trials(record)
    if as_json:
        print_json(trial_rows(record, trials, home=ledger.home))
        return
    is_alive = is_held(ledger.home / record.folder)
    table, note = trial_summary(record, trials, is_alive=is_alive)
    winner = best_of(trials, sign=record.sign)
    ahead = ahead_lines(record, trials, ledger.reports_of(winner)) if winner is not None else []
    print_text([note])
    if are_gone(ledger.home / record.folder):
        print_lines([gone_text(ledger.home, record)])
    print_text([*ahead, *note_lines(record, trials), *source_lines(lost_sources(ledger, record))])
    at = home_option(ledger.home)
    print_table(
        table,
        complete=[f"python -m hpsearch show {record.name} --json{at}", f"python -m hpsearch export {record.name}{at}"],
    )
    if not is_alive:
        print_lines(next_step_lines(record, trials, home=ledger.home))


def _show_trial(ledger: Ledger, record: SweepRecord, number: int, *, as_json: bool) -> None:
    from hpsearch.results.summaries import trial_details

    details = trial_details(record, ledger.current_trials(record), ledger.reports(record), number, home=ledger.home)
    if as_json:
        print_json(details)
        return
    history = details.pop("history")
    print_text(_detail_lines(details))
    print_rows(
        history,
        kept=("epoch",),
        complete=[f"python -m hpsearch show {record.name} --trial {number} --json{home_option(ledger.home)}"],
    )


def _detail_lines(details: Mapping[str, Any]) -> Iterator[str]:
    """A line for each value of a trial; its configuration as YAML."""
    from hpsearch.spec.yaml_writer import dump_yaml

    for key, value in details.items():
        if key == "config":
            yield f"{key}:"
            yield from (f"  {line}" for line in dump_yaml(value).splitlines())
        else:
            yield f"{key}: {cell_text(value)}"


def _show_ranking(ledger: Ledger, record: SweepRecord, epoch: int, *, as_json: bool) -> None:
    from hpsearch.results.summaries import ranking_rows, ranking_summary

    trials, reports = ledger.trials(record), ledger.reports(record)
    if as_json:
        print_json(ranking_rows(record, trials, reports, epoch))
        return
    table, note = ranking_summary(record, trials, reports, epoch)
    print_text([note])
    print_table(
        table, complete=[f"python -m hpsearch show {record.name} --epoch {epoch} --json{home_option(ledger.home)}"]
    )


def _show_failures(ledger: Ledger, record: SweepRecord, *, as_json: bool) -> None:
    from hpsearch.results.analysis.failures import failed_attempts
    from hpsearch.results.summaries import cause_rows, failure_rows, log_tail_lines

    attempts = failed_attempts(record, ledger.trials(record), ledger.failures(record), home=ledger.home)
    if as_json:
        print_json([attempt.row() for attempt in attempts])
        return
    if not attempts:
        print(f"{record.name}: nothing failed.")
        return
    complete = [f"python -m hpsearch show {record.name} --failures --json{home_option(ledger.home)}"]
    print_rows(cause_rows(attempts), kept=("cause", "attempts", "trials"), complete=complete, wrapped="what follows")
    print()
    print_rows(failure_rows(attempts), kept=("trial", "cause", "evidence"), complete=complete, wrapped="evidence")
    print_text(log_tail_lines(attempts))


@app.command(epilog="Example: python -m hpsearch compare resnet resnet-tpe -o compared.png")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of sweeps with the same metric and goal.")],
    output: Annotated[Path | None, typer.Option("-o", help="Also draw a chart: a .png, .svg or .html file.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Compare sweeps: what each spent, its best value, and the best value at equal budgets."""
    from hpsearch.results.analysis.compare import compare_sweeps, read_sweep

    with open_ledger(home) as ledger:
        records = [ledger.sweep(each) for each in dict.fromkeys(names)]
        read = [read_sweep(each, ledger.current_trials(each), ledger.reports(each)) for each in records]
    comparison = compare_sweeps(read)
    if not as_json:
        print_text([comparison.sentence])
    if output is not None:
        from hpsearch.results.charts.comparison import comparison_chart
        from hpsearch.results.figure import Figure

        Figure(comparison_chart(comparison, read)).save(output)
    rows = [vars(row) for row in comparison.rows]
    if as_json:
        print_json(rows)
    else:
        print_rows(
            rows,
            kept=("sweep", "best"),
            complete=[f"python -m hpsearch compare {' '.join(names)} --json{home_option(ledger.home)}"],
        )


@app.command(epilog="Example: python -m hpsearch best resnet > best.yaml; python -m hpsearch sweep best.yaml")
def best(name: Name = None, as_json: Json = False, home: Home = None) -> None:
    """Print the best configuration as a spec for the verb `sweep`, with every parameter constant."""
    from hpsearch.results.analysis.best import architecture_lines, best_spec, trial_command

    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
        tree, note = best_spec(record, trials)
        by_hand = trial_command(record, trials, home=ledger.home)
        words = architecture_lines(record, trials)
    if as_json:
        print_json(tree)
        return
    from hpsearch.spec.file import dump_yaml

    print_lines([f"# {note}", *([f"# by hand: {by_hand}"] if by_hand is not None else [])])
    print_lines(f"# {line}" for line in words)
    print(dump_yaml(tree), end="")
