"""Verbs that run or resume a sweep, and the summary that they print at its end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hpsearch.cli.app import Accept, Address, Home, Name, Prior, Set, Spec, app
from hpsearch.cli.printing import print_lines, print_rows
from hpsearch.paths import report_path

if TYPE_CHECKING:
    from hpsearch.driver.driver import Run

END_ROWS = 10
"""Trials that are printed at the end of a sweep, the best first."""


@app.command(epilog="Example: hpsearch sweep search_spaces/resnet.yaml --set limits.trials=12")
def sweep(
    spec: Spec,
    trials: Annotated[
        int | None, typer.Option("-n", metavar="N", help="Number of trials, short for --set limits.trials=N.")
    ] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep. Default: that of the spec.")] = None,
    prior: Prior = None,
    address: Address = None,
    again: Annotated[
        bool | None,
        typer.Option(
            "--again/--no-again",
            help="Train trials that other sweeps have trained, too. Kept when the sweep is resumed.",
            show_default=False,
        ),
    ] = None,
    accept_changes: Accept = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configurations of the trials as JSON lines and start nothing.")
    ] = False,
    home: Home = None,
) -> None:
    """Run a sweep, or resume it if the ledger has it, and print the best configuration."""
    from hpsearch.driver.request import make_run, overrides_of
    from hpsearch.spec.file import find_spec

    path = find_spec(spec)
    if str(path) != spec:
        print(f"Using {path}", file=sys.stderr if dry_run else sys.stdout)
    run = make_run(
        path,
        overrides=overrides_of(name=name or None, trials=trials, prior=prior or None, address=address or None),
        settings=set_ or [],
        home=home,
        again=again,
        accept_changes=accept_changes,
        show="lines",
    )
    if dry_run:
        from hpsearch.cli.validate import first_configs

        for config in first_configs(run.sweep, run.sweep.max_trials):
            print(json.dumps(config, ensure_ascii=False))
        return
    _run(run)


@app.command(epilog="Example: hpsearch resume resnet -n 40")
def resume(
    name: Name = None,
    trials: Annotated[int | None, typer.Option("-n", metavar="N", help="New total number of trials.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed trials again.")] = False,
    address: Address = None,
    accept_changes: Accept = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First rebuild a damaged ledger from the journals of its sweeps.")
    ] = False,
    home: Home = None,
) -> None:
    """Resume a sweep that was interrupted or killed, or add trials to it. Finished trials are not trained again."""
    from hpsearch.driver.request import StoredSweep, make_run, overrides_of
    from hpsearch.paths import home_dir

    if rebuild:
        _rebuild(home_dir(home))
    run = make_run(
        StoredSweep(name),
        overrides=overrides_of(trials=trials, address=address),
        home=home,
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        show="lines",
    )
    _run(run)


def _run(run: Run) -> NoReturn:
    """Run a sweep to its end, print its summary and exit with its code."""
    exit_code = run.start()
    assert run.sweep.name is not None
    _leave(run.home, run.sweep.name, exit_code)


def _rebuild(home: Path) -> None:
    from hpsearch.ledger.rebuild import rebuild

    done = rebuild(home)
    lines = f", {done.damaged_lines} damaged lines skipped" if done.damaged_lines else ""
    print(f"Rebuilt the ledger: {done.sweeps} sweeps, {done.trials} trials, {done.reports} reports{lines}.")
    if done.kept is not None:
        print(f"The damaged ledger is kept: {done.kept}")


def _leave(home: Path, name: str, exit_code: int) -> NoReturn:
    """Print the summary and exit with the sweep's code, also where the pipe is closed: Ctrl-C ends `| tee` too."""
    try:
        _print_end(home, name)
        sys.stdout.flush()
    except BrokenPipeError:
        from hpsearch.live.terminal import discard_output

        discard_output(sys.stdout)
    raise typer.Exit(exit_code)


def _print_end(home: Path, name: str) -> None:
    """Print the summary of a sweep: its best trials, the best configuration and the commands that train it."""
    from hpsearch.ledger.store import Ledger
    from hpsearch.paths import home_option
    from hpsearch.results.analysis.best import best_spec, trial_command
    from hpsearch.results.summaries import failure_lines, note_lines, trial_summary
    from hpsearch.spec.file import dump_yaml

    with Ledger(home) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
    at = home_option(home)
    rows, note = trial_summary(record, trials)
    print_rows(rows[:END_ROWS], as_json=False)
    if len(rows) > END_ROWS:
        print(f"... and {len(rows) - END_ROWS} more: python -m hpsearch show {name}{at}")
    print_lines([*failure_lines(record, trials, home=home), *note_lines(record, trials), note])
    if (report := report_path(home / record.folder)).is_file():
        print_lines([f"Report: {report}"])
    if record.state == "interrupted":
        print(f"Resume it:        python -m hpsearch resume {name}{at}")
    if not any(trial.succeeded and trial.best_value is not None for trial in trials):
        return
    tree, _ = best_spec(record, trials)
    print("Best configuration:")
    print("".join(f"  {line}\n" for line in dump_yaml(tree["parameters"]).splitlines()), end="")
    by_hand = trial_command(record, trials, home=home)
    if by_hand is not None:
        print(f"Train it by hand: {by_hand}")
    file = f"{name}-best.yaml"
    print(f"Train it again:   python -m hpsearch best {name}{at} > {file} && python -m hpsearch sweep {file}{at}")
