"""What a checked spec becomes: one frozen `Sweep`, with a frozen part for each top-level key of the YAML.

Nothing here reads files or starts anything. `Sweep.from_dict` is the only way in for `specfile` and `hpsearch.run`:
it finds every mistake at once. Field names follow the code's habits (units in the name); the YAML's key is the alias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from hpsearch.dialects import needs_map, translate
from hpsearch.errors import Problem, SpecError
from hpsearch.plain import MAX_DEPTH, NAME_PATTERN, shown
from hpsearch.space import Point, Space
from hpsearch.space_checks import check_draws, parse_initial_points
from hpsearch.space_parser import parse_space
from hpsearch.sweep_checks import NO_MODEL, SAMPLERS, check_together, explain

__all__ = [
    "DEFAULT_TRIALS",
    "NAME_PATTERN",
    "SAMPLERS",
    "EarlyTerminate",
    "Limits",
    "Metric",
    "RaySettings",
    "Resources",
    "Sweep",
    "parse_duration",
]

DEFAULT_TRIALS = 20
MAX_DURATION_S = 1e9
"""Some thirty years."""
MAX_GPUS = 1024
"""GPUs of one worker; beyond it a number is a slip of the finger."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("hpsearch", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """Seconds of a number or of a text such as `90s`, `30m`, `2h`, `1d`, `1h30m`; above 0.

    Example:
        >>> parse_duration("1h30m"), parse_duration(90)
        (5400.0, 90.0)
    """
    seconds: object = value
    if isinstance(value, str) and re.fullmatch(r"([0-9]+(\.[0-9]+)?[smhd])+", value.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([smhd])", value))
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= MAX_DURATION_S:
        return float(seconds)
    raise _wrong(f"expected a time above 0, got {shown(value)}. Write for example 90s, 30m or 1h30m.")


def _parse_gpu(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_GPUS:
        expected = f"expected auto, a whole number or a fraction of one GPU, got {shown(value)}"
        raise _wrong(f"{expected}. Write for example 1 or 0.25.")
    if value > 1 and value != int(value):
        whole = int(value)
        raise _wrong(f"more than one GPU must be a whole number, got {value}. Write {whole} or {whole + 1}.")
    return float(value)


def _parse_prior(value: object) -> object:
    if isinstance(value, str) and 0 < len(value) <= 1000:
        return value
    if isinstance(value, Mapping) and value.keys() == {"points"} and isinstance(value["points"], list | tuple):
        return {"points": list(value["points"])}
    expected = "expected none, auto, a sweep's name, a file that ends in .csv or a map with points"
    raise _wrong(f"{expected}, got {shown(value)}. Write for example prior: auto.")


def _parse_method(value: object) -> object:
    return "optuna" if value == "bayes" else value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


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

    type: Literal["none", "asha", "asha_stop", "hyperband", "median"] = "none"
    """`asha` pauses at a rung and promotes the best; `asha_stop` stops the rest at once; `hyperband` is several ASHAs
    with later and later first rungs; `median` stops who is worse than half of the others; `none` stops nobody."""
    min_iter: Count = 1
    """Reports that no trial is stopped before: the first rung."""
    max_iter: Count | None = None
    """The same as `limits.epochs`."""
    eta: Annotated[int, Field(ge=2, le=1000)] = 3
    """One trial in this many passes a rung."""
    brackets: Annotated[int, Field(ge=1, le=100)] | None = None
    """ASHAs of `hyperband`; None for one for each rung, and one without."""
    min_trials: Count = 3
    """Others that `median` compares a trial with, at least."""


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
    checkpoints: Literal["all"] | Count = 3
    """Finished trials, the best, whose checkpoints are kept beside those that are needed to go on."""


class Resources(_Part):
    """What each worker of a trial gets."""

    cpu: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 1.0
    """CPU cores of a worker; may be a fraction."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_parse_gpu)] = "auto"
    """GPUs of a worker: a whole number, a fraction below 1, or `auto` for 1 where there is any."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of a trial; more than 1 is DistributedDataParallel."""
    loaders: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)] = "auto"
    """DataLoader processes of a worker; `auto` for its share of four a GPU, of this machine's threads at most."""

    @property
    def num_loaders(self) -> int | None:
        """`loaders`; None where it is `auto`."""
        return None if self.loaders == "auto" else self.loaders


class RaySettings(_Part):
    """Which Ray."""

    address: Annotated[str, Field(min_length=1)] | None = None
    """Address of a running Ray; None for a local one that ends with the sweep."""


