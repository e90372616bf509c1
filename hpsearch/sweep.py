"""What a checked spec becomes: one frozen `Sweep`, with a frozen part for each top-level key of the YAML.

Nothing here reads files or starts anything. `Sweep.from_dict` is the only way in for `specfile` and `hpsearch.run`:
it finds every mistake at once. Field names follow the code's habits (units in the name); the YAML's key is the alias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from hpsearch.errors import Problem, SpecError, did_you_mean
from hpsearch.space import Constant, Domain, Real, Space
from hpsearch.space_parser import parse_space, shown

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_TRIALS = 20
SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "grid": (),
    "random": (),
    "optuna": ("tpe", "gp", "cmaes", "qmc"),
    "hyperopt": ("tpe", "anneal"),
}
"""Method to its algorithms, the default first."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("hpsearch", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """Seconds of a number or of a text such as `90s`, `30m`, `2h`, `1d`, `1h30m`; above 0.

    Example:
        >>> parse_duration("1h30m"), parse_duration(90)
        (5400.0, 90.0)
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?[smhd])+", value.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", value))
        if seconds > 0:
            return seconds
    raise _wrong(f"expected a time above 0, got {shown(value)}. Write for example 90s, 30m or 1h30m.")


def _parse_gpu(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        if value == "auto":
            return value
        raise _wrong(f"expected auto, a whole number or a fraction of one GPU, got {shown(value)}. Write for example 1 or 0.25.")
    if value > 1 and value != int(value):
        raise _wrong(f"more than one GPU must be a whole number, got {value}. Write {int(value)} or {int(value) + 1}.")
    return float(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=False, use_attribute_docstrings=True)


class Metric(_Part):
    """What is optimised."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Key of the dict that the trainable yields."""
    goal: Literal["minimize", "maximize"]
    """Which way is better."""

    @property
    def sign(self) -> int:
        """1 to minimise, -1 to maximise: `sign * value` is always better when lower."""
        return 1 if self.goal == "minimize" else -1


class EarlyTerminate(_Part):
    """The stopping rule."""

    type: Literal["none", "asha", "asha_stop"] = "none"
    """`asha` pauses at a rung and promotes the best; `asha_stop` stops the rest at once; `none` stops nobody."""
    min_iter: Count = 1
    """Reports that no trial is stopped before: the first rung."""
    max_iter: Count | None = None
    """The same as `limits.epochs`."""
    eta: Annotated[int, Field(ge=2, le=1000)] = 3
    """One trial in this many passes a rung."""


class Limits(_Part):
    """When to end."""

    trials: Count | None = None
    """Trials in all; None for 20, or for every point of a grid."""
    epochs: Count | None = None
    """Reports after which a trial is done; None leaves it to the trainable."""
    concurrent: Literal["auto"] | Count = "auto"
    """Trials at once; `auto` for as many as the resources allow."""
    time_s: Duration | None = Field(default=None, alias="time")
    """Seconds after which the sweep starts nothing and interrupts what runs."""
    trial_time_s: Duration | None = Field(default=None, alias="trial_time")
    """Seconds of training after which a trial is killed as `hung`."""
    retries: Annotated[int, Field(ge=0, le=100)] = 1
    """Further attempts at a trial that failed for an unknown cause."""
    failures: Count | None = None
    """Counted failures that end the sweep; None for 3 identical ones without a success."""


class Resources(_Part):
    """What each worker of a trial gets."""

    cpu: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 1.0
    """CPU cores of a worker; may be a fraction."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_parse_gpu)] = "auto"
    """GPUs of a worker: a whole number, a fraction below 1, or `auto` for 1 where there is any."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of a trial; more than 1 is DistributedDataParallel."""

    @model_validator(mode="after")
    def _one_rank_per_gpu(self) -> Resources:
        if self.workers > 1 and isinstance(self.gpu, float) and 0 < self.gpu < 1:
            raise _wrong(
                f"{self.workers} workers can't share a GPU by fractions (gpu: {self.gpu:g}): NCCL refuses two ranks on one GPU."
                " Write gpu: 1, or workers: 1."
            )
        return self


class RaySettings(_Part):
    """Which Ray."""

    address: Annotated[str, Field(min_length=1)] | None = None
    """Address of a running Ray; None for a local one that ends with the sweep."""


class Sweep(_Part):
    """One checked spec: one search."""

    name: str | None = None
    """Unique in a ledger; None until the driver names it after its file or function."""
    trainable: Annotated[str, Field(min_length=1)] | None = None
    """`module:function`, `path/file.py:function`, or an entry point; None when `run` is given a function."""
    metric: Metric
    """What is optimised."""
    method: Literal["grid", "random", "optuna", "hyperopt"] = "random"
    """Who proposes configurations."""
    sampler: str | None = None
    """The method's own algorithm; None for its default."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seeds the search and every trial."""
    parameters: dict[str, Any]
    """The tree as it was written; `space` is what it means."""
    early_terminate: EarlyTerminate = EarlyTerminate()
    """The stopping rule."""
    limits: Limits = Limits()
    """When to end."""
    resources: Resources = Resources()
    """What each worker gets."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the training loop."""
    data: dict[str, Any] = Field(default_factory=lambda: {"root": None})
    """Given to the trainable as `current_trial().data`."""
    ray: RaySettings = RaySettings()
    """Which Ray."""

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Sweep:
        """Check a spec.

        Args:
            tree: The YAML's content as plain dicts, lists and scalars.

        Raises:
            SpecError: With every mistake that was found; `Problem.where` leads to each.
        """
        if not isinstance(tree, Mapping):
            raise SpecError(f"expected a map with metric and parameters, got {shown(tree)}.")
        problems: list[Problem] = []
        tree = {**tree, "method": "optuna"} if tree.get("method") == "bayes" else dict(tree)
        space = parse_space(tree["parameters"], problems) if "parameters" in tree else Space()
        sweep = None
        try:
            sweep = cls.model_validate(tree)
        except ValidationError as error:
            problems += [problem for detail in error.errors() if (problem := _explain(detail)) is not None]
        problems += _check_together(tree, space)
        if problems or sweep is None:
            raise SpecError(_unique(problems))
        return sweep

    def to_dict(self) -> dict[str, Any]:
        """The resolved spec, every default filled in, as the YAML spells it; `from_dict` gives the same sweep again."""
        tree = self.model_dump(by_alias=True, mode="json")
        tree["early_terminate"].pop("max_iter")
        tree["limits"]["epochs"] = self.max_epochs
        return {**tree, "parameters": self.parameters}

    def with_values(self, **changes: Any) -> Sweep:
        """A copy with other top-level values; they are taken as they are."""
        return self.model_copy(update=changes)

    @property
    def space(self) -> Space:
        """What `parameters` means."""
        return parse_space(self.parameters, [])

    @property
    def max_epochs(self) -> int | None:
        """Reports after which a trial is done; None where the trainable decides."""
        return self.limits.epochs or self.early_terminate.max_iter

    @property
    def max_trials(self) -> int:
        """Trials in all, the default filled in, and never more than a finite space has points."""
        space = self.space
        points = space.grid_size if self.method == "grid" else space.size
        wanted = self.limits.trials or (points if self.method == "grid" and points else DEFAULT_TRIALS)
        return min(wanted, points) if points else wanted


def _check_together(tree: Mapping[str, Any], space: Space) -> list[Problem]:
    """What no single key shows."""
    found = [*_check_name(tree), *_check_sampler(tree), *_check_epochs(tree)]
    if tree.get("method") == "grid":
        found += [
            Problem(
                where=("parameters", *name.split(".")),
                message=f"grid needs a list, a step or a count, got {_range(domain)}. Add for example count: 5, or use method: random.",
            )
            for name, domain in space.domains.items()
            if domain.grid() is None
        ]
    if "parameters" in tree and isinstance(tree["parameters"], Mapping) and not tree["parameters"]:
        found.append(Problem(where=("parameters",), message="there is no parameter. Write at least one."))
    data = tree.get("data")
    if isinstance(data, Mapping) and "root" in data and not isinstance(data["root"], str | None):
        found.append(Problem(where=("data", "root"), message=f"expected a path or null, got {shown(data['root'])}."))
    return found


def _check_name(tree: Mapping[str, Any]) -> list[Problem]:
    name = tree.get("name")
    if isinstance(name, str) and not NAME_PATTERN.fullmatch(name):
        message = f"expected letters, digits, '.', '_' or '-', a letter or digit first, at most 64 in all, got {name[:80]!r}."
        return [Problem(where=("name",), message=message)]
    return []


def _check_sampler(tree: Mapping[str, Any]) -> list[Problem]:
    sampler, method = tree.get("sampler"), tree.get("method", "random")
    if not isinstance(sampler, str) or method not in SAMPLERS or sampler in SAMPLERS[method]:
        return []
    known = SAMPLERS[method]
    hint = f"{did_you_mean(sampler, known)} Known: {', '.join(known)}." if known else " Remove it."
    return [Problem(where=("sampler",), message=f"method {method} has no sampler '{sampler}'.{hint}")]


def _check_epochs(tree: Mapping[str, Any]) -> list[Problem]:
    limits, rule = tree.get("limits"), tree.get("early_terminate")
    epochs = limits.get("epochs") if isinstance(limits, Mapping) else None
    if not isinstance(rule, Mapping):
        return []
    max_iter, min_iter = rule.get("max_iter"), rule.get("min_iter")
    found = []
    if isinstance(epochs, int) and isinstance(max_iter, int) and epochs != max_iter:
        message = f"max_iter {max_iter} and limits.epochs {epochs} mean the same thing. Keep one of them."
        found.append(Problem(where=("early_terminate", "max_iter"), message=message))
    last = epochs or max_iter
    if isinstance(last, int) and isinstance(min_iter, int) and min_iter > last:
        message = f"min_iter {min_iter} is beyond the last epoch {last}: no trial would ever be stopped. Lower it."
        found.append(Problem(where=("early_terminate", "min_iter"), message=message))
    return found


def _range(domain: Domain) -> str:
    assert isinstance(domain, Real) and not isinstance(domain, Constant)
    return f"{{min: {domain.min:g}, max: {domain.max:g}}}"


def _explain(detail: ErrorDetails) -> Problem | None:
    """A pydantic error in our words; None where the space's parser has said it already."""
    where, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    where = tuple(key for key in where if not str(key).startswith(("literal[", "constrained-", "float", "int", "function-")))
    if where[:1] == ("parameters",) and kind != "missing":
        return None
    value = detail["input"]
    if kind == "extra_forbidden":
        message = _unknown_key(where)
    elif kind == "missing":
        return Problem(where=where[:-1], message=f"'{where[-1]}' is missing. Write {_example(where)}.")
    elif kind == "literal_error":
        message = _unknown_word(where, value, str(context["expected"]))
    elif kind == "hpsearch":
        message = str(context["message"])
    else:
        expected = _expected(kind, context)
        message = f"expected {expected}, got {shown(value)}." if expected else f"{detail['msg']}, got {shown(value)}."
    return Problem(where=where, message=message)


def _unknown_key(where: tuple[str | int, ...]) -> str:
    part: type[BaseModel] = Sweep
    for key in where[:-1]:
        part = {"metric": Metric, "early_terminate": EarlyTerminate, "limits": Limits, "resources": Resources, "ray": RaySettings}[str(key)]
    known = [field.alias or name for name, field in part.model_fields.items()]
    return f"unknown key '{where[-1]}'.{did_you_mean(str(where[-1]), known)} Known: {', '.join(known)}."


def _unknown_word(where: tuple[str | int, ...], value: object, expected: str) -> str:
    known = re.findall(r"'([^']*)'", expected)
    name = str(where[-1])
    if isinstance(value, str) and name != "concurrent":
        return f"unknown {name} '{value[:60]}'.{did_you_mean(value, known)} Known: {', '.join(known)}."
    return f"expected {'a whole number or ' if name == 'concurrent' else ''}{', '.join(known)}, got {shown(value)}."


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    words = {"string_type": "text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
             "dict_type": "a map", "model_type": "a map", "int_from_float": "a whole number", "string_too_short": "some text"}  # fmt: skip
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most"), "greater_than": ("gt", "above"), "less_than": ("lt", "below")}
    if kind in bounds:
        key, word = bounds[kind]
        return f"a number {word} {context[key]:g}"
    return words.get(kind, "")


def _example(where: tuple[str | int, ...]) -> str:
    examples = {
        ("metric",): "metric: {name: val_loss, goal: minimize}",
        ("metric", "name"): "metric: {name: val_loss, goal: minimize}",
        ("metric", "goal"): "goal: minimize or goal: maximize",
        ("parameters",): "parameters: {lr: {min: 1e-4, max: 1e-1, log: true}}",
    }
    return examples.get(tuple(str(key) for key in where), f"{where[-1]}: ...")


def _unique(problems: list[Problem]) -> list[Problem]:
    """One problem for each place: a union's branches each complain about the same value."""
    first: dict[tuple[str | int, ...], Problem] = {}
    return [first.setdefault(p.where, p) for p in problems if p.where not in first or first[p.where] is p]
