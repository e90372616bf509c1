"""The command line's one app, and the arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
