"""Ranks the trials of a sweep, and gives the best configuration as a spec, as text and as a command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hpsearch.errors import UnknownSweep
from hpsearch.ledger.records import SweepRecord, TrialRecord, best_of
from hpsearch.ledger.spec_dir import find_spec_dir
from hpsearch.ledger.sweep_files import are_gone
from hpsearch.paths import resolved_spec_path, shortened
from hpsearch.plain import canonical
from hpsearch.results.labels import config_lines
from hpsearch.space.space import to_config
from hpsearch.spec.yaml_writer import flow


def best_spec(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> tuple[dict[str, Any], str]:
    """The best configuration as a spec: the sweep's own, with the best trial's values as constants, for one full trial.

    Args:
        sweep: The sweep.
        trials: All its trials, by number.

    Returns:
        The spec, and a sentence that says which trial it is from.

    Raises:
        UnknownSweep: No trial has succeeded yet.
    """
    best = best_of(list(trials), sign=sweep.sign)
    if best is None:
        command = f"python -m hpsearch show {sweep.name}"
        raise UnknownSweep(f"sweep '{sweep.name}' has no successful trial yet. See `{command}`.")
    spec = dict(sweep.spec)
    parameters = to_config(
        {
            name: {"value": value} if isinstance(value, dict | list) else value  # not taken for a search
            for name, value in best.point.items()
        }
    )
    limits = {**spec["limits"], "trials": 1}
    changes = {
        "name": f"{sweep.name.replace('~', '-')[:59]}-best",
        "method": "random",
        "sampler": None,
        "parameters": parameters,
        "constraints": None,
        "initial_points": None,
        "prior": None,
        "early_terminate": {"type": "none"},
        "limits": limits,
    }
    sentence = (
        f"trial {best.number} of sweep {sweep.name}: {sweep.metric} {best.best_value:.6g} at epoch {best.best_epoch}"
    )
    return _without_nulls({**spec, **changes}), sentence


def architecture_lines(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> list[str]:
    """The best configuration of an architecture search as text, one line for each layer; empty for other sweeps."""
    best = best_of(list(trials), sign=sweep.sign)
    return (
        config_lines(to_config(dict(best.point))) if best is not None and sweep.spec["method"] == "controller" else []
    )


def trial_command(sweep: SweepRecord, trials: Iterable[TrialRecord], *, home: Path) -> str | None:
    """The command that trains the best configuration once, outside of a sweep.

    Args:
        sweep: The sweep.
        trials: All its trials, by number.
        home: Folder of the ledger.

    Returns:
        A line for a shell; None if no trial succeeded, if the trainable was given as a function, or if the sweep's
        files are gone, and the spec with them.
    """
    best = best_of(list(trials), sign=sweep.sign)
    trainable = sweep.spec.get("trainable")
    if best is None or trainable is None or are_gone(home / sweep.folder):
        return None
    from hpsearch.spec.file import is_key  # here, since it imports pydantic

    file, colon, function = trainable.rpartition(":") if ":" in trainable else (trainable, "", "")
    beside = shortened((find_spec_dir(sweep, home) or Path()) / file)
    moved = file.endswith(".py") and not Path(file).is_file() and beside.is_file()
    searched = [name for name in best.point if _is_searched(sweep.spec["parameters"], name)]
    settings = [(f"parameters.{name}" if is_key(name) else name, best.point[name]) for name in searched]
    options = [f"trainable={beside}{colon}{function}"] if moved else []
    options += [f"{name}={flow(value)}" for name, value in settings]
    workers = sweep.spec["resources"]["workers"]
    launcher = f"torchrun --nproc-per-node {workers}" if workers > 1 else "python"
    spec = shlex.quote(str(resolved_spec_path(home / sweep.folder)))
    return f"{launcher} -m hpsearch trial {spec}" + "".join(f" --set {shlex.quote(option)}" for option in options)


def _is_searched(tree: Any, name: str) -> bool:
    """Whether a parameter of a spec is searched: neither a constant nor computed."""
    for key in name.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return isinstance(tree, dict) and tree.keys().isdisjoint(("value", "expr"))


def _without_nulls(tree: dict[str, Any]) -> dict[str, Any]:
    """The spec without keys that are null at the top or one level below; parameters and data stay as they are."""
    kept = {key: value for key, value in tree.items() if value is not None}
    return {
        key: {name: inner for name, inner in value.items() if inner is not None}
        if isinstance(value, dict) and key not in ("parameters", "data")
        else value
        for key, value in kept.items()
        if key != "ray"
    }


def ranked_trials(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials, best value first, then those without a value, then those that failed."""

    def rank(trial: TrialRecord) -> tuple[bool, bool, float, int]:
        value = trial.best_value
        return trial.state == "failed", value is None, sweep.sign * (value or 0.0), trial.number

    return sorted(trials, key=rank)


def ranked_successes(trials: Iterable[TrialRecord], *, sign: int) -> list[TrialRecord]:
    """The successful trials that have a value, best first; `sign` is 1 to minimise, -1 to maximise."""
    able = [trial for trial in trials if trial.succeeded and trial.best_value is not None]
    return sorted(able, key=lambda trial: sign * (trial.best_value or 0.0))


def best_so_far(sweep: SweepRecord, trials: list[TrialRecord]) -> TrialRecord | None:
    """The first of `ranked_trials`, which may still run, be paused or interrupted; None if it failed or has no value.

    Args:
        sweep: The sweep.
        trials: All its trials, by number, those that run with their reports so far.
    """
    first = next(iter(ranked_trials(sweep, trials)), None)
    return None if first is None or first.state == "failed" or first.best_value is None else first


def varying_parameters(trials: Iterable[TrialRecord]) -> list[str]:
    """Names of the parameters that differ between trials, in the order in which trials first have them."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.point.items():
            values.setdefault(name, set()).add(canonical(value))
    return [name for name, seen in values.items() if len(seen) > 1]
