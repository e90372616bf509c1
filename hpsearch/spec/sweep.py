"""A checked spec: the frozen class `Sweep`, with a field for each top-level key of the YAML.

`check_spec` translates a tree, parses its space and checks it, each once. `Sweep.from_dict` (what Python code calls),
`Sweep.from_stored` (specs of the ledger) and `file.py` (YAML files) all use it. Field names carry their unit; where
that differs from the YAML's key, the key is the field's alias.

Reading files and YAML text is in `file.py`, the nested sections are in `parts.py`, checks of several keys together in
`checks.py`, and the meaning of `parameters` in the folder `space/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from hpsearch.errors import Problem, SpecError
from hpsearch.plain import MAX_DEPTH, KeyPath
from hpsearch.space.checks import check_draws, parse_initial_points
from hpsearch.space.parser import clip_ranges, parameters_of_older_versions, parse_space
from hpsearch.space.space import Point, Space
from hpsearch.spec.checks import NO_MODEL, SAMPLERS, check_together, explain, not_a_map
from hpsearch.spec.dialects.translate import Translation, translate
from hpsearch.spec.parts import EarlyTerminate, Limits, Metric, Part, RaySettings, Resources, wrong
from hpsearch.spec.rungs import rung_epochs
from hpsearch.spec.surprises import find_surprises
from hpsearch.text import shown

__all__ = ["DEFAULT_TRIALS", "SAMPLERS", "LoadedSpec", "Sweep", "check_spec", "merge_spec"]

DEFAULT_TRIALS = 20
"""Trials of a sweep that sets no `limits.trials`, grid search apart."""
STORED_DEFAULTS = {"isolation": "slot"}
"""Defaults of older versions that differ from today's: the values of keys that a stored spec lacks."""


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
    """A checked spec. It describes one search and does not change."""

    name: str | None = None
    """Unique in a ledger; None until the driver sets it from the spec's file or the function."""
    trainable: Annotated[str, Field(min_length=1)] | None = None
    """`module:function`, `path/file.py:function`, a script `path/file.py`, or an entry point; None when `run` is given
    a function."""
    arguments: list[str] | None = None
    """Command line of a script, in which `${args}` and related macros are replaced by the parameters; None for
    `${args}` alone."""
    metric: Metric
    """The value to optimise."""
    method: Annotated[Literal["grid", "random", "optuna", "hyperopt", "controller"], BeforeValidator(_parse_method)] = (
        "random"
    )
    """The search method, which proposes configurations."""
    sampler: str | None = None
    """The method's algorithm as the spec gives it; None for the default, see `resolved_sampler`."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the search and of every trial."""
    parameters: dict[str, Any]
    """The tree as it was written; `space` is the search space that it describes."""
    constraints: list[str] = Field(default_factory=list)
    """Expressions that are true at every point of the search."""
    initial_points: list[dict[str, Any]] = Field(default_factory=list)
    """Configurations to try first, as they were written; `first_points` has them by dotted names."""
    prior: Annotated[str | dict[str, list[dict[str, Any]]], BeforeValidator(_parse_prior)] = "none"
    """Earlier outcomes that the search starts from: `none`, `auto`, a sweep's name, a CSV file, or points."""
    early_terminate: EarlyTerminate = EarlyTerminate()
    """The stopping rule."""
    limits: Limits = Limits()
    """When the sweep and its trials end."""
    resources: Resources = Resources()
    """CPUs and GPUs of each worker of a trial."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Number format of the training loop."""
    parallel: Literal["ddp", "dp"] = "ddp"
    """How a trial uses several GPUs: `ddp` runs one process for each, `dp` one process with DataParallel."""
    isolation: Literal["process", "slot"] = "process"
    """`process` gives each attempt of a trial a process of its own; `slot` runs trial after trial in one process."""
    leak_warnings: bool = True
    """Whether a trial's log names what keeps tensors that accumulate from epoch to epoch."""
    data: dict[str, Any] = Field(default_factory=lambda: {"root": None})
    """Settings that the trainable reads from `current_trial().data`."""
    ray: RaySettings = RaySettings()
    """The Ray cluster that runs the sweep."""
    notes: dict[str, Any] | None = None
    """Free text for people; hpsearch does not read it."""

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None) -> Sweep:
        """Make a sweep of a spec, after all checks.

        Args:
            tree: The YAML's content as plain dicts, lists and scalars, in the keys of hpsearch, W&B or Ray Tune.
            overrides: A tree of the same shape. Its maps, except `parameters`, are merged into those of the spec; its
                other values replace those of the spec.

        Raises:
            SpecError: The spec is wrong; the attribute `problems` has every mistake.
        """
        loaded = check_spec(tree, overrides=overrides)
        if loaded.sweep is None:
            raise SpecError(loaded.problems)
        return loaded.sweep

    @classmethod
    def from_stored(cls, spec: Mapping[str, Any]) -> Sweep:
        """The sweep of a spec in the ledger, which an older version of hpsearch may have written.

        Args:
            spec: The result of that version's `to_dict`.

        Raises:
            SpecError: It is not a valid spec.
        """
        parameters = parameters_of_older_versions(spec.get("parameters"))
        return cls.from_dict({**STORED_DEFAULTS, **spec, "parameters": parameters}).with_surprises(())

    def to_dict(self) -> dict[str, Any]:
        """The spec with every default filled in, in the YAML's keys; `from_dict` of it gives an equal sweep."""
        tree = self.model_dump(by_alias=True, mode="json")
        tree["early_terminate"].pop("max_iter")
        tree["limits"]["epochs"] = self.max_epochs
        return {**tree, "parameters": self.parameters, "initial_points": self.initial_points}

    def to_short_dict(self) -> dict[str, Any]:
        """The spec in hpsearch's keys, without the defaults; `from_dict` of it gives an equal sweep."""
        smallest = Sweep(metric=Metric(name="-", goal="minimize"), parameters={}).to_dict()
        return {key: _unlike(value, smallest[key]) for key, value in self.to_dict().items() if value != smallest[key]}

    def continuing(self, begun: Sweep) -> Sweep:
        """This sweep with what it leaves open as in `begun`, the earlier run that it resumes.

        These are the isolation, and whether ranges with a `q` are clipped: an older version did not clip them. A space
        that is the same in other words, as where a note was silenced, is kept as it was written before.
        """
        kept: dict[str, Any] = {"isolation": begun.isolation} if self.leaves_isolation_open else {}
        is_clipped = self.parameters == clip_ranges(begun.parameters, all_of_them=True)
        if self.parameters != begun.parameters and (is_clipped or repr(self.space) == repr(begun.space)):
            kept["parameters"] = begun.parameters
        return self.with_values(**kept) if kept else self

    def with_values(self, **changes: Any) -> Sweep:
        """A copy with other top-level values, which are not checked."""
        changed = self.model_copy(update=changes)
        if not changes.keys().isdisjoint(("parameters", "constraints")):
            changed.__dict__.pop("space", None)  # the copy has the cached space of this sweep
        return changed

    def _with_epochs_in_limits(self) -> Sweep:
        """A copy with the number of epochs in `limits`, also where the spec has it as `early_terminate.max_iter`."""
        rule = self.early_terminate.model_copy(update={"max_iter": None})
        limits = self.limits.model_copy(update={"epochs": self.max_epochs})
        return self.with_values(early_terminate=rule, limits=limits)

    def _with_space(self, space: Space) -> Sweep:
        """This sweep with `space` cached, so that it is not parsed again."""
        self.__dict__["space"] = space  # where cached_property keeps it
        return self

    def with_surprises(self, notes: tuple[Problem, ...]) -> Sweep:
        """This sweep with other notes."""
        self.__dict__["surprises"] = notes  # where cached_property keeps them
        return self

    @cached_property
    def surprises(self) -> tuple[Problem, ...]:
        """Notes on what of the spec may surprise its author; they are no part of the sweep, and are not stored."""
        return ()

    @cached_property
    def space(self) -> Space:
        """The search space that `parameters` and `constraints` describe."""
        return parse_space(self.parameters, [], constraints=self.constraints)

    @property
    def first_points(self) -> tuple[Point, ...]:
        """The values that `initial_points` sets, by dotted names."""
        return tuple(parse_initial_points(self.initial_points, self.space, [], is_grid=self.method == "grid"))

    @property
    def resolved_sampler(self) -> str | None:
        """The algorithm that the search uses, the method's default filled in; None for a method with a single one."""
        return self.sampler or next(iter(SAMPLERS[self.method]), None)

    @property
    def leaves_isolation_open(self) -> bool:
        """Whether the spec does not set `isolation`, so that a resumed sweep keeps the value it started with."""
        return "isolation" not in self.model_fields_set

    @property
    def learns(self) -> bool:
        """Whether the method learns from outcomes, so that a prior changes what it proposes."""
        return (self.method, self.resolved_sampler) not in NO_MODEL

    @property
    def max_epochs(self) -> int | None:
        """Reports after which a trial is complete; None where the trainable decides."""
        return self.limits.epochs or self.early_terminate.max_iter

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which the stopping rule compares trials, rising; empty where it has no rungs."""
        rule = self.early_terminate
        if rule.type in ("none", "median"):
            return ()
        return rung_epochs(min_epochs=rule.min_iter, max_epochs=self.max_epochs, eta=rule.eta)

    @property
    def max_trials(self) -> int:
        """Number of trials, the default filled in; at most the number of points of a finite space."""
        space = self.space
        points = space.grid_size if self.method == "grid" else space.size
        wanted = self.limits.trials or (points if self.method == "grid" and points else DEFAULT_TRIALS)
        return min(wanted, points) if points else wanted


@dataclass(frozen=True, kw_only=True)
class LoadedSpec:
    """A spec after one translation and one check."""

    written: Mapping[str, Any]
    """The tree as the user wrote it, in the keys of hpsearch, W&B or Ray Tune."""
    translation: Translation
    """The tree in hpsearch's keys with the overrides merged in, and the keys under which the user wrote each part."""
    overridden: frozenset[KeyPath]
    """Paths of keys that the overrides set, in hpsearch's keys and as the user wrote them."""
    sweep: Sweep | None
    """The checked sweep, its space parsed; None if there are problems."""
    problems: tuple[Problem, ...]
    """Every mistake, each once, with the path of keys in `written` or in the overrides."""

    def is_overridden(self, where: KeyPath) -> bool:
        """Whether the value at `where` comes from the overrides."""
        return any(where[:length] in self.overridden for length in range(1, len(where) + 1))


