"""Shows a plan to the user: lines and a table on a terminal, or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpsearch.devices.requests import WorkerRequest
from hpsearch.driver.plan import Plan
from hpsearch.text import counted, points_text, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MAX_RUNGS_SHOWN = 8
"""Rungs that are listed; more are shown as `...`."""


def to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts, lists and scalars, for `--json`; a number of points that needs over 63 bits is None."""
    tree = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(plan).items()}
    sizes = {"space_size": plan.space_size, "grid_size": plan.grid_size}
    return {**tree, **{key: None if (size or 0) >= 2**63 else size for key, size in sizes.items()}}


def render(plan: Plan) -> RenderableType:
    """The plan for a terminal: the space as a table, then one line for each fact and note."""
    from rich.console import Group
    from rich.text import Text

    facts = [Text(f"{label:<12}{printable(text)}") for label, text in _facts(plan)]
    notes = [Text(f"Note: {printable(note)}", style="yellow") for note in plan.notes]
    at_most = "" if plan.is_counted else "at most "
    grid = f", grid {at_most}{points_text(plan.grid_size)}" if plan.grid_size else ""
    size = f"{at_most if plan.space_size else ''}{points_text(plan.space_size)}"
    title = Text(f"Space: {size} {'point' if plan.space_size == 1 else 'points'}{grid}", style="bold")
    return Group(*facts, Text(), title, _space_table(plan), *([Text()] if notes else []), *notes)


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "sweep", plan.name or "not named yet"
    yield "trainable", plan.trainable or "given to run()"
    yield "metric", f"{plan.goal} {plan.metric}"
    yield "method", plan.method + (f", sampler {plan.sampler}" if plan.sampler else "") + f", seed {plan.seed}"
    if plan.constraints:
        yield "holds", "; ".join(plan.constraints)
    if plan.initial_points:
        yield "first", f"initial_points of the spec: {plan.initial_points}"
    if plan.prior:
        yield "prior", plan.prior
    yield "trials", f"{plan.trials} ({plan.trials_reason})" + _epochs(plan)
    yield "stopping", _stopping(plan)
    yield "a trial", _trial(plan.request)
    yield "at once", f"{plan.concurrent} ({'; '.join(plan.concurrent_reasons)}; counted on {plan.cpu_source})"


def _epochs(plan: Plan) -> str:
    if plan.max_epochs is None:
        return ""
    return f", each up to {counted(plan.max_epochs, 'epoch')}, {points_text(plan.trials * plan.max_epochs)} at most"


def _stopping(plan: Plan) -> str:
    if not plan.rungs:
        return plan.stopping
    rungs = ", ".join(map(str, plan.rungs[:MAX_RUNGS_SHOWN])) + (", ..." if len(plan.rungs) > MAX_RUNGS_SHOWN else "")
    return f"{plan.stopping} after epochs {rungs}"


def _trial(request: WorkerRequest) -> str:
    each = f"{request.cpu:g} CPU, {request.gpu:g} GPU"
    return each if request.workers == 1 else f"{request.workers} workers of {each} each"


def _space_table(plan: Plan) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("parameter", "kind", "values", "size", "grid"):
        table.add_column(column, justify="right" if column in ("size", "grid") else "left", overflow="fold")
    for row in plan.space:
        size = "-" if row.size is None else points_text(row.size)
        grid = "-" if row.grid_points is None else points_text(row.grid_points)
        values = row.values if row.when is None else f"{row.values}, {row.when}"
        table.add_row(*map(Text, (printable(row.name), row.kind, printable(values), size, grid)))
    return table
