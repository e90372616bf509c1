"""Checks of a spec that need several keys, and messages for the errors that pydantic finds in single keys.

Types and ranges of single values are declared in `parts.py` and `sweep.py`. Mistakes in `parameters`, `constraints` and
`initial_points` are found in the folder `space/`; what a trainable needs is checked by `trainable/locate.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import KeyPath, check_plain, wrong_name
from hpsearch.space.space import Real, Shaped, Space
from hpsearch.spec.other_names import what_to_write
from hpsearch.text import shown
from hpsearch.trainable.arguments import unknown_macro

SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "random": (),
    "optuna": ("tpe", "gp", "cmaes", "qmc"),
    "hyperopt": ("tpe", "anneal"),
    "controller": ("reinforce", "evolution"),
}
"""Method to its samplers, the default first; empty for a method with a single algorithm."""

NO_MODEL = {("grid", None), ("random", None), ("optuna", "qmc")}
"""(method, sampler) of the searches that learn nothing from outcomes."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "list_type": "a list",
    "string_too_short": "some text",
    "string_too_long": "shorter text",
}
"""Type of an error of pydantic to what was expected."""
_ADVICE = {
    "int_type": " Write for example 12.",
    "int_from_float": " Write for example 12.",
    "float_type": " Write for example 0.5.",
    "finite_number": " Write for example 0.5.",
}
"""Type of an error of pydantic to what to write."""
_BOUNDS = {
    "greater_than_equal": ("ge", "of at least"),
    "less_than_equal": ("le", "of at most"),
    "greater_than": ("gt", "above"),
    "less_than": ("lt", "below"),
}
"""Type of an error of pydantic to (key of the bound in the error's context, relation to it)."""
_EXAMPLES = {
    "metric": "metric: {name: val_loss, goal: minimize}",
    "metric.name": "name: val_loss",
    "metric.goal": "goal: minimize or goal: maximize",
    "parameters": "parameters: {lr: {min: 1e-4, max: 1e-1, log: true}}",
    "early_terminate": "early_terminate: {type: asha}",
    "limits": "limits: {trials: 12, epochs: 27}",
    "resources": "resources: {cpu: 2, gpu: 1}",
}
"""Key to an example of it."""
_NOT_A_KEY = re.compile(r"literal\[.*|constrained-.*|function-.*|float|int|\[key\]")
"""Items of a location in pydantic's errors that are no keys of the spec, such as the branches of a union."""


def not_a_map(value: object) -> str:
    """The message about a spec that is not a map."""
    return f"expected a map with metric and parameters, got {shown(value)}."


def explain(details: Iterable[ErrorDetails], model: type[BaseModel]) -> list[Problem]:
    """One problem for each key that pydantic finds wrong or missing.

    Args:
        details: The errors. Those within `parameters` and `data` are ignored: other checks explain them better.
        model: The model that was validated; its fields are the known keys.
    """
    found: dict[KeyPath, Problem] = {}
    for detail in details:
        where = detail["loc"]
        if detail["type"] != "extra_forbidden":
            where = tuple(key for key in where if not _NOT_A_KEY.fullmatch(str(key)))
        if detail["type"] != "missing" and (where[0] == "parameters" or (where[0] == "data" and len(where) > 1)):
            continue
        if detail["type"] == "missing":
            message = f"'{where[-1]}' is missing. Write {_EXAMPLES['.'.join(map(str, where))]}."
            problem = Problem(where=where[:-1], message=message)
        else:
            problem = Problem(where=where, message=_sentence(detail, where, model))
        found.setdefault(where, problem)  # each branch of a union reports the same value
    return list(found.values())


