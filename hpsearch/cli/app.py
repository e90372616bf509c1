"""The Typer app of the command line, and the arguments and options that several verbs share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hpsearch.errors import Interrupted
from hpsearch.version import __version__


class Verbs(TyperGroup):
    """The verbs; one that a signal ends prints a message and exits with the code of that signal."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Typer alone would exit with 130 after any signal."""
        try:
            return super().invoke(ctx)
        except Interrupted as interrupted:
            print(interrupted, file=sys.stderr)
            raise typer.Exit(interrupted.exit_code) from interrupted


app = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hpsearch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find good hyperparameters for a PyTorch training function."""


Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the ledger. Default: $HPSEARCH_HOME, else ./sweeps."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str | None, typer.Argument(help="Name of the sweep. Default: the newest.", show_default=False)]
Spec = Annotated[str, typer.Argument(help="Path of a YAML file, or the name of a file in search_spaces/.")]
Accept = Annotated[bool, typer.Option("--accept-changes", help="Resume although the trainable's code has changed.")]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Address of a running Ray. Default: ray.address of the spec, else $RAY_ADDRESS."),
]
PriorOption = Annotated[
    str | None,
    typer.Option("--prior", help="Earlier outcomes to start from: none, auto, the name of a sweep, or a CSV file."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec. VALUE is YAML. May be repeated."),
]