def check_spec(tree: Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None) -> LoadedSpec:
    """Translate a spec, override values, parse its space and check it.

    Args:
        tree: Plain dicts, lists and scalars, in the keys of hpsearch, W&B or Ray Tune. It is copied.
        overrides: A tree of the same shape, merged into the spec by `merge_spec`.

    Raises:
        SpecError: The tree is not a map, or nests deeper than MAX_DEPTH levels. Other mistakes are in the result.
    """
    if not isinstance(tree, Mapping):
        raise SpecError(not_a_map(tree))
    translation, overridden = translate(_copied(tree)), frozenset[KeyPath]()
    if overrides:
        translation, overridden = _override(translation, translate(_copied(overrides)))
    sweep, problems = _check(translation)
    is_good = sweep is not None and not problems
    notes = find_surprises(translation) if is_good else []
    found, surprises = (
        tuple(dict.fromkeys(replace(each, where=translation.written(each.where)) for each in those))
        for those in (problems, notes)
    )
    return LoadedSpec(
        written=tree,
        translation=translation,
        overridden=overridden,
        sweep=sweep.with_surprises(surprises) if sweep is not None and is_good else None,
        problems=found,
    )


def merge_spec(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with other values: a map is merged into the map of the same key, except `parameters`; all else replaces.

    Example:
        >>> merge_spec({"limits": {"trials": 9, "epochs": 3}, "seed": 0}, {"limits": {"trials": 2}, "seed": 1})
        {'limits': {'trials': 2, 'epochs': 3}, 'seed': 1}
    """
    merged = {
        key: {**tree[key], **value}
        for key, value in overrides.items()
        if isinstance(tree.get(key), dict) and isinstance(value, dict) and key != "parameters"
    }
    return {**tree, **overrides, **merged}


def _override(spec: Translation, overrides: Translation) -> tuple[Translation, frozenset[KeyPath]]:
    """(The spec with the overrides merged in, the keys that they set)."""
    leaves: set[KeyPath] = set()
    for key, value in overrides.tree.items():
        is_merged = isinstance(value, dict) and key != "parameters"
        leaves |= {(key, inner) for inner in value} if is_merged else {(key,)}
    tree = merge_spec(spec.tree, overrides.tree)
    rule, max_iter = tree.get("early_terminate"), ("early_terminate", "max_iter")
    if ("limits", "epochs") in leaves and max_iter not in leaves and isinstance(rule, dict):
        tree["early_terminate"] = {**rule, "max_iter": None}  # another key for the same number
    moved = {where: old for where, old in spec.moved.items() if where[:1] not in leaves and where[:2] not in leaves}
    merged = Translation(
        tree=tree,
        moved={**moved, **overrides.moved},
        originals=(overrides if "parameters" in overrides.tree else spec).originals,
        problems=(*spec.problems, *overrides.problems),
    )
    return merged, frozenset(leaves.union(overrides.moved.values()))


def _check(translation: Translation) -> tuple[Sweep | None, list[Problem]]:
    """(sweep, problems) of a translated spec; draws and initial points are checked only if all else is right."""
    spec = dict(translation.tree)
    problems: list[Problem] = []
    space = Space()
    if "parameters" in spec:
        spec["parameters"] = clip_ranges(spec["parameters"])
        space = parse_space(spec["parameters"], problems, constraints=spec.get("constraints", ()))
    sweep = None
    try:
        sweep = Sweep.model_validate(spec)._with_space(space)._with_epochs_in_limits()
    except ValidationError as error:
        problems += explain(error.errors(), Sweep)
    problems += check_together(spec, space)
    problems += translation.problems
    is_grid = spec.get("method") == "grid"
    if not problems:
        problems += check_draws(space.on_grid if is_grid else space)
    if not problems:
        parse_initial_points(spec.get("initial_points", ()), space, problems, is_grid=is_grid)
    return sweep, problems


def _unlike(value: Any, default: Any) -> Any:
    """A part of a spec without the keys that have their default; the metric and the parameters are kept whole."""
    if not isinstance(value, dict) or not isinstance(default, dict) or "goal" in value:
        return value
    return {key: inner for key, inner in value.items() if key not in default or inner != default[key]}


def _copied(tree: Any, depth: int = 0) -> Any:
    """A deep copy as plain dicts and lists, independent of later edits by the caller."""
    if depth > MAX_DEPTH:  # a dict that contains itself, too
        raise SpecError(f"expected at most {MAX_DEPTH} levels of nesting, got more. Write fewer levels.")
    if isinstance(tree, Mapping):
        return {key: _copied(value, depth + 1) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_copied(value, depth + 1) for value in tree]
    return tree
