"""The verb that trains one configuration outside of any sweep."""

from __future__ import annotations

import traceback
from typing import Annotated

import typer

from hpsearch.cli.app import Spec, app
from hpsearch.errors import HpsearchError


@app.command(epilog="Example: python -m hpsearch trial resnet --set optimizer.lr=0.1")
def trial(
    spec: Spec,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter or a key of the spec. May be repeated."),
    ] = None,
) -> None:
    """Train one configuration in this process, outside of any sweep: breakpoints work, errors show their traceback.

    Parameters that are not set have the values of the sweep's first trial. With several processes: torchrun
    --nproc-per-node 2 -m hpsearch trial ...
    """
    from hpsearch.api.single_trial import imported_function, load_by_hand, train_by_hand
    from hpsearch.spec.file import find_spec

    path = find_spec(spec)
    sweep, point = load_by_hand(path, set_ or [])
    with imported_function(sweep, path) as function:
        try:
            train_by_hand(sweep, function, point)
        except HpsearchError as error:  # InvalidConfig or Diverged, which it raised: not a mistake in the spec
            traceback.print_exc()
            raise typer.Exit(1) from error
