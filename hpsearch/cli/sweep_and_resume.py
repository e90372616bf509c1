"""Verbs that run or resume a sweep, and the summary that they print at its end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hpsearch.cli.app import Accept, Address, Home, Name, PriorOption, Set, Spec, app
from hpsearch.cli.printing import print_lines, print_table
from hpsearch.paths import report_path
from hpsearch.text import counted, printable

if TYPE_CHECKING:
    from hpsearch.driver.driver import Run
    from hpsearch.ledger.rebuilt_files import RebuiltSweep

END_ROWS = 10
"""Trials that are printed at the end of a sweep, the best first."""


@app.command(epilog="Example: python -m hpsearch sweep search_spaces/resnet.yaml --set limits.trials=12")
def sweep(
    spec: Spec,
    trials: Annotated[
        int | None, typer.Option("-n", metavar="N", help="Number of trials, short for --set limits.trials=N.")
    ] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep. Default: that of the spec.")] = None,
    prior: PriorOption = None,
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
    from hpsearch.driver.next_steps import ShellCommands
    from hpsearch.driver.request import make_run, overrides_of
    from hpsearch.paths import home_dir
    from hpsearch.spec.file import find_spec

    path = find_spec(spec)
    if str(path) != spec:
        print(f"Using {path}", file=sys.stderr if dry_run else sys.stdout)
    options = _options(n=trials, set=set_, prior=prior, address=address, again=again)
    run = make_run(
        path,
        overrides=overrides_of(name=name or None, trials=trials, prior=prior or None, address=address or None),
        settings=set_ or [],
        home=home,
        again=again,
        accept_changes=accept_changes,
        show="lines",
        commands=ShellCommands(home_dir(home), sweep=[spec, *options], resume=_options(n=trials, address=address)),
    )
    if dry_run:
        _print_configs(run)
        return
    _run(run)


@app.command(epilog="Example: python -m hpsearch resume resnet -n 40")
def resume(
    name: Name = None,
    trials: Annotated[int | None, typer.Option("-n", metavar="N", help="New total number of trials.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed trials again.")] = False,
    address: Address = None,
    accept_changes: Accept = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="First rebuild a damaged ledger from all that can be read of it: its file, journals, tables.",
        ),
    ] = False,
    home: Home = None,
) -> None:
    """Resume a sweep that was interrupted or killed, or add trials to it. Finished trials are not trained again."""
    from hpsearch.driver.next_steps import ShellCommands
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
        commands=ShellCommands(home_dir(home), resume=_options(n=trials, address=address)),
    )
    _run(run)


def _options(**values: str | int | bool | list[str] | None) -> list[str]:
    """The options that the user has typed, as words of a command.

    Example:
        >>> _options(n=3, set=["seed=1", "seed=2"], prior=None, again=False)
        ['-n', '3', '--set', 'seed=1', '--set', 'seed=2', '--no-again']
    """
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
            continue
        option = f"-{name}" if len(name) == 1 else f"--{name}"
        for each in value if isinstance(value, list) else [] if value in (None, "") else [value]:
            words += [option, str(each)]
    return words


def _print_configs(run: Run) -> None:
    """Print the configurations of a sweep's trials as JSON lines, and on stderr the priors that it starts with."""
    from hpsearch.cli.validate import first_configs
    from hpsearch.priors.sources import plan_prior

    prior, about = None, None
    if run.sweep.prior != "none":
        prior, about = plan_prior(run.sweep, run.home, spec_dir=run.spec_dir)
    if about is not None:
        print(printable(about), file=sys.stderr)
    for config in first_configs(run.sweep, run.sweep.max_trials, prior=prior):
        print(json.dumps(config, ensure_ascii=False))


def _run(run: Run) -> NoReturn:
    """Run a sweep to its end, print its summary and exit with its code."""
    exit_code = run.start()
    assert run.sweep.name is not None
    _leave(run.home, run.sweep.name, exit_code)


def _rebuild(home: Path) -> None:
    """Rebuild the ledger, and print what came from where, what was left out and where the old files are."""
    from hpsearch.driver.table_copies import copy_of_tables
    from hpsearch.ledger.rebuild import rebuild

    done = rebuild(home, read_tables=copy_of_tables)
    held = f"{counted(len(done.sweeps), 'sweep')}, {counted(done.trials, 'trial')}, {counted(done.reports, 'report')}"
    changed = ["the ledger"] if done.new_ledger else []
    changed += [f"the journal of {name}" for name in done.new_journals]
    if changed:
        print(f"Rebuilt {' and '.join(changed)}: {held}.")
    else:
        print(f"Nothing is damaged: ledger and journals agree ({held}). No file was changed.")
    if done.new_ledger and done.damage is not None:
        print(f"What was wrong with the ledger: {done.damage}.")
    print_lines(line for sweep in done.sweeps if (line := _rebuilt_line(sweep)))
    print_lines(f"Left out: {name}: {reason}." for name, reason in done.left_out.items())
    if done.kept:
        print(f"The old files are kept: {', '.join(map(str, done.kept))}")


def _rebuilt_line(sweep: RebuiltSweep) -> str | None:
    """What of a sweep came from where, and what no source has; None if nothing is to be said."""
    parts = []
    if not (sweep.in_journal and sweep.in_ledger):
        for what, given in (("trial", sweep.trials_from), ("report", sweep.reports_from)):
            sources = ", ".join(f"{count} from the {source}" for source, count in given.items() if count)
            parts.append(f"{counted(sum(given.values()), what)}{sources and f' ({sources})'}")
    if sweep.damaged_lines:
        parts.append(f"{counted(sweep.damaged_lines, 'damaged line')} in its journal")
    if sweep.trials_lost:
        parts.append(f"{counted(sweep.trials_lost, 'trial')} left out, since no source has the parameters")
    if sweep.reports_lost:
        parts.append(f"{counted(sweep.reports_lost, 'report')} in no source")
    return f"{sweep.name}: {'; '.join(parts)}" if parts else None


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
    from hpsearch.results.summaries import failure_lines, next_step_lines, note_lines, trial_summary
    from hpsearch.spec.file import dump_yaml

    with Ledger(home) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
    at = home_option(home)
    table, note = trial_summary(record, trials)
    print_table(replace(table, rows=table.rows[:END_ROWS]), complete=[f"python -m hpsearch show {name} --json{at}"])
    if len(trials) > END_ROWS:
        print(f"... and {len(trials) - END_ROWS} more: python -m hpsearch show {name}{at}")
    print_lines([*failure_lines(record, trials, home=home), *note_lines(record, trials), note])
    if (report := report_path(home / record.folder)).is_file():
        print_lines([f"Report: {report}"])
    print_lines(next_step_lines(record, trials, home=home))
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