class Sweep(_Part):
    """One checked spec: one search."""

    name: str | None = None
    """Unique in a ledger; None until the driver names it after its file or function."""
    trainable: Annotated[str, Field(min_length=1)] | None = None
    """`module:function`, `path/file.py:function`, a script `path/file.py`, or an entry point; None when `run` is given
    a function."""
    arguments: list[str] | None = None
    """Command line of a script; `${args}` and its relatives stand for the parameters. None for `${args}` alone."""
    metric: Metric
    """What is optimised."""
    method: Annotated[Literal["grid", "random", "optuna", "hyperopt", "controller"], BeforeValidator(_parse_method)] = (
        "random"
    )
    """Who proposes configurations."""
    sampler: str | None = None
    """The method's own algorithm; None for its default."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seeds the search and every trial."""
    parameters: dict[str, Any]
    """The tree as it was written; `space` is what it means."""
    constraints: list[str] = []
    """Expressions that hold at every point."""
    initial_points: list[dict[str, Any]] = []
    """What is tried first, as it was written; `first_points` is what it means."""
    prior: Annotated[str | dict[str, list[dict[str, Any]]], BeforeValidator(_parse_prior)] = "none"
    """What a method that learns knows before the first trial: `none`, `auto`, a sweep's name, a CSV file, or points."""
    early_terminate: EarlyTerminate = EarlyTerminate()
    """The stopping rule."""
    limits: Limits = Limits()
    """When to end."""
    resources: Resources = Resources()
    """What each worker gets."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Number format of the training loop."""
    parallel: Literal["ddp", "dp"] = "ddp"
    """How a trial uses several GPUs: a process for each, or one process with DataParallel."""
    leak_warnings: bool = True
    """Whether a trial's log says who keeps tensors that pile up from epoch to epoch."""
    data: dict[str, Any] = Field(default_factory=lambda: {"root": None})
    """Given to the trainable as `current_trial().data`."""
    ray: RaySettings = RaySettings()
    """Which Ray."""
    notes: dict[str, Any] | None = None
    """For people; nothing here reads it."""

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Sweep:
        """Check a spec.

        Args:
            tree: The YAML's content as plain dicts, lists and scalars; in our words, W&B's or Ray Tune's.

        Raises:
            SpecError: With every mistake that was found; `Problem.where` leads to each.
        """
        if not isinstance(tree, Mapping):
            raise SpecError(needs_map(tree))
        translation = translate(_copied(tree))
        spec = translation.tree
        problems: list[Problem] = []
        space = Space()
        if "parameters" in spec:
            space = parse_space(spec["parameters"], problems, constraints=spec.get("constraints", ()))
        sweep = None
        try:
            sweep = cls.model_validate(spec)
        except ValidationError as error:
            problems += explain(error.errors(), cls)
        problems += check_together(spec, space)
        problems += translation.problems
        if not problems:
            is_grid = spec.get("method") == "grid"
            problems += check_draws(space.on_grid if is_grid else space)
        if not problems:
            parse_initial_points(spec.get("initial_points", ()), space, problems, is_grid=is_grid)
        if problems or sweep is None:
            written = [replace(each, where=translation.written(each.where)) for each in problems]
            raise SpecError(dict.fromkeys(written))
        return sweep._with_one_length()

    def to_dict(self) -> dict[str, Any]:
        """The resolved spec, every default filled in, as the YAML spells it; `from_dict` gives the same sweep again."""
        tree = self.model_dump(by_alias=True, mode="json")
        tree["early_terminate"].pop("max_iter")
        tree["limits"]["epochs"] = self.max_epochs
        return {**tree, "parameters": self.parameters, "initial_points": self.initial_points}

    def to_short_dict(self) -> dict[str, Any]:
        """The spec in our own spelling, without what has its default; `from_dict` gives the same sweep again."""
        smallest = Sweep(metric=Metric(name="-", goal="minimize"), parameters={}).to_dict()
        return {key: _unlike(value, smallest[key]) for key, value in self.to_dict().items() if value != smallest[key]}

    def with_values(self, **changes: Any) -> Sweep:
        """A copy with other top-level values; they are taken as they are."""
        changed = self.model_copy(update=changes)
        changed.__dict__.pop("space", None)  # a cached one came along
        return changed

    def _with_one_length(self) -> Sweep:
        """The number of epochs in `limits`, whichever of its two names it was written by."""
        rule = self.early_terminate.model_copy(update={"max_iter": None})
        limits = self.limits.model_copy(update={"epochs": self.max_epochs})
        return self.with_values(early_terminate=rule, limits=limits)

    @cached_property
    def space(self) -> Space:
        """What `parameters` and `constraints` mean."""
        return parse_space(self.parameters, [], constraints=self.constraints)

    @property
    def first_points(self) -> tuple[Point, ...]:
        """The values that `initial_points` sets, by dotted names."""
        return tuple(parse_initial_points(self.initial_points, self.space, [], is_grid=self.method == "grid"))

    @property
    def learns(self) -> bool:
        """Whether the method learns from outcomes, so that priors are of use to it."""
        return (self.method, self.sampler) not in NO_MODEL and (self.method, None) not in NO_MODEL

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


def _unlike(value: Any, default: Any) -> Any:
    """A part of a spec without the keys that have their default; metric and parameters have none."""
    if not isinstance(value, dict) or not isinstance(default, dict) or "goal" in value:
        return value
    return {key: inner for key, inner in value.items() if key not in default or inner != default[key]}


def _copied(tree: Any, depth: int = 0) -> Any:
    """A copy that the caller's later edits don't reach, of plain dicts and lists."""
    if depth > MAX_DEPTH:  # also ends a dict that holds itself
        raise SpecError(f"values nest deeper than {MAX_DEPTH} levels. Write it flatter.")
    if isinstance(tree, Mapping):
        return {key: _copied(value, depth + 1) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_copied(value, depth + 1) for value in tree]
    return tree
