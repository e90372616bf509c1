"""What Python calls: `hpsearch.run`, and `resume` for whoever goes on with a sweep of the ledger.

Here the request, as a user makes it, becomes a checked and named `driver.Run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from hpsearch.api.results import Results
from hpsearch.driver.compatibility import check_compatible
from hpsearch.driver.driver import Run, Trainable
from hpsearch.driver.session import Show
from hpsearch.errors import Problem, SpecError, SweepExists
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.spec_place import find_spec_dir
from hpsearch.ledger.sqlite import FILE_NAME
from hpsearch.ledger.store import Ledger
from hpsearch.paths import home_dir
from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.dialects.ray_tune import holds_ray_words
from hpsearch.spec.dialects.translate import translate
from hpsearch.spec.file import find_spec, load_sweep
from hpsearch.spec.sweep import Sweep


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
    tree, spec_dir = _read(space)
    _check_trainable(trainable)
    tree = _merged(tree, keys)
    tree = _merged(tree, _given(limits=_given(trials=trials, epochs=epochs), ray=_given(address=address)))
    if trainable is not None:
        tree["trainable"] = trainable if isinstance(trainable, str) else None  # resume must not find another one
    sweep, function = Sweep.from_dict(tree), None if isinstance(trainable, str) else trainable
    ready = Run(
        sweep=_named(sweep, function),
        home=home_dir(home),
        function=function,
        spec_dir=spec_dir,
        again=again,
        accept_changes=accept_changes,
    )
    return (ready if sweep.name is not None else _with_free_name(ready)).start()[0]


def resume(
    name: str | None = None,
    *,
    trials: int | None = None,
    address: str | None = None,
    function: Trainable | None = None,
    home: str | Path | None = None,
    accept_changes: bool = False,
    retry_failed: bool = False,
    show: Show = "auto",
) -> tuple[Results, int]:
    """Go on with a sweep of the ledger, as its spec stands there.

    Args:
        name: None for the newest.
        trials: The new total; None leaves it.
        address: A Ray that runs already; None for the one of its spec.
        function: The trainable, where the sweep was given a function.
        home: Folder of the ledger, as for `run`.
        accept_changes: Go on although the code has changed.
        retry_failed: Try failed trials again, from their checkpoints, as if for the first time.
        show: What is shown while it runs.

    Returns:
        The results and the exit code, as `Run.start`.

    Raises:
        UnknownSweep: There is none.
        SpecError: The sweep was given a function, and none is given now.
    """
    folder = home_dir(home)
    with Ledger(folder) as ledger:
        record = ledger.sweep(name)
    if record.spec["trainable"] is None and function is None:
        message = "its trainable is a function, which only Python has. Call hpsearch.run or Results.resume with it."
        raise SpecError([Problem(where=(record.name, "trainable"), message=message)])
    limits = {**record.spec["limits"], **({} if trials is None else {"trials": trials})}
    ray = record.spec["ray"] if address is None else {"address": address}
    sweep = Sweep.from_stored({**record.spec, "limits": limits, "ray": ray})
    ready = Run(
        sweep=sweep,
        home=folder,
        function=function,
        spec_dir=find_spec_dir(record, folder),
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        show=show,
    )
    return ready.start()


def _read(space: str | Path | Mapping[str, Any] | Sweep) -> tuple[dict[str, Any], Path | None]:
    """(Spec in our words, its folder where it is a file)."""
    if isinstance(space, str | Path):
        path = find_spec(str(space))
        return _said(load_sweep(path)), path.parent
    return _said(space) if isinstance(space, Sweep) else _in_our_words(space), None


def _said(sweep: Sweep) -> dict[str, Any]:
    """The resolved spec, but for what it leaves to the sweep that the ledger has, if there is one."""
    return {
        key: value for key, value in sweep.to_dict().items() if key != "isolation" or not sweep.leaves_isolation_open
    }


def _in_our_words(space: Mapping[str, Any]) -> dict[str, Any]:
    """A dict that the user gave; one of Ray Tune's search objects without a spec around it is a space."""
    tree = space if "parameters" in space or not holds_ray_words(space) else {"parameters": space}
    translation = translate(tree)
    if translation.problems:
        raise SpecError(translation.problems)
    return translation.tree


def _check_trainable(given: object) -> None:
    if not (given is None or isinstance(given, str) or callable(given)):
        message = f"expected a function or its name, got {type(given).__name__}."
        raise SpecError([Problem(where=("trainable",), message=message)])


def _given(**values: Any) -> dict[str, Any]:
    """Those that are neither None nor empty."""
    return {name: value for name, value in values.items() if value not in (None, {})}


def _merged(tree: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with other keys: a map is merged into the spec's, but for the space; all else replaces it."""
    merges = {
        key: {**tree[key], **value}
        for key, value in keys.items()
        if isinstance(tree.get(key), dict) and isinstance(value, dict) and key != "parameters"
    }
    return {**tree, **keys, **merges}


def _named(sweep: Sweep, function: Trainable | None) -> Sweep:
    """A sweep without a name is called after its function."""
    if sweep.name is not None:
        return sweep
    guess = getattr(function, "__name__", None) or (sweep.trainable or "").rpartition(":")[2]
    if not NAME_PATTERN.fullmatch(guess):
        raise SpecError([Problem(where=("name",), message="the sweep needs a name. Write for example name: resnet.")])
    return sweep.with_values(name=guess)


def _with_free_name(run: Run) -> Run:
    """The same under the first of its name, name-2, name-3, ... that is free, or is this very sweep."""
    if not (run.home / FILE_NAME).exists():
        return run
    code = code_of(run.find_trainable())
    with Ledger(run.home) as ledger:
        known = {record.name: record for record in ledger.sweeps()}
    numbered = (run.sweep.with_values(name=f"{run.sweep.name}-{number}") for number in count(2))
    for sweep in chain([run.sweep], numbered):
        record = known.get(sweep.name or "")
        with suppress(SweepExists):
            if record is not None:
                check_compatible(record, sweep, code, accept_changes=run.accept_changes)
            return replace(run, sweep=sweep)
    raise AssertionError("there is no end of numbers")
