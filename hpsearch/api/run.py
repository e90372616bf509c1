"""`hpsearch.run`: a sweep from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.api.results import Results
from hpsearch.driver.request import make_run, overrides_of
from hpsearch.driver.slot_setup import Trainable
from hpsearch.spec.sweep import Sweep, merge_spec


def run(
    space: str | Path | Mapping[str, Any] | Sweep,
    trainable: Trainable | str | None = None,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    home: str | Path | None = None,
    address: str | None = None,
    again: bool = False,
    accept_changes: bool = False,
    **keys: Any,
) -> Results:
    """Run a sweep from Python: quiet, with one live display on a terminal or in a notebook.

    Args:
        space: A spec's path or name, a dict of the same shape, or a `Sweep`.
        trainable: A function, or its name as in the YAML; None where the spec names it.
        trials: Short for `limits={"trials": ...}`.
        epochs: Short for `limits={"epochs": ...}`.
        home: Folder of the ledger; None for the environment variable HPSEARCH_HOME, else `./sweeps`.
        address: Short for `ray={"address": ...}`, a Ray that runs already. One that this process is connected to is
            used in any case.
        again: Train everything; without it, a trial that any sweep of the ledger has trained is answered from there.
        accept_changes: Go on with a known sweep although its code has changed.
        keys: Any top-level key of the YAML; maps such as `limits` are merged into the spec's, others replace it.

    Returns:
        The results; after the first Ctrl-C, those so far. A sweep that is in the ledger goes on; one that has nothing
        left to do comes back at once. A sweep without a name is called after its function; where the ledger has that
        name with another spec or other code, `-2`, `-3` and so on is put behind it.

    Raises:
        SpecError: With every mistake in the spec.
        SweepExists: A sweep of this name with another spec is in the ledger.
        SweepInUse: Another process runs it.
        LedgerError: The ledger can't be used.

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
