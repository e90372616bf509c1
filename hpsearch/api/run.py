"""`hpsearch.run`: runs a sweep from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.api.results import Results
from hpsearch.driver.request import make_run, overrides_of
from hpsearch.spec.sweep import Sweep, merge_spec
from hpsearch.trainable.locate import Trainable


def run(
    space: str | Path | Mapping[str, Any] | Sweep,
    trainable: Trainable | str | None = None,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    home: str | Path | None = None,
    address: str | None = None,
    again: bool | None = None,
    accept_changes: bool = False,
    **keys: Any,
) -> Results:
    """Run or resume a sweep from Python, with a live display on a terminal or in a notebook and no other output.

    Args:
        space: Path or name of a spec, a dict of the same shape, or a `Sweep`.
        trainable: A function, or its name as in the YAML; None if the spec names it.
        trials: Short for `limits={"trials": ...}`.
        epochs: Short for `limits={"epochs": ...}`.
        home: Folder of the ledger; None for the environment variable HPSEARCH_HOME, else `./sweeps`.
        address: Short for `ray={"address": ...}`, the address of a running Ray. A Ray that this process is connected
            to is used in any case.
        again: Train every trial, here and whenever the sweep is resumed, until it is False. Otherwise, a trial that
            another sweep of the ledger has trained is reused. None: as the sweep began, False for a new one.
        accept_changes: Resume a known sweep although its code has changed.
        keys: Any top-level key of the YAML; maps such as `limits` are merged into the spec's, others replace it.

    Returns:
        The results; after the first Ctrl-C, those so far. A sweep that is in the ledger is resumed; if nothing is left
        to do, the function returns at once. A sweep that has only failed trials, and whose spec or code has changed,
        starts again; the old one is kept as `NAME~1`. A sweep without a name is named after its function; if the ledger
        has that name with another spec or other code, `-2`, `-3` and so on is appended.

    Raises:
        SpecError: The spec is wrong; with every mistake in it.
        SweepExists: The ledger has a sweep of this name with another spec or other code.
        SweepInUse: Another process runs the sweep.
        LedgerError: The ledger can't be read or written.
        RayGone: The Ray that runs the sweep died and can't be started again from here; the sweep can be resumed later.
        Interrupted: A signal came before the first trial began.

    Example:
        >>> results = hpsearch.run("search_spaces/mlp.yaml", trials=8)  # doctest: +SKIP
        >>> results.best.config  # doctest: +SKIP
    """
    ready = make_run(
        space,
        trainable,
        overrides=merge_spec(keys, overrides_of(trials=trials, epochs=epochs, address=address)),
        home=home,
        again=again,
        accept_changes=accept_changes,
    )
    ready.start()
    return Results(ready.home, ready.sweep.name)
