"""What a checked spec becomes: one frozen `Sweep`, with a frozen part for each top-level key of the YAML.

Nothing here reads files or starts anything. `Sweep.from_dict` is the only way in for `specfile` and `hpsearch.run`:
it finds every mistake at once; `Sweep.from_stored` reads a spec of the ledger. Field names follow the code's habits
(units in the name); the YAML's key is the alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from hpsearch.errors import Problem, SpecError
from hpsearch.plain import MAX_DEPTH
from hpsearch.space.checks import check_draws, parse_initial_points
from hpsearch.space.parser import parse_space, spell_out_lists
from hpsearch.space.space import Point, Space
from hpsearch.spec.checks import NO_MODEL, SAMPLERS, check_together, explain
from hpsearch.spec.dialects.translate import needs_map, translate
from hpsearch.spec.parts import EarlyTerminate, Limits, Metric, Part, RaySettings, Resources, wrong
from hpsearch.text import shown

__all__ = ["DEFAULT_TRIALS", "SAMPLERS", "Sweep"]

DEFAULT_TRIALS = 20
BEFORE = {"isolation": "slot"}
"""What a stored spec means by a key that it lacks, where that is not what a new one means: how it was done then."""


def _parse_prior(value: object) -> object:
    if isinstance(value, str) and 0 < len(value) <= 1000:
        return value
    if isinstance(value, Mapping) and value.keys() == {"points"} and isinstance(value["points"], list | tuple):
        return {"points": list(value["points"])}
    expected = "expected none, auto, a sweep's name, a file that ends in .csv or a map with points"
    raise wrong(f"{expected}, got {shown(value)}. Write for example prior: auto.")


def _parse_method(value: object) -> object:
    return "optuna" if value == "bayes" else value


class Sweep(Part):
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
    constraints: list[str] = Field(default_factory=list)
    """Expressions that hold at every point."""
    initial_points: list[dict[str, Any]] = Field(default_factory=list)
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
    isolation: Literal["process", "slot"] = "process"
    """Whether each attempt of a trial has a process of its own, or a slot's process runs trial after trial."""
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

    @classmethod
    def from_stored(cls, spec: Mapping[str, Any]) -> Sweep:
        """The sweep of a spec that is in the ledger, perhaps since an older hpsearch put it there.

        Args:
            spec: As `to_dict` of that time wrote it.

        Raises:
            SpecError: It is no spec.
        """
        return cls.from_dict({**BEFORE, **spec, "parameters": spell_out_lists(spec.get("parameters"))})

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

    def continuing(self, begun: Sweep) -> Sweep:
        """The same sweep, isolated as it began where its spec leaves that open."""
        return self.with_values(isolation=begun.isolation) if self.leaves_isolation_open else self

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
    def leaves_isolation_open(self) -> bool:
        """Whether the spec says nothing of `isolation`: a sweep of the ledger keeps the one that it began with."""
        return "isolation" not in self.model_fields_set

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
