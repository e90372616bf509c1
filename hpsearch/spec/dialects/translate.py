"""Other tools' words, put into ours before a spec is checked: files of W&B sweeps, and Ray Tune's names for things.

One step, from a tree to a tree: what is in our own spelling already stays as it is, what another tool says in its way
is moved and renamed, and `Translation.written` leads from a place in the new tree to where the user wrote it, so that
mistakes are told in the user's file. Nothing is checked here but what has no meaning in our words. How parameters are
distributed is in `parameters.py`, a script's command line in `command.py`, what only W&B's files say in
`wandb.py`.
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
from hpsearch.text import shown

GOALS = {"min": "minimize", "max": "maximize"}
SCHEDULERS = {
    **dict.fromkeys(("asha", "async_hyperband", "asynchyperband", "ASHAScheduler", "AsyncHyperBandScheduler"), "asha"),
    **dict.fromkeys(("fifo", "FIFOScheduler"), "none"),
    **dict.fromkeys(("hyperband", "HyperBandScheduler"), "hyperband"),
    **dict.fromkeys(("median_stopping_rule", "medianstopping", "MedianStoppingRule"), "median"),
}
"""Ray's names of what we have."""


def _as_text_of(table: Mapping[str, str]) -> Convert:
    return lambda value: table.get(value, value) if isinstance(value, str) else value


RENAMED: tuple[tuple[KeyPath, KeyPath, Convert], ...] = (
    (("program",), ("trainable",), lambda value: value),
    (("run_cap",), ("limits", "trials"), whole),
    (("num_samples",), ("limits", "trials"), whole),
    (("time_budget_s",), ("limits", "time"), lambda value: value),
    (("max_concurrent_trials",), ("limits", "concurrent"), lambda value: value),
    (("stop", "training_iteration"), ("limits", "epochs"), lambda value: value),
    (("mode",), ("metric", "goal"), _as_text_of(GOALS)),
    (("metric", "mode"), ("metric", "goal"), _as_text_of(GOALS)),
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
"""(what another tool says, what we say, how its value becomes ours)."""


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A spec in our own spelling."""

    tree: dict[str, Any]
    """As `Sweep.from_dict` checks it."""
    moved: Mapping[KeyPath, KeyPath]
    """Keys that lead to something in `tree`, to those under which it was written; what stayed is left out."""
    problems: tuple[Problem, ...]
    """What can't be said in our words; places as they were written."""

    def written(self, where: KeyPath) -> KeyPath:
        """The keys under which the user wrote what stands at `where` in `tree`."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.moved:
                return (*self.moved[where[:length]], *where[length:])
        return where


def translate(tree: Mapping[str, Any]) -> Translation:
    """A spec's tree in our own spelling; one that is in it already comes back equal.

    Args:
        tree: As it was read, wrong as it may be; it isn't changed.
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
    return Translation(tree=draft.tree, moved=draft.moved, problems=tuple(draft.problems))


def other_spellings(where: KeyPath) -> list[KeyPath]:
    """All spellings of a key, `where` itself left out: what an override of it replaces."""
    ours = next((new for old, new, _ in RENAMED if old == where), where)
    spellings = [ours, *(old for old, new, _ in RENAMED if new == ours)]
    return [each for each in spellings if each != where]


def _name_metric(draft: Draft) -> None:
    """Ray's `metric: loss` beside `mode: min`."""
    if isinstance(draft.tree.get("metric"), str) and "mode" in draft.tree:
        draft.tree["metric"] = {"name": draft.tree["metric"]}
        draft.moved[("metric", "name")] = ("metric",)


def _translate_scheduler(draft: Draft) -> None:
    """Ray's scheduler: its name, or a map of its settings."""
    scheduler = draft.tree.get("scheduler")
    if "scheduler" not in draft.tree or "early_terminate" in draft.tree:
        return
    if isinstance(scheduler, dict) and "engine" in scheduler:
        draft.add_problem(("scheduler", "engine"), "an optimizer of your own can't be used. Write method: optuna.")
        scheduler = None
    draft.moved[("early_terminate",)] = ("scheduler",)
    draft.moved[("early_terminate", "type")] = ("scheduler",)
    settings = scheduler if isinstance(scheduler, dict) else {"type": scheduler}
    del draft.tree["scheduler"]
    if scheduler is not None:
        draft.tree["early_terminate"] = settings


def _name_rule(draft: Draft) -> None:
    """Ray's names of rules; its settings without a name are those of ASHA."""
    rule = draft.tree.get("early_terminate")
    if not isinstance(rule, dict):
        return
    if rule.get("time_attr") == "training_iteration":
        del rule["time_attr"]
    said = {old[-1] for old in draft.moved.values()}
    if "type" in rule:
        rule["type"] = _as_text_of(SCHEDULERS)(rule["type"])
    elif said & {"grace_period", "reduction_factor"}:
        rule["type"] = "asha"


def _translate_parameters(draft: Draft, *, is_wandb: bool) -> None:
    """The search space."""
    where = draft.moved.get(("parameters",), ("parameters",))
    if isinstance(draft.tree.get("parameters"), Mapping):
        found = translate_parameters(draft.tree["parameters"], written=where, dotted=is_wandb)
        draft.tree["parameters"] = found.tree
        draft.moved |= found.moved
        draft.problems += found.problems
        if found.method is not None:
            draft.tree.setdefault("method", found.method)


def not_a_map(value: object) -> str:
    """What to say of a spec that is no map."""
    return f"expected a map with metric and parameters, got {shown(value)}."
