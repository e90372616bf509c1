"""Translates a spec in the keys of W&B or Ray Tune into hpsearch's keys, before it is checked.

Keys of hpsearch stay as they are, keys of other tools are moved and renamed. `Translation.written` maps each key path
of the result to the keys that the user wrote, so that messages name those. The only mistakes found here are settings
that hpsearch has no equivalent for.

This module has the keys that only need another name, and Ray Tune's schedulers. Parameters are translated in
`parameters.py`, a script's command line in `command.py`, all else that is specific to W&B's files in `wandb.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.errors import Problem
from hpsearch.plain import KeyPath
from hpsearch.spec.dialects.draft import Convert, Draft, whole
from hpsearch.spec.dialects.parameters import translate_parameters
from hpsearch.spec.dialects.wandb import NOTES, is_wandb_sweep, translate_wandb

GOALS = {"min": "minimize", "max": "maximize"}
"""Ray Tune's `mode` to our `goal`."""
SCHEDULERS = {
    **dict.fromkeys(("asha", "async_hyperband", "asynchyperband", "ASHAScheduler", "AsyncHyperBandScheduler"), "asha"),
    **dict.fromkeys(("fifo", "FIFOScheduler"), "none"),
    **dict.fromkeys(("hyperband", "HyperBandScheduler"), "hyperband"),
    **dict.fromkeys(("median_stopping_rule", "medianstopping", "MedianStoppingRule"), "median"),
}
"""Ray Tune's schedulers, by short name or class, to our stopping rules."""


def _looked_up_in(table: Mapping[str, str]) -> Convert:
    return lambda value: table.get(value, value) if isinstance(value, str) else value


RENAMED: tuple[tuple[KeyPath, KeyPath, Convert], ...] = (
    (("program",), ("trainable",), lambda value: value),
    (("run_cap",), ("limits", "trials"), whole),
    (("num_samples",), ("limits", "trials"), whole),
    (("time_budget_s",), ("limits", "time"), lambda value: value),
    (("max_concurrent_trials",), ("limits", "concurrent"), lambda value: value),
    (("stop", "training_iteration"), ("limits", "epochs"), lambda value: value),
    (("mode",), ("metric", "goal"), _looked_up_in(GOALS)),
    (("metric", "mode"), ("metric", "goal"), _looked_up_in(GOALS)),
    (("param_space",), ("parameters",), lambda value: value),
    (("resources_per_trial",), ("resources",), lambda value: value),
    (("max_t",), ("early_terminate", "max_iter"), whole),
    (("grace_period",), ("early_terminate", "min_iter"), whole),
    (("reduction_factor",), ("early_terminate", "eta"), whole),
    (("early_terminate", "max_t"), ("early_terminate", "max_iter"), whole),
    (("early_terminate", "grace_period"), ("early_terminate", "min_iter"), whole),
    (("early_terminate", "reduction_factor"), ("early_terminate", "eta"), whole),
    *(((key,), ("notes", key), lambda value: value) for key in NOTES),
)
"""(key path of another tool, our key path, conversion of the value)."""


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A spec in hpsearch's keys, and the keys that the user wrote."""

    tree: dict[str, Any]
    """The spec in hpsearch's keys; its values are not checked yet."""
    moved: Mapping[KeyPath, KeyPath]
    """Key path in `tree` to the key path in the user's spec, for everything that was moved."""
    originals: Mapping[KeyPath, Mapping[str, Any]]
    """Key path in `tree` of each searched parameter to its map as the user wrote it; Ray Tune's search objects become
    maps with a `distribution` alone."""
    problems: tuple[Problem, ...]
    """Settings that have no equivalent in hpsearch, with the key paths that the user wrote."""

    def written(self, where: KeyPath) -> KeyPath:
        """The key path in the user's spec of the value at `where` in `tree`."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.moved:
                return (*self.moved[where[:length]], *where[length:])
        return where


def translate(tree: Mapping[str, Any]) -> Translation:
    """Translate a spec into hpsearch's keys; a spec that uses them already is returned equal.

    Args:
        tree: The spec, which may have any mistakes; it is not modified.
    """
    draft = Draft(tree)
    is_wandb = is_wandb_sweep(tree)
    _name_metric(draft)
    _translate_scheduler(draft)
    for old, new, convert in RENAMED:
        draft.move(old, new, convert)
    _name_rule(draft)
    if is_wandb:
        translate_wandb(draft)
    _translate_parameters(draft, is_wandb=is_wandb)
    return Translation(tree=draft.tree, moved=draft.moved, originals=draft.originals, problems=tuple(draft.problems))


def other_spellings(where: KeyPath) -> list[KeyPath]:
    """All other key paths with the meaning of `where`, which an override of it replaces."""
    ours = next((new for old, new, _ in RENAMED if old == where), where)
    spellings = [ours, *(old for old, new, _ in RENAMED if new == ours)]
    return [each for each in spellings if each != where]


def _name_metric(draft: Draft) -> None:
    """Translate Ray Tune's `metric: loss` beside `mode: min`."""
    if isinstance(draft.tree.get("metric"), str) and "mode" in draft.tree:
        draft.tree["metric"] = {"name": draft.tree["metric"]}
        draft.moved[("metric", "name")] = ("metric",)


def _translate_scheduler(draft: Draft) -> None:
    """Translate Ray Tune's `scheduler`: a name, or a map of settings."""
    scheduler = draft.tree.get("scheduler")
    if "scheduler" not in draft.tree or "early_terminate" in draft.tree:
        return
    if isinstance(scheduler, dict) and "engine" in scheduler:
        draft.add_problem(("scheduler", "engine"), "a custom optimizer can't be used. Write method: optuna.")
        scheduler = None
    draft.moved[("early_terminate",)] = ("scheduler",)
    draft.moved[("early_terminate", "type")] = ("scheduler",)
    settings = scheduler if isinstance(scheduler, dict) else {"type": scheduler}
    del draft.tree["scheduler"]
    if scheduler is not None:
        draft.tree["early_terminate"] = settings


def _name_rule(draft: Draft) -> None:
    """Translate the name of a scheduler; settings without a name are those of ASHA."""
    rule = draft.tree.get("early_terminate")
    if not isinstance(rule, dict):
        return
    if rule.get("time_attr") == "training_iteration":
        del rule["time_attr"]
    written = {old[-1] for old in draft.moved.values()}
    if "type" in rule:
        rule["type"] = _looked_up_in(SCHEDULERS)(rule["type"])
    elif written & {"grace_period", "reduction_factor"}:
        rule["type"] = "asha"


def _translate_parameters(draft: Draft, *, is_wandb: bool) -> None:
    """Translate the search space."""
    where = draft.moved.get(("parameters",), ("parameters",))
    if isinstance(draft.tree.get("parameters"), Mapping):
        found = translate_parameters(draft.tree["parameters"], written=where, dotted=is_wandb)
        draft.tree["parameters"] = found.tree
        draft.moved |= found.moved
        draft.originals |= found.originals
        draft.problems += found.problems
        if found.method is not None:
            draft.tree.setdefault("method", found.method)
