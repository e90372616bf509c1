"""Translates what is specific to W&B's sweep files and needs more than another name.

Keys that only need another name are in `translate.py`, the `command` is in `command.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hpsearch.plain import NAME_PATTERN
from hpsearch.spec.dialects.command import script_and_arguments
from hpsearch.spec.dialects.draft import Draft, whole
from hpsearch.spec.dialects.launcher import Launch
from hpsearch.spec.dialects.parameters import has_wandb_syntax
from hpsearch.trainable.arguments import DEFAULT

NOTES = ("project", "entity", "description", "controller", "apiVersion", "kind", "imports")
"""Keys of a W&B sweep without meaning for a local run; they are kept as notes."""
WANDB_KEYS = {*NOTES, "program", "command", "run_cap"}
"""Keys that only W&B's sweep files have."""
WANDB_ONLY = {
    "job": "a launch job runs on W&B's own queues. Write program: and its script",
    "image_uri": "a launch image runs on W&B's own queues. Write program: and its script",
    "metrics": "a sweep has one objective. Write metric: and the one to optimise",
}
"""Keys that can't be translated, to the message."""


def is_wandb_sweep(tree: Mapping[str, Any]) -> bool:
    """Whether a spec has a key or value that only W&B's sweep files have; their default goal is to minimise."""
    rule = tree.get("early_terminate")
    has_bands = isinstance(rule, Mapping) and not {"s", "strict"}.isdisjoint(rule)
    return not WANDB_KEYS.isdisjoint(tree) or has_bands or has_wandb_syntax(tree.get("parameters"))


def translate_wandb(draft: Draft) -> None:
    """Translate a spec for which `is_wandb_sweep` is true, after its keys were renamed."""
    _name(draft)
    _metric(draft)
    _rule(draft)
    _command(draft)
    _leave_out(draft)


def _name(draft: Draft) -> None:
    """Turn a free-form name into one for folders; the original is kept as a note."""
    name = draft.tree.get("name")
    if isinstance(name, str) and not NAME_PATTERN.fullmatch(name):
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64]
        if short:
            draft.tree["name"] = short
            draft.tree.setdefault("notes", {})["name"] = name


def _metric(draft: Draft) -> None:
    """Fill in W&B's defaults: the goal is to minimise, and a search that needs no metric ranks by `loss`.

    A failed trial always counts as the worst.
    """
    if "metric" not in draft.tree and draft.tree.get("method") in ("grid", "random") and not _has_rule(draft):
        draft.tree["metric"] = {"name": "loss"}
    metric = draft.tree.get("metric")
    if not isinstance(metric, dict):
        return
    metric.setdefault("goal", "minimize")
    if "target" in metric:
        draft.add_problem(
            ("metric", "target"), "a sweep can't end at a value of the metric, only by its limits. Remove it."
        )
    if metric.get("impute", "worst") != "worst":
        draft.add_problem(("metric", "impute"), "a failed trial always counts as the worst. Write worst.")
    if metric.get("impute_while_running", "false") not in ("false", False):
        draft.add_problem(("metric", "impute_while_running"), "a running trial has no imputed value. Write false.")
    for key in ("target", "impute", "impute_while_running"):
        metric.pop(key, None)


def _has_rule(draft: Draft) -> bool:
    """Whether the spec stops trials early, which needs a metric."""
    return draft.tree.get("early_terminate") is not None


def _rule(draft: Draft) -> None:
    """Translate W&B's `hyperband`, which at each band stops trials that are not in the best 1 / eta: our `asha_stop`.

    Ray Tune's `hyperband`, which only the key `scheduler` can name, is our `hyperband`.
    """
    rule = draft.tree.get("early_terminate")
    is_rays = draft.moved.get(("early_terminate",)) == ("scheduler",)
    if is_rays or not isinstance(rule, dict) or rule.get("type") != "hyperband":
        return
    rule["type"] = "asha_stop"
    rule.pop("strict", None)
    if "eta" in rule:
        rule["eta"] = whole(rule["eta"])
        if isinstance(rule["eta"], float):
            upwards = max(2, math.ceil(rule["eta"])) if math.isfinite(rule["eta"]) else 3
            message = f"expected a whole number above 1, got {rule['eta']}. Write eta: {upwards}."
            draft.add_problem(("early_terminate", "eta"), message)
            rule["eta"] = upwards
    last, num_bands, eta = rule.get("max_iter"), whole(rule.pop("s", None)), rule.get("eta", 3)
    if "min_iter" not in rule and all(isinstance(each, int) and each > 0 for each in (last, num_bands, eta)):
        rule["min_iter"] = max(1, math.ceil(last / eta ** min(num_bands, 64)))
        draft.moved[("early_terminate", "min_iter")] = ("early_terminate", "s")


def _command(draft: Draft) -> None:
    """Translate `command`: the script, its number of processes, and its arguments other than the parameters."""
    if "command" not in draft.tree:
        return
    program = draft.tree.get("trainable")
    command = draft.tree.pop("command")
    found = script_and_arguments(command, program=program)
    if isinstance(found, str):
        draft.add_problem(("command",), found)
        return
    if found.script is not None and found.script != program:
        draft.tree["trainable"] = found.script
        draft.moved[("trainable",)] = ("command",)
    if tuple(found.arguments) != DEFAULT:
        draft.tree.setdefault("arguments", found.arguments)
        draft.moved[("arguments",)] = ("command",)
        skipped = len(command) - len(found.arguments)  # the arguments are the command's last items
        draft.moved |= {
            ("arguments", i): ("command", skipped + i) for i in range(len(found.arguments)) if skipped + i > 0
        }
    if found.launch is not None:
        _launch(draft, found.launch)


def _launch(draft: Draft, launch: Launch) -> None:
    """Set a trial's workers to the processes that a launcher would start."""
    resources = draft.tree.setdefault("resources", {})
    if not isinstance(resources, dict):
        return  # a mistake that later checks report
    meant = {"workers": launch.workers, **({"gpu": 0} if launch.is_on_cpu else {})}
    for key, value in meant.items():
        if key not in resources:
            resources[key] = value
            draft.moved[("resources", key)] = ("command",)
        elif resources[key] != value:
            means = f"{launch.name} means resources.{key}: {value}, and resources.{key} is {resources[key]}"
            draft.add_problem(("command",), f"{means}. Keep one of them.")


def _leave_out(draft: Draft) -> None:
    """Remove keys and values that can't be translated, with a problem for each."""
    for key, message in WANDB_ONLY.items():
        if key in draft.tree:
            draft.add_problem((key,), f"{message}.")
            del draft.tree[key]
    if draft.tree.get("method") == "custom":
        draft.add_problem(("method",), "a custom optimizer can't be used. Write for example optuna.")
        draft.tree["method"] = "random"
