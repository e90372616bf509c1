"""What a sweep would do, before anything starts: the space, the trials, the rungs, and how many trials run at once."""

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
"""Trials, and epochs of each, from which the plan recommends a stopping rule: two rungs of ASHA, eta 3."""
STOPPING_PAYS = (
    "a stopping rule finds as much with a part of them: early_terminate: {type: asha}, see docs/which-method.md"
)


@dataclass(frozen=True, kw_only=True)
class SpaceRow:
    """One parameter."""

    name: str
    """Dotted."""
    kind: str
    """constant | choice | real | integer | computed."""
    values: str
    """Its values, range or expression."""
    when: str | None
    """When it is active; None for always."""
    size: int | None
    """Number of distinct values; None for infinitely many. A computed one has one for each point, and counts as 1."""
    grid_points: int | None
    """Values that grid search takes; None where it needs a step or a count."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep would do on a machine."""

    name: str | None
    """The sweep's name."""
    trainable: str | None
    """As the spec names it."""
    metric: str
    """Name of the objective."""
    goal: str
    """minimize | maximize."""
    method: str
    """Who proposes configurations."""
    sampler: str | None
    """The method's own algorithm; None where it has only one."""
    seed: int
    """Seeds the search and every trial."""
    space: tuple[SpaceRow, ...]
    """The parameters in the order of the spec."""
    space_size: int | None
    """Number of distinct points; None for infinitely many. At most so many where `is_counted` is false."""
    grid_size: int | None
    """Number of grid points; None where a range has neither step nor count."""
    is_counted: bool
    """Whether both numbers are exact: constraints were counted in."""
    constraints: tuple[str, ...]
    """What holds at every point."""
    initial_points: int
    """Trials whose points the spec gives."""
    trials: int
    """Trials in all."""
    trials_reason: str
    """Why so many."""
    max_epochs: int | None
    """Epochs of a full trial; None where the trainable decides."""
    stopping: str
    """The stopping rule."""
    rungs: tuple[int, ...]
    """Epochs after which a trial may be stopped, rising."""
    cpus: float
    """CPUs that there are."""
    gpus: int
    """GPUs that there are."""
    cpu_source: str
    """Where these numbers are from."""
    request: WorkerRequest
    """What a trial asks for."""
    concurrent: int
    """Trials at once; 0 if the request does not fit here and another machine is asked."""
    concurrent_reasons: tuple[str, ...]
    """Why so many: a sum for each kind of device, then what else holds them down."""
    prior: str | None
    """What the search begins with, in one sentence; None where it begins with nothing."""
    notes: tuple[str, ...]
    """What a user may not expect, in sentences."""


def make_plan(
    sweep: Sweep, *, cpus: float, gpus: int, cpu_source: str = "this machine", prior: str | None = None
) -> Plan:
    """Work out what a sweep would do.

    Args:
        sweep: Checked.
        cpus: CPUs that there are.
        gpus: GPUs that there are.
        cpu_source: Where these numbers are from, for the reader.
        prior: What `priors.sources.plan_prior` says.

    Raises:
        SpecError: A trial asks for more than there is, so that it could never start. Not where `ray.address` (or
            RAY_ADDRESS) names another machine.
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
        notes=(*_notes(sweep, rungs, gpus=gpus), *([f"{prior}."] if prior and sweep.prior == "none" else [])),
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
        yield f"{rule.type} stops nobody: its first rung, min_iter {rule.min_iter}, is the last epoch."
    if rule.type in ("asha", "asha_stop") and sweep.max_epochs is None:
        yield "limits.epochs is not set: rungs go on for as long as the trainable yields."
    if sweep.resources.gpu == "auto" and gpus == 0:
        yield "there is no GPU here: trials run on the CPU."
    if (address := address_of(sweep)) is not None:
        yield f"the sweep runs on the Ray at {address}; what fits at once is counted again there."
