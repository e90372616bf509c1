"""Makes a checked, named `Run` of what a user asks for: the entry to the driver for Python and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from hpsearch.driver.begin_again import begins_again
from hpsearch.driver.compatibility import find_changes, stored_sweep
from hpsearch.driver.driver import Run
from hpsearch.driver.next_steps import ShellCommands, numbered_names
from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.spec_dir import find_spec_dir
from hpsearch.ledger.store import Ledger
from hpsearch.live.display import Show
from hpsearch.paths import home_dir, ledger_path
from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.dialects.ray_tune import contains_ray_domain
from hpsearch.spec.file import find_spec, load_sweep, spec_dir_of, trainable_of
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import Trainable, check_is_outside


@dataclass(frozen=True)
class StoredSweep:
    """A sweep of the ledger, to be resumed with the spec that is stored there."""

    name: str | None = None
    """The sweep's name; None for the newest."""


SpecSource = str | Path | Mapping[str, Any] | Sweep | StoredSweep
"""Where a spec comes from: a file's path or name, a tree of the same shape, a `Sweep`, or the ledger."""


def overrides_of(
    *,
    name: str | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    prior: str | None = None,
    address: str | None = None,
) -> dict[str, Any]:
    """The options that verbs and functions share, as values that override a spec; None leaves the spec's value.

    Args:
        name: Overrides `name`.
        trials: Overrides `limits.trials`.
        epochs: Overrides `limits.epochs`.
        prior: Overrides `prior`.
        address: Overrides `ray.address`.

    Example:
        >>> overrides_of(trials=8, prior="auto")
        {'prior': 'auto', 'limits': {'trials': 8}}
    """
    limits, ray = _given(trials=trials, epochs=epochs), _given(address=address)
    return _given(name=name, prior=prior, limits=limits or None, ray=ray or None)


def make_run(
    source: SpecSource,
    trainable: Trainable | str | None = None,
    *,
    overrides: Mapping[str, Any],
    settings: Sequence[str] = (),
    home: str | Path | None = None,
    again: bool | None = None,
    accept_changes: bool = False,
    retry_failed: bool = False,
    show: Show = "auto",
    commands: ShellCommands | None = None,
) -> Run:
    """Load a spec, override values, check and name it.

    Args:
        source: The spec.
        trainable: A function, or its name as in the YAML; None where the spec names it.
        overrides: Top-level keys of the spec; maps such as `limits` are merged into the spec's, other values replace.
        settings: Texts `KEY=VALUE` of a command line; only for a spec that is a file.
        home: Folder of the ledger; None for the default.
        again: As in `Run`.
        accept_changes: As in `Run`.
        retry_failed: As in `Run`.
        show: As in `Run`.
        commands: As in `Run`.

    Raises:
        SpecError: With every mistake in the spec; or the stored sweep was given a function, and none is given now; or
            the trainable of a stored sweep is in its home folder.
        UnknownSweep: The ledger has no sweep of this name.
        LedgerError: The ledger can't be read.
    """
    _check_trainable(trainable)
    function = None if isinstance(trainable, str) else trainable
    folder = home_dir(home)
    if isinstance(source, StoredSweep):
        sweep, spec_dir = _load_stored(source, folder, overrides, function)
    else:
        if trainable is not None:  # in the spec too, so that `resume` does not find another one there
            overrides = {**overrides, "trainable": trainable if isinstance(trainable, str) else None}
        sweep, spec_dir = _load(source, overrides, settings)
    run = Run(
        sweep=_named(sweep, function),
        home=folder,
        function=function,
        spec_dir=spec_dir,
        again=again,
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        resumes=isinstance(source, StoredSweep),
        show=show,
        commands=commands,
    )
    return run if sweep.name is not None else _with_free_name(run)


def _load_stored(
    source: StoredSweep, home: Path, overrides: Mapping[str, Any], function: Trainable | None
) -> tuple[Sweep, Path | None]:
    """(The sweep as the ledger has it, with other values; the folder of its spec)."""
    with Ledger(home) as ledger:
        record = ledger.sweep(source.name)
    sweep, spec_dir = stored_sweep(record, home, overrides=overrides), find_spec_dir(record, home)
    if record.spec["trainable"] is None and function is None:
        message = "its trainable is a function, which only Python has. Call hpsearch.run or Results.resume with it."
        raise SpecError([Problem(where=(record.name, "trainable"), message=message)])
    if function is None:
        check_is_outside(trainable_of(sweep, spec_dir=spec_dir), home)
    return sweep, spec_dir


def _load(
    source: str | Path | Mapping[str, Any] | Sweep, overrides: Mapping[str, Any], settings: Sequence[str]
) -> tuple[Sweep, Path | None]:
    """(The sweep of a spec with other values; the folder of its file, None where it is no file)."""
    if isinstance(source, str | Path):
        path = find_spec(str(source))
        return load_sweep(path, overrides=settings, values=overrides), spec_dir_of(path)
    if isinstance(source, Sweep):  # whose notes have the lines of its file
        return Sweep.from_dict(_tree_of(source), overrides=overrides).with_surprises(source.surprises), None
    return Sweep.from_dict(_spec_around(source), overrides=overrides), None


def _tree_of(sweep: Sweep) -> dict[str, Any]:
    """The resolved spec, without an `isolation` that it does not set: a known sweep keeps the one it began with."""
    tree = sweep.to_dict()
    return {key: tree[key] for key in tree if key != "isolation" or not sweep.leaves_isolation_open}


def _spec_around(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tree if it is a spec; a spec around it if it is only a space of Ray Tune's search objects."""
    return tree if "parameters" in tree or not contains_ray_domain(tree) else {"parameters": tree}


def _check_trainable(trainable: object) -> None:
    if not (trainable is None or isinstance(trainable, str) or callable(trainable)):
        message = f"expected a function or its name, got {type(trainable).__name__}."
        raise SpecError([Problem(where=("trainable",), message=message)])


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _named(sweep: Sweep, function: Trainable | None) -> Sweep:
    """The sweep; one without a name is named after its function."""
    if sweep.name is not None:
        return sweep
    guess = getattr(function, "__name__", None) or (sweep.trainable or "").rpartition(":")[2]
    if not NAME_PATTERN.fullmatch(guess):
        raise SpecError([Problem(where=("name",), message="the sweep needs a name. Write for example name: resnet.")])
    return sweep.with_values(name=guess)


def _with_free_name(run: Run) -> Run:
    """The run with one of the names name, name-2, name-3, ...: that of the same sweep, if the ledger has it.

    Else that of a sweep that has only failed trials, and so starts again; else the first that is free.
    """
    if not ledger_path(run.home).exists():
        return run
    code = code_of(run.find_trainable())
    assert run.sweep.name is not None
    with Ledger(run.home) as ledger:
        known = {record.name: record for record in ledger.sweeps()}
        failed: Run | None = None
        for name in chain([run.sweep.name], numbered_names(run.sweep.name)):
            named = replace(run, sweep=run.sweep.with_values(name=name))
            if (record := known.get(name)) is None:
                return failed or named
            changes = find_changes(record, named.sweep, code, accept_changes=run.accept_changes)
            if not changes:
                return named
            is_free = begins_again(ledger, record, changes) and not is_held(run.home / record.folder)
            failed = failed or (named if is_free else None)
    raise AssertionError("unreachable: there is always a further name")
