"""Other tools' words, put into ours before a spec is checked: files of W&B sweeps, and Ray Tune's names for things.

One step, from a tree to a tree: what is in our own spelling already stays as it is, what another tool says in its way
is moved and renamed, and `Translation.written` leads from a place in the new tree to where the user wrote it, so that
mistakes are told in the user's file. Nothing is checked here but what has no meaning in our words. How parameters are
distributed is in `dialect_parameters.py`, a script's command line in `dialect_command.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hpsearch.dialect_command import DEFAULT, script_and_arguments
from hpsearch.dialect_parameters import has_foreign_words, translate_parameters
from hpsearch.errors import Problem
from hpsearch.plain import NAME_PATTERN, Where, shown

Convert = Callable[[Any], Any]

GOALS = {"min": "minimize", "max": "maximize"}
SCHEDULERS = {
    **dict.fromkeys(("asha", "async_hyperband", "asynchyperband", "ASHAScheduler", "AsyncHyperBandScheduler"), "asha"),
    **dict.fromkeys(("fifo", "FIFOScheduler"), "none"),
    **dict.fromkeys(("hyperband", "HyperBandScheduler"), "hyperband"),
    **dict.fromkeys(("median_stopping_rule", "medianstopping", "MedianStoppingRule"), "median"),
}
"""Ray's names of what we have."""
NOTES = ("project", "entity", "description", "controller", "apiVersion", "kind", "imports")
"""Said of a W&B sweep, and without meaning for a local run: kept as notes."""
WANDB_KEYS = {*NOTES, "program", "command", "run_cap"}
"""A spec with one of them is a W&B sweep file."""
WANDB_ONLY = {
    "job": "a launch job runs on W&B's own queues. Write program: and its script",
    "image_uri": "a launch image runs on W&B's own queues. Write program: and its script",
    "metrics": "a sweep has one objective. Write metric: with the one that counts",
}


