"""The command line's one app, and the arguments and options that several verbs share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hpsearch.errors import Interrupted
from hpsearch.version import __version__


class Verbs(TyperGroup):
    """The verbs; a signal that ends one of them is told in words and by its own exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Typer would leave with 130 whatever the signal was."""
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
    """Finds good hyperparameters for a PyTorch training function."""


Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the ledger; default HPSEARCH_HOME, else ./sweeps.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str | None, typer.Argument(help="The sweep; default the newest.", show_default=False)]
Spec = Annotated[str, typer.Argument(help="A YAML file, or the name of one in search_spaces/.")]
Accept = Annotated[bool, typer.Option("--accept-changes", help="Go on although the trainable's code has changed.")]
Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray that runs already; default the spec's ray.address, else RAY_ADDRESS."),
]
Prior = Annotated[
    str | None,
    typer.Option("--prior", help="What the search begins with: none, auto, a sweep's name or a CSV file."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec; VALUE is YAML. May be repeated."),
]
