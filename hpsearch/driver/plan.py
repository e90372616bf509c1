"""What a sweep would do, worked out before anything starts: its space, trials, rungs, and how many run at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hpsearch.cluster.connect import address_of
from hpsearch.devices.requests import WorkerRequest, resolve_request
from hpsearch.driver.concurrency import check_a_trial_fits, concurrency_reasons, concurrent_trials
from hpsearch.space.space import Computed, Domain, Space
from hpsearch.spec.sweep import DEFAULT_TRIALS, Sweep
from hpsearch.text import points_text

WORTH_STOPPING = 9
"""Smallest number of trials, and of epochs, at which the plan recommends a stopping rule: two rungs of ASHA, eta 3."""
STOPPING_PAYS = (
    "a stopping rule finds as much with a part of them: early_terminate: {type: asha}, see docs/which-method.md"
)
"""End of the note that recommends a stopping rule; `them` are epochs."""


@dataclass(frozen=True, kw_only=True)
class SpaceRow:
    """One parameter of the search space."""

    name: str
    """Dotted name."""
    kind: str
    """constant | choice | real | integer | computed."""
    values: str
    """Its values, range or expression."""
    when: str | None
    """The condition under which it is active; None if it always is."""
    size: int | None
    """Number of distinct values; None for infinitely many. A computed parameter counts as 1."""
    grid_points: int | None
    """Number of values in a grid; None if the range needs a step or a count for that."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep would do on one machine."""

    name: str | None
    """The sweep's name; None if it has none yet."""
    trainable: str | None
    """The trainable as the spec names it; None if `run` is given a function."""
    metric: str
    """Name of the metric that is optimised."""
    goal: str
    """Direction of the metric: minimize | maximize."""
    method: str
    """The search method."""
    sampler: str | None
    """The algorithm of the method; None if the method has only one."""
    seed: int
    """Seed of the search and of every trial."""
    space: tuple[SpaceRow, ...]
    """The parameters in the order of the spec."""
    space_size: int | None
    """Number of distinct points; None for infinitely many. An upper bound if `is_counted` is false."""
    grid_size: int | None
    """Number of grid points; None if a range has neither step nor count."""
    is_counted: bool
    """Whether both sizes are exact, with constraints taken into account."""
    constraints: tuple[str, ...]
    """Expressions that every point meets."""
    initial_points: int
    """Number of trials whose values the spec gives."""
    trials: int
    """Number of trials."""
    trials_reason: str
    """What sets the number of trials."""
    max_epochs: int | None
    """Epochs of a complete trial; None if the trainable decides."""
    stopping: str
    """Type of the stopping rule."""
    rungs: tuple[int, ...]
    """Epochs after which a trial may be stopped, rising."""
    cpus: float
    """CPUs of the machine."""
    gpus: int
    """GPUs of the machine."""
    cpu_source: str
    """Where the CPUs and GPUs were counted, as the plan shows it."""
    request: WorkerRequest
    """CPUs, GPUs and workers of each trial."""
    concurrent: int
    """Trials that run at once; 0 if none fits here, for a sweep that runs on another machine."""
    concurrent_reasons: tuple[str, ...]
    """Why as many run at once: a calculation for each kind of device, then other limits."""
    prior: str | None
    """Earlier outcomes that the search starts with, in one sentence; None for none."""
    notes: tuple[str, ...]
    """Sentences about what may surprise the user."""


