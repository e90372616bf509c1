"""Verbs that change the sweeps of a ledger as a whole: remove one for good, rename one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpsearch.cli.app import Home, app
from hpsearch.cli.printing import cell_text, print_lines
from hpsearch.paths import shortened
from hpsearch.text import counted, size_text

if TYPE_CHECKING:
    from hpsearch.ledger.forgetting import SweepLoss


@app.command(epilog="Example: python -m hpsearch forget resnet-old resnet-typo")
def forget(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of sweeps.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Remove them without asking.")] = False,
    home: Home = None,
) -> None:
    """Remove sweeps for good: their trials in the ledger, and their folders with checkpoints, logs and tables.

    Says what will be lost, and asks first.
    """
    from hpsearch.ledger.forgetting import find_losses
    from hpsearch.ledger.forgetting import forget as remove
    from hpsearch.paths import home_dir

    folder = home_dir(home)
    losses = find_losses(folder, names)
    print_lines(line for loss in losses for line in _lines(loss))
    if not yes and not _is_confirmed(losses, folder):
        print("Nothing was removed.")
        raise typer.Exit(1)
    for loss in losses:
        removed = remove(folder, loss.sweep)
        freed = f", and {size_text(removed.freed_bytes)} are free" if removed.has_files else ""
        print_lines([f"{loss.sweep} is removed{freed}."])


def _lines(loss: SweepLoss) -> list[str]:
    """What is lost with a sweep, and what is not."""
    files = f"{size_text(loss.freed_bytes)} in {shortened(loss.folder)}" if loss.has_files else "no files"
    if not loss.in_ledger:
        return [f"{loss.sweep} is not in the ledger any more; {files} are left of it."]
    best = "no result" if loss.best_value is None else f"best {loss.metric} {cell_text(loss.best_value)}"
    lines = [f"{loss.sweep}: {counted(loss.num_trials, 'trial')}, {best}; {files}."]
    if loss.reused_by:
        others = ", ".join(f"{count} of {name}" for name, count in loss.reused_by.items())
        lines.append(f"  Trials that were reused from it keep their epochs and checkpoints: {others}.")
    return lines


def _is_confirmed(losses: Sequence[SweepLoss], home: Path) -> bool:
    """Whether the user answers yes; where there is no terminal to ask at, an error says how to answer."""
    from hpsearch.paths import home_option

    if not _has_terminal():
        command = f"python -m hpsearch forget {' '.join(loss.sweep for loss in losses)} --yes{home_option(home)}"
        print(f"Error: nothing was removed: there is no terminal to ask at. To answer yes: {command}", file=sys.stderr)
        raise typer.Exit(2)
    question = "Remove it?" if len(losses) == 1 else f"Remove these {len(losses)} sweeps?"
    return typer.confirm(question)


def _has_terminal() -> bool:
    return sys.stdin.isatty()


@app.command(epilog="Example: python -m hpsearch rename resnet resnet-wide")
def rename(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the sweep.", show_default=False)],
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)],
    home: Home = None,
) -> None:
    """Rename a sweep and its folder."""
    from hpsearch.driver.rename import rename as rename_sweep
    from hpsearch.paths import home_dir

    folder = home_dir(home)
    rename_sweep(folder, name, new_name)
    print_lines([f"{name} is now {new_name}, in {shortened(folder / new_name)}."])
