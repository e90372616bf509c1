"""From what a user asks for to a checked, named `Run`: the one way into the driver for Python and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from hpsearch.driver.compatibility import check_compatible
from hpsearch.driver.display import Show
from hpsearch.driver.driver import Run
from hpsearch.driver.slot_setup import Trainable
from hpsearch.errors import Problem, SpecError, SweepExists
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.spec_dir import find_spec_dir
from hpsearch.ledger.store import Ledger
from hpsearch.paths import home_dir, ledger_path
from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.dialects.ray_tune import contains_ray_domain
from hpsearch.spec.dialects.translate import translate
from hpsearch.spec.file import find_spec, load_sweep
from hpsearch.spec.sweep import Sweep


@dataclass(frozen=True)
class StoredSweep:
    """A sweep of the ledger, to be resumed with the spec that is stored there."""

    name: str | None = None
    """The sweep's name; None for the newest."""


SpecSource = str | Path | Mapping[str, Any] | Sweep | StoredSweep
"""Where a spec comes from: a file's path or name, a tree of the same shape, a `Sweep`, or the ledger."""


def make_run(
    source: SpecSource,
    trainable: Trainable | str | None = None,
    *,
    overrides: Mapping[str, Any],
    home: str | Path | None = None,
    again: bool = False,
    accept_changes: bool = False,
    retry_failed: bool = False,
    show: Show = "auto",
) -> Run:
    """Read a spec, override keys, check and name it.

    Args:
        source: The spec.
        trainable: A function, or its name as in the YAML; None where the spec names it.
        overrides: Top-level keys of the spec; maps such as `limits` are merged into the spec's, others replace it. An
            empty map, and None within a map, change nothing.
        home: Folder of the ledger; None for the default.
        again: See `Run`.
        accept_changes: See `Run`.
        retry_failed: See `Run`.
        show: See `Run`.

    Raises:
        SpecError: With every mistake in the spec; or the stored sweep was given a function, and none is given now.
        UnknownSweep: The ledger has no sweep of this name.
        LedgerError: The ledger can't be read.
    """
    _check_trainable(trainable)
    function = None if isinstance(trainable, str) else trainable
    folder = home_dir(home)
    if isinstance(source, StoredSweep):
        sweep, spec_dir = _stored(source, folder, overrides, function)
    else:
        tree, spec_dir = _read(source)
        tree = merged(tree, overrides)
        if trainable is not None:
            tree["trainable"] = trainable if isinstance(trainable, str) else None  # resume must not find another one
        sweep = Sweep.from_dict(tree)
    ready = Run(
        sweep=_named(sweep, function),
        home=folder,
        function=function,
        spec_dir=spec_dir,
        again=again,
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        show=show,
    )
    return ready if sweep.name is not None else _with_free_name(ready)


def _stored(
    source: StoredSweep, home: Path, overrides: Mapping[str, Any], function: Trainable | None
) -> tuple[Sweep, Path | None]:
    """The sweep as the ledger has it, with `overrides`; and the folder of its spec."""
    with Ledger(home) as ledger:
        record = ledger.sweep(source.name)
    if record.spec["trainable"] is None and function is None:
        message = "its trainable is a function, which only Python has. Call hpsearch.run or Results.resume with it."
        raise SpecError([Problem(where=(record.name, "trainable"), message=message)])
    return Sweep.from_stored(merged(record.spec, overrides)), find_spec_dir(record, home)


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
    tree = space if "parameters" in space or not contains_ray_domain(space) else {"parameters": space}
    translation = translate(tree)
    if translation.problems:
        raise SpecError(translation.problems)
    return translation.tree


def _check_trainable(given: object) -> None:
    if not (given is None or isinstance(given, str) or callable(given)):
        message = f"expected a function or its name, got {type(given).__name__}."
        raise SpecError([Problem(where=("trainable",), message=message)])


def given(**values: Any) -> dict[str, Any]:
    """Those that are neither None nor empty."""
    return {name: value for name, value in values.items() if value not in (None, {})}


def merged(tree: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
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
    if not ledger_path(run.home).exists():
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