def make_plan(
    sweep: Sweep, *, cpus: float, gpus: int, cpu_source: str = "this machine", prior: str | None = None
) -> Plan:
    """Work out what a sweep would do.

    Args:
        sweep: The sweep.
        cpus: CPUs of the machine.
        gpus: GPUs of the machine.
        cpu_source: Where CPUs and GPUs were counted, as the plan shows it.
        prior: The sentence of `priors.sources.plan_prior`.

    Raises:
        SpecError: A trial asks for more than the machine has, so that it could never start. Not checked if
            `ray.address` or RAY_ADDRESS names another machine.
    """
    request = resolve_request(sweep.resources, gpus)
    machine = (cpus, gpus)
    if address_of(sweep) is None:
        check_a_trial_fits(request, [machine])
    space = sweep.space
    rungs = sweep.rungs
    return Plan(
        name=sweep.name,
        trainable=sweep.trainable,
        metric=sweep.metric.name,
        goal=sweep.metric.goal,
        method=sweep.method,
        sampler=sweep.resolved_sampler,
        seed=sweep.seed,
        space=tuple(_row(space, name, domain) for name, domain in space.domains.items()),
        space_size=space.size,
        grid_size=space.grid_size,
        is_counted=space.is_counted and space.on_grid.is_counted,
        constraints=tuple(each.text for each in space.constraints),
        initial_points=len(sweep.initial_points),
        trials=sweep.max_trials,
        trials_reason=_trials_reason(sweep),
        max_epochs=sweep.max_epochs,
        stopping=sweep.early_terminate.type,
        rungs=rungs,
        cpus=cpus,
        gpus=gpus,
        cpu_source=cpu_source,
        request=request,
        concurrent=concurrent_trials(sweep, request, [machine]),
        concurrent_reasons=concurrency_reasons(sweep, request, machine),
        prior=None if sweep.prior == "none" or prior is None else prior.removeprefix("prior: "),
        notes=(
            *map(str, sweep.surprises),
            *_notes(sweep, rungs, gpus=gpus),
            *([f"{prior}."] if prior and sweep.prior == "none" else []),
        ),
    )


def _row(space: Space, name: str, domain: Domain) -> SpaceRow:
    grid: Sequence[Any] | None = ("computed",) if isinstance(domain, Computed) else domain.grid()
    return SpaceRow(
        name=name,
        kind=type(domain).__name__.lower(),
        values=str(domain),
        when=str(space.conditions[name]) if name in space.conditions else None,
        size=1 if isinstance(domain, Computed) else domain.size,
        grid_points=None if grid is None else len(grid),
    )


def _trials_reason(sweep: Sweep) -> str:
    is_grid, asked = sweep.method == "grid", sweep.limits.trials
    if is_grid and asked is None:
        return "every point of the grid"
    if sweep.max_trials < (asked or DEFAULT_TRIALS):
        return f"the {'grid' if is_grid else 'space'} has no more points"
    return "the default" if asked is None else "limits.trials"


def _notes(sweep: Sweep, rungs: tuple[int, ...], *, gpus: int) -> Iterator[str]:
    points, rule = sweep.space.grid_size, sweep.early_terminate
    if sweep.method == "grid" and points is not None and points > sweep.max_trials:
        runs = f"limits.trials runs {sweep.max_trials} of them, in an order shuffled by the seed"
        yield f"the grid has {points_text(points)} points; {runs}."
    if rule.type == "none" and sweep.max_trials >= WORTH_STOPPING and (sweep.max_epochs or 0) >= WORTH_STOPPING:
        yield f"all {sweep.max_trials} trials train {sweep.max_epochs} epochs; {STOPPING_PAYS}."
    if rule.type in ("asha", "hyperband") and rungs:
        kept = "pauses trials whose state is kept (hpsearch.fit and keep do); others it stops, as asha_stop does"
        yield f"{rule.type} {kept}."
    if rule.type not in ("none", "median") and not rungs:
        yield f"{rule.type} stops no trial: its first rung, min_iter {rule.min_iter}, is the last epoch."
    if rule.type in ("asha", "asha_stop") and sweep.max_epochs is None:
        yield "limits.epochs is not set: there are rungs for as long as the trainable yields."
    if sweep.resources.gpu == "auto" and gpus == 0:
        yield "there is no GPU here: trials run on the CPU."
    if (address := address_of(sweep)) is not None:
        yield f"the sweep runs on the Ray at {address}; what fits at once is counted again there."
