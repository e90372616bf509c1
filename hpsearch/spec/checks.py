"""What is wrong with a spec, in our own words: pydantic's findings put into sentences, and mistakes across keys."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import NAME_PATTERN, KeyPath, check_plain
from hpsearch.space.space import Real, Shaped, Space
from hpsearch.text import shown
from hpsearch.trainable.arguments import unknown_macro

SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "random": (),
    "optuna": ("tpe", "gp", "cmaes", "qmc"),
    "hyperopt": ("tpe", "anneal"),
    "controller": ("reinforce", "evolution"),
}
"""Method to its algorithms, the default first."""

NO_MODEL = {("grid", None), ("random", None), ("optuna", "qmc")}
"""Methods, and samplers of methods, that learn nothing from outcomes."""

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
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "above"),
    "less_than": ("lt", "below"),
}
_EXAMPLES = {
    "metric": "metric: {name: val_loss, goal: minimize}",
    "metric.name": "name: val_loss",
    "metric.goal": "goal: minimize or goal: maximize",
    "parameters": "parameters: {lr: {min: 1e-4, max: 1e-1, log: true}}",
}
_NOT_A_KEY = re.compile(r"literal\[.*|constrained-.*|function-.*|float|int|\[key\]")
"""What pydantic puts into a place besides the keys of the spec: the branches of a union."""


def explain(details: Iterable[ErrorDetails], model: type[BaseModel]) -> list[Problem]:
    """One problem for each place that pydantic complains about, and for each missing key.

    Args:
        details: Those about what is in `parameters` and `data` are passed over: other checks have more to say.
        model: What was validated; its fields are the known keys.
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
        found.setdefault(where, problem)  # each branch of a union complains about the same value
    return list(found.values())