def _as_text_of(table: Mapping[str, str]) -> Convert:
    return lambda value: table.get(value, value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


RENAMED: tuple[tuple[Where, Where, Convert], ...] = (
    (("program",), ("trainable",), lambda value: value),
    (("run_cap",), ("limits", "trials"), _whole),
    (("num_samples",), ("limits", "trials"), _whole),
    (("time_budget_s",), ("limits", "time"), lambda value: value),
    (("max_concurrent_trials",), ("limits", "concurrent"), lambda value: value),
    (("stop", "training_iteration"), ("limits", "epochs"), lambda value: value),
    (("mode",), ("metric", "goal"), _as_text_of(GOALS)),
    (("metric", "mode"), ("metric", "goal"), _as_text_of(GOALS)),
    (("param_space",), ("parameters",), lambda value: value),
    (("resources_per_trial",), ("resources",), lambda value: value),
    (("max_t",), ("early_terminate", "max_iter"), _whole),
    (("grace_period",), ("early_terminate", "min_iter"), _whole),
    (("reduction_factor",), ("early_terminate", "eta"), _whole),
    (("early_terminate", "max_t"), ("early_terminate", "max_iter"), _whole),
    (("early_terminate", "grace_period"), ("early_terminate", "min_iter"), _whole),
    (("early_terminate", "reduction_factor"), ("early_terminate", "eta"), _whole),
    *(((key,), ("notes", key), lambda value: value) for key in NOTES),
)
"""(what another tool says, what we say, how its value becomes ours)."""


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A spec in our own spelling."""

    tree: dict[str, Any]
    """As `Sweep.from_dict` checks it."""
    moved: Mapping[Where, Where]
    """Keys that lead to something in `tree`, to those under which it was written; what stayed is left out."""
    problems: tuple[Problem, ...]
    """What can't be said in our words; places as they were written."""

    def written(self, where: Where) -> Where:
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
    draft = _Draft(tree)
    is_wandb = is_wandb_sweep(tree)
    draft.name_metric()
    draft.translate_scheduler()
    for old, new, convert in RENAMED:
        draft.move(old, new, convert)
    draft.type_of_rule()
    if is_wandb:
        draft.wandb_name()
        draft.wandb_metric()
        draft.wandb_rule()
        draft.wandb_command()
        draft.wandb_only()
    draft.parameters(is_wandb=is_wandb)
    return Translation(tree=draft.tree, moved=draft.moved, problems=tuple(draft.problems))


def is_wandb_sweep(tree: Mapping[str, Any]) -> bool:
    """Whether a spec has a word that only W&B's sweep files have; there, a goal that isn't given is to minimise."""
    rule = tree.get("early_terminate")
    has_bands = isinstance(rule, Mapping) and not {"s", "strict"}.isdisjoint(rule)
    return not WANDB_KEYS.isdisjoint(tree) or has_bands or has_foreign_words(tree.get("parameters"))


def same_thing(where: Where) -> list[Where]:
    """All spellings of a key, `where` itself left out: what an override of it replaces."""
    ours = next((new for old, new, _ in RENAMED if old == where), where)
    spellings = [ours, *(old for old, new, _ in RENAMED if new == ours)]
    return [each for each in spellings if each != where]


@final
class _Draft:
    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree: dict[str, Any] = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in tree.items()
        }
        self.moved: dict[Where, Where] = {}
        self.problems: list[Problem] = []

    def move(self, old: Where, new: Where, convert: Convert) -> None:
        """Rename a key, if it is there and its new name is free."""
        holder = self._map_at(old[:-1])
        if holder is None or old[-1] not in holder:
            return
        if len(new) > 1 and not isinstance(self.tree.setdefault(str(new[0]), {}), dict):
            return  # what stands there is a mistake, and told as such
        target, key = (self.tree[str(new[0])] if len(new) > 1 else self.tree), str(new[-1])
        value = holder.pop(str(old[-1]))
        if target.get(key) is not None:
            first = ".".join(map(str, self.moved.get(new, new)))
            self._wrong(old, f"it means the same as {first}, which is there too. Keep one of them.")
        else:
            target[key] = convert(value)
            self.moved[new] = old
        if old[0] == "stop" and not holder:
            del self.tree["stop"]

    def name_metric(self) -> None:
        """Ray's `metric: loss` beside `mode: min`."""
        if isinstance(self.tree.get("metric"), str) and "mode" in self.tree:
            self.tree["metric"] = {"name": self.tree["metric"]}
            self.moved[("metric", "name")] = ("metric",)

    def translate_scheduler(self) -> None:
        """Ray's scheduler: its name, or a map of its settings."""
        scheduler = self.tree.get("scheduler")
        if "scheduler" not in self.tree or "early_terminate" in self.tree:
            return
        if isinstance(scheduler, dict) and "engine" in scheduler:
            self._wrong(("scheduler", "engine"), "an optimizer of your own can't be used. Write method: optuna.")
            scheduler = None
        self.moved[("early_terminate",)] = ("scheduler",)
        self.moved[("early_terminate", "type")] = ("scheduler",)
        settings = scheduler if isinstance(scheduler, dict) else {"type": scheduler}
        del self.tree["scheduler"]
        if scheduler is not None:
            self.tree["early_terminate"] = settings

    def type_of_rule(self) -> None:
        """Ray's names of rules; its settings without a name are those of ASHA."""
        rule = self.tree.get("early_terminate")
        if not isinstance(rule, dict):
            return
        if rule.get("time_attr") == "training_iteration":
            del rule["time_attr"]
        said = {old[-1] for old in self.moved.values()}
        if "type" in rule:
            rule["type"] = _as_text_of(SCHEDULERS)(rule["type"])
        elif said & {"grace_period", "reduction_factor"}:
            rule["type"] = "asha"

    def wandb_name(self) -> None:
        """A name for people becomes one for folders; the first stays as a note."""
        name = self.tree.get("name")
        if isinstance(name, str) and not NAME_PATTERN.fullmatch(name):
            short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64]
            if short:
                self.tree["name"] = short
                self.tree.setdefault("notes", {})["name"] = name

    def wandb_metric(self) -> None:
        """A goal that isn't given is to minimise, and a search that needs no metric ranks by `loss`.

        Failed runs always count as the worst.
        """
        if "metric" not in self.tree and self.tree.get("method") in ("grid", "random") and not self.has_rule():
            self.tree["metric"] = {"name": "loss"}
        metric = self.tree.get("metric")
        if not isinstance(metric, dict):
            return
        metric.setdefault("goal", "minimize")
        if "target" in metric:
            self._wrong(("metric", "target"), "a sweep ends by its limits, not at a value. Remove it.")
        if metric.get("impute", "worst") != "worst":
            self._wrong(("metric", "impute"), "a trial that failed always counts as the worst. Write worst.")
        if metric.get("impute_while_running", "false") not in ("false", False):
            self._wrong(("metric", "impute_while_running"), "running trials have no value. Write false.")
        for key in ("target", "impute", "impute_while_running"):
            metric.pop(key, None)

    def has_rule(self) -> bool:
        """Whether trials are stopped early, which no file can ask for without a metric."""
        return self.tree.get("early_terminate") is not None

    def wandb_rule(self) -> None:
        """W&B's `hyperband` stops, at each of its bands, what isn't among the best 1 in eta there: our `asha_stop`.

        Ray's, which a file can name by its key `scheduler` alone, is the one that we have.
        """
        rule = self.tree.get("early_terminate")
        is_rays = self.moved.get(("early_terminate",)) == ("scheduler",)
        if is_rays or not isinstance(rule, dict) or rule.get("type") != "hyperband":
            return
        rule["type"] = "asha_stop"
        rule.pop("strict", None)
        if "eta" in rule:
            rule["eta"] = _whole(rule["eta"])
            if isinstance(rule["eta"], float):
                upwards = max(2, math.ceil(rule["eta"])) if math.isfinite(rule["eta"]) else 3
                message = f"rungs lie a whole number of times apart, got {rule['eta']}. Write eta: {upwards}."
                self._wrong(("early_terminate", "eta"), message)
                rule["eta"] = upwards
        last, num_bands, eta = rule.get("max_iter"), _whole(rule.pop("s", None)), rule.get("eta", 3)
        if "min_iter" not in rule and all(isinstance(each, int) and each > 0 for each in (last, num_bands, eta)):
            rule["min_iter"] = max(1, math.ceil(last / eta ** min(num_bands, 64)))
            self.moved[("early_terminate", "min_iter")] = ("early_terminate", "s")

    def wandb_command(self) -> None:
        """`command`: the script that it runs, and what it passes to it besides the parameters."""
        if "command" not in self.tree:
            return
        program = self.tree.get("trainable")
        found = script_and_arguments(self.tree.pop("command"), program=program)
        if isinstance(found, str):
            self._wrong(("command",), found)
            return
        script, arguments = found
        if script is not None and script != program:
            self.tree["trainable"] = script
            self.moved[("trainable",)] = ("command",)
        if tuple(arguments) != DEFAULT:
            self.tree.setdefault("arguments", arguments)
            self.moved[("arguments",)] = ("command",)

    def wandb_only(self) -> None:
        """What can't be carried over."""
        for key, message in WANDB_ONLY.items():
            if key in self.tree:
                self._wrong((key,), f"{message}.")
                del self.tree[key]
        if self.tree.get("method") == "custom":
            self._wrong(("method",), "an optimizer of your own can't be used. Write for example optuna.")
            self.tree["method"] = "random"

    def parameters(self, *, is_wandb: bool) -> None:
        """The search space."""
        where = self.moved.get(("parameters",), ("parameters",))
        if isinstance(self.tree.get("parameters"), Mapping):
            found = translate_parameters(self.tree["parameters"], written=where, dotted=is_wandb)
            self.tree["parameters"] = found.tree
            self.moved |= found.moved
            self.problems += found.problems
            if found.method is not None:
                self.tree.setdefault("method", found.method)

    def _map_at(self, where: Where) -> dict[str, Any] | None:
        found: Any = self.tree
        for key in where:
            found = found.get(str(key)) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None

    def _wrong(self, where: Where, message: str) -> None:
        self.problems.append(Problem(where=where, message=message))


def needs_map(value: object) -> str:
    """What to say of a spec that is no map."""
    return f"expected a map with metric and parameters, got {shown(value)}."