def _sentence(detail: ErrorDetails, where: KeyPath, model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "hpsearch":
        return str(context["message"])
    if kind == "extra_forbidden":
        return _unknown_key(where, model)
    if kind == "invalid_key":
        return f"expected text as a key, got {shown(where[-1])}. Put it in quotes."
    if kind == "literal_error":
        return _unknown_value(str(where[-1]), value, re.findall(r"'([^']*)'", str(context["expected"])))
    if kind in _BOUNDS:
        key, relation = _BOUNDS[kind]
        return f"expected a number {relation} {context[key]:.15g}, got {shown(value)}."
    if kind not in _EXPECTED:
        return f"{detail['msg']}."
    return f"expected {_EXPECTED[kind]}, got {shown(value)}.{_advice(kind, value, '.'.join(map(str, where)))}"


def _advice(kind: str, value: object, key: str) -> str:
    if kind == "string_type" and isinstance(value, int | float):
        return " Put it in quotes."
    if kind == "model_type" and key in _EXAMPLES:
        return f" Write for example {_EXAMPLES[key]}."
    return _ADVICE.get(kind, "")


def _unknown_key(where: KeyPath, model: type[BaseModel]) -> str:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key in where[:-1]:
        part = fields[str(key)].annotation
        assert isinstance(part, type) and issubclass(part, BaseModel)
        fields = {field.alias or name: field for name, field in part.model_fields.items()}
    return f"unknown key '{where[-1]}'.{did_you_mean(str(where[-1]), fields)} Known: {', '.join(fields)}."


def _unknown_value(name: str, value: object, known: list[str]) -> str:
    if known == ["auto"]:
        return f"expected a whole number above 0, or auto, got {shown(value)}."
    if isinstance(value, str):
        advice = what_to_write(value, key=name, known=known)
        return f"unknown {name} '{value[:60]}'.{advice} Known: {', '.join(known)}."
    return f"expected one of {', '.join(known)}, got {shown(value)}."


def check_together(tree: Mapping[str, Any], space: Space) -> list[Problem]:
    """Mistakes that no single key shows.

    Args:
        tree: The spec in hpsearch's keys, not validated: it may have any mistakes, so that all are reported together.
        space: The space of its parameters as far as it could be parsed.
    """
    return [
        *_check_name(tree.get("name")),
        *_check_arguments(tree.get("arguments"), tree.get("trainable")),
        *_check_sampler(tree.get("sampler"), tree.get("method", "random")),
        *_check_epochs(_map(tree, "limits"), _map(tree, "early_terminate")),
        *_check_workers(_map(tree, "resources")),
        *_check_parallel(tree.get("parallel"), _map(tree, "resources")),
        *(_check_grid(space) if tree.get("method") == "grid" else []),
        *_check_data(_map(tree, "data")),
        *_check_parameters(tree.get("parameters")),
        *_check_prior(tree.get("prior"), _map(tree, "metric").get("name")),
    ]


def _map(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, Mapping) else {}


def _check_name(name: object) -> list[Problem]:
    wrong = wrong_name(name) if isinstance(name, str) else None
    return [] if wrong is None else [Problem(where=("name",), message=wrong)]


def _check_arguments(arguments: object, trainable: object) -> list[Problem]:
    if not isinstance(arguments, list):
        return []
    where = ("arguments",)
    if isinstance(trainable, str) and not trainable.endswith(".py"):
        message = f"expected arguments only for a script, and {trainable[:60]} is a function. Remove them."
        return [Problem(where=where, message=message)]
    wrong = unknown_macro([each for each in arguments if isinstance(each, str)])
    return [Problem(where=where, message=f"{wrong}.")] if wrong else []


def _check_sampler(sampler: object, method: object) -> list[Problem]:
    method = "optuna" if method == "bayes" else method
    if not isinstance(sampler, str) or not isinstance(method, str) or sampler in SAMPLERS.get(method, (sampler,)):
        return []
    known = SAMPLERS[method]
    if not known:
        message = f"expected no sampler with method {method}, got '{sampler[:60]}'. Remove it."
    else:
        hint = f"{what_to_write(sampler, key='sampler', known=known)} Known: {', '.join(known)}."
        message = f"unknown sampler '{sampler[:60]}' of method {method}.{hint}"
    return [Problem(where=("sampler",), message=message)]


def _check_epochs(limits: Mapping[str, Any], rule: Mapping[str, Any]) -> list[Problem]:
    epochs, max_iter, min_iter = limits.get("epochs"), rule.get("max_iter"), rule.get("min_iter")
    found = []
    if isinstance(epochs, int) and isinstance(max_iter, int) and epochs != max_iter:
        message = f"expected max_iter to equal limits.epochs, got {max_iter} and {epochs}. Keep one of them."
        found.append(Problem(where=("early_terminate", "max_iter"), message=message))
    if rule.get("type") == "hyperband" and epochs is None and max_iter is None:
        message = "hyperband needs the number of epochs, which is missing. Write for example limits: {epochs: 27}."
        found.append(Problem(where=("early_terminate", "type"), message=message))
    last = epochs if isinstance(epochs, int) else max_iter
    if isinstance(last, int) and isinstance(min_iter, int) and min_iter > last:
        message = f"expected at most the last epoch, {last}, got {min_iter}: no trial would ever be stopped. Lower it."
        found.append(Problem(where=("early_terminate", "min_iter"), message=message))
    return found


def _check_workers(resources: Mapping[str, Any]) -> list[Problem]:
    workers, gpu = resources.get("workers"), resources.get("gpu")
    if not isinstance(workers, int) or not isinstance(gpu, int | float) or workers <= 1 or not 0 < gpu < 1:
        return []
    message = f"expected whole GPUs for {workers} workers, got {gpu:g}: NCCL refuses two ranks on one GPU."
    return [Problem(where=("resources", "gpu"), message=f"{message} Write gpu: 1, or workers: 1.")]


def _check_parallel(parallel: object, resources: Mapping[str, Any]) -> list[Problem]:
    workers, gpu = resources.get("workers"), resources.get("gpu")
    if parallel != "dp":
        return []
    if isinstance(workers, int) and workers > 1:
        message = (
            f"dp is one process with all GPUs, got workers: {workers}. Write workers: 1 and gpu: {workers}, or ddp."
        )
        return [Problem(where=("parallel",), message=message)]
    if isinstance(gpu, int | float) and 0 < gpu < 1:
        message = f"expected whole GPUs, over which dp splits a batch, got {gpu:g}. Write for example gpu: 2."
        return [Problem(where=("resources", "gpu"), message=message)]
    return []


def _check_grid(space: Space) -> list[Problem]:
    found = []
    for name, domain in space.domains.items():
        if isinstance(domain, Real | Shaped) and domain.grid() is None:
            is_range = isinstance(domain, Real)
            got = f"{{min: {domain.min:g}, max: {domain.max:g}}}" if isinstance(domain, Real) else str(domain)
            message = f"expected a list, a step or a count for grid search, got {got}."
            hint = f"{'Add for example count: 5' if is_range else 'List values'}, or use method: random."
            found.append(Problem(where=("parameters", *name.split(".")), message=f"{message} {hint}"))
    return found


def _check_data(data: Mapping[str, Any]) -> list[Problem]:
    found: list[Problem] = []
    check_plain(data, ("data",), found)
    root = data.get("root")
    if root is not None and not isinstance(root, str):
        found.append(Problem(where=("data", "root"), message=f"expected a path or null, got {shown(root)}."))
    return found


def _check_parameters(parameters: object) -> list[Problem]:
    if isinstance(parameters, Mapping) and not parameters:
        example = "Write for example lr: {min: 1e-4, max: 1e-1, log: true}."
        return [Problem(where=("parameters",), message=f"expected at least one parameter, got none. {example}")]
    return []


def _check_prior(prior: object, metric: object) -> list[Problem]:
    """Mistakes in a prior's `points`; other priors are checked where they are read."""
    points = prior.get("points") if isinstance(prior, Mapping) else None
    found: list[Problem] = []
    for position, point in enumerate(points if isinstance(points, list | tuple) else ()):
        where: KeyPath = ("prior", "points", position)
        if not isinstance(point, Mapping) or metric not in point:
            message = f"expected a map of parameters with the metric's value, got {shown(point)}"
            found.append(Problem(where=where, message=f"{message}. Write for example {{lr: 0.1, {metric}: 0.52}}."))
        elif not _is_outcome(point[metric]):
            message = f"expected a number, a list with one for each epoch, or null, got {shown(point[metric])}."
            found.append(Problem(where=(*where, str(metric)), message=message))
    return found


def _is_outcome(value: object) -> bool:
    values = value if isinstance(value, list | tuple) and value else [value]
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    return value is None or (len(numbers) == len(values) and all(map(math.isfinite, numbers)))