def _sentence(detail: ErrorDetails, where: KeyPath, model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "hpsearch":
        return str(context["message"])
    if kind == "extra_forbidden":
        return _unknown_key(where, model)
    if kind == "invalid_key":
        return f"a key must be text, got {shown(where[-1])}. Put it in quotes."
    if kind == "literal_error":
        return _unknown_word(str(where[-1]), value, re.findall(r"'([^']*)'", str(context["expected"])))
    if kind in _BOUNDS:
        key, word = _BOUNDS[kind]
        return f"expected a number {word} {context[key]:.15g}, got {shown(value)}."
    return f"expected {_EXPECTED[kind]}, got {shown(value)}." if kind in _EXPECTED else f"{detail['msg']}."


def _unknown_key(where: KeyPath, model: type[BaseModel]) -> str:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key in where[:-1]:
        part = fields[str(key)].annotation
        assert isinstance(part, type) and issubclass(part, BaseModel)
        fields = {field.alias or name: field for name, field in part.model_fields.items()}
    return f"unknown key '{where[-1]}'.{did_you_mean(str(where[-1]), fields)} Known: {', '.join(fields)}."


def _unknown_word(name: str, value: object, known: list[str]) -> str:
    if known == ["auto"]:
        return f"expected a whole number above 0, or auto, got {shown(value)}."
    if isinstance(value, str):
        return f"unknown {name} '{value[:60]}'.{did_you_mean(value, known)} Known: {', '.join(known)}."
    return f"expected one of {', '.join(known)}, got {shown(value)}."


def check_together(tree: Mapping[str, Any], space: Space) -> list[Problem]:
    """What no single key shows.

    Args:
        tree: The spec as it was written, wrong as it may be, so that these mistakes are told along with all others.
        space: What could be read of its parameters.
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
    if not isinstance(name, str) or NAME_PATTERN.fullmatch(name):
        return []
    expected = "letters, digits, '.', '_' or '-', a letter or digit first, at most 64 in all"
    return [Problem(where=("name",), message=f"expected {expected}, got {shown(name)}.")]


def _check_arguments(arguments: object, trainable: object) -> list[Problem]:
    if not isinstance(arguments, list):
        return []
    where = ("arguments",)
    if isinstance(trainable, str) and not trainable.endswith(".py"):
        message = f"only a script has a command line, and {trainable[:60]} is a function. Remove them."
        return [Problem(where=where, message=message)]
    wrong = unknown_macro([word for word in arguments if isinstance(word, str)])
    return [Problem(where=where, message=f"{wrong}.")] if wrong else []


def _check_sampler(sampler: object, method: object) -> list[Problem]:
    method = "optuna" if method == "bayes" else method
    if not isinstance(sampler, str) or not isinstance(method, str) or sampler in SAMPLERS.get(method, (sampler,)):
        return []
    known = SAMPLERS[method]
    hint = f"{did_you_mean(sampler, known)} Known: {', '.join(known)}." if known else " Remove it."
    return [Problem(where=("sampler",), message=f"method {method} has no sampler '{sampler[:60]}'.{hint}")]


def _check_epochs(limits: Mapping[str, Any], rule: Mapping[str, Any]) -> list[Problem]:
    epochs, max_iter, min_iter = limits.get("epochs"), rule.get("max_iter"), rule.get("min_iter")
    found = []
    if isinstance(epochs, int) and isinstance(max_iter, int) and epochs != max_iter:
        message = f"max_iter {max_iter} and limits.epochs {epochs} mean the same thing. Keep one of them."
        found.append(Problem(where=("early_terminate", "max_iter"), message=message))
    if rule.get("type") == "hyperband" and epochs is None and max_iter is None:
        message = "hyperband deals out trials by how far they may go. Write for example limits: {epochs: 27}."
        found.append(Problem(where=("early_terminate", "type"), message=message))
    last = epochs if isinstance(epochs, int) else max_iter
    if isinstance(last, int) and isinstance(min_iter, int) and min_iter > last:
        message = f"min_iter {min_iter} is beyond the last epoch {last}: no trial would ever be stopped. Lower it."
        found.append(Problem(where=("early_terminate", "min_iter"), message=message))
    return found


def _check_workers(resources: Mapping[str, Any]) -> list[Problem]:
    workers, gpu = resources.get("workers"), resources.get("gpu")
    if not isinstance(workers, int) or not isinstance(gpu, int | float) or workers <= 1 or not 0 < gpu < 1:
        return []
    message = f"{workers} workers can't share a GPU by fractions, got {gpu:g}: NCCL refuses two ranks on one GPU."
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
        message = f"dp splits a batch over whole GPUs, got gpu: {gpu:g}. Write for example gpu: 2."
        return [Problem(where=("resources", "gpu"), message=message)]
    return []


def _check_grid(space: Space) -> list[Problem]:
    found = []
    for name, domain in space.domains.items():
        if isinstance(domain, Real | Shaped) and domain.grid() is None:
            is_range = isinstance(domain, Real)
            got = f"{{min: {domain.min:g}, max: {domain.max:g}}}" if isinstance(domain, Real) else str(domain)
            message = f"grid needs a list, a step or a count, got {got}."
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
        return [Problem(where=("parameters",), message="there is no parameter. Write at least one.")]
    return []


def _check_prior(prior: object, metric: object) -> list[Problem]:
    """What is wrong with points written by hand; other priors are looked at where they are."""
    points = prior.get("points") if isinstance(prior, Mapping) else None
    found: list[Problem] = []
    for position, point in enumerate(points if isinstance(points, list | tuple) else ()):
        where: KeyPath = ("prior", "points", position)
        if not isinstance(point, Mapping) or metric not in point:
            message = f"expected a map of parameters with the metric's value, got {shown(point)}"
            found.append(Problem(where=where, message=f"{message}. Write for example {{lr: 0.1, {metric}: 0.52}}."))
        elif not _is_outcome(point[metric]):
            message = f"expected a number, the list of every epoch's or null, got {shown(point[metric])}."
            found.append(Problem(where=(*where, str(metric)), message=message))
    return found


def _is_outcome(value: object) -> bool:
    values = value if isinstance(value, list | tuple) and value else [value]
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    return value is None or (len(numbers) == len(values) and all(map(math.isfinite, numbers)))
