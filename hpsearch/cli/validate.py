"""The verb that checks a spec and starts nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsearch.cli.app import Home, Json, PriorOption, Set, Spec, app
from hpsearch.cli.printing import line_width, print_json

if TYPE_CHECKING:
    from hpsearch.priors.mapping import Prior
    from hpsearch.spec.sweep import Sweep


@app.command(epilog="Example: python -m hpsearch validate search_spaces/resnet.yaml")
def validate(
    spec: Spec,
    set_: Set = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", metavar="N", min=0, max=10_000, help="Also print the first N configurations as JSON lines."
        ),
    ] = 0,
    prior: PriorOption = None,
    canonical: Annotated[
        bool,
        typer.Option(
            "--canonical", help="Print the spec in hpsearch's own keys, also one that is written for W&B or Ray Tune."
        ),
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Check a spec and show its plan: the space, the rungs, how many trials run at once. Nothing is started."""
    from hpsearch.devices.inventory import host_cpus, host_gpus
    from hpsearch.driver.plan import make_plan
    from hpsearch.driver.plan_text import render, to_dict
    from hpsearch.driver.request import overrides_of
    from hpsearch.paths import home_dir
    from hpsearch.priors.sources import plan_prior
    from hpsearch.spec.file import dump_yaml, find_spec, load_sweep, spec_dir_of
    from hpsearch.text import counted

    path = find_spec(spec)
    loaded = load_sweep(path, overrides=set_ or [], values=overrides_of(prior=prior or None))
    if canonical:
        print(dump_yaml(loaded.to_short_dict()), end="")
        return
    known, about = plan_prior(loaded, home_dir(home), spec_dir=spec_dir_of(path))
    plan = make_plan(loaded, cpus=host_cpus(), gpus=host_gpus(), prior=about)
    configs = first_configs(loaded, sample, prior=known) if sample else []
    if as_json:
        print_json(to_dict(plan) | ({"sample": configs} if sample else {}))
        return
    from rich.console import Console

    if str(path) != spec:
        print(f"Using {path}")
    Console(width=line_width(), soft_wrap=False, highlight=False).print(render(plan))
    if configs:
        print(f"\nFirst {counted(len(configs), 'configuration')}:")
    for config in configs:
        print(json.dumps(config, ensure_ascii=False))


def first_configs(loaded: Sweep, count: int, *, prior: Prior | None) -> list[dict[str, Any]]:
    """The configurations of the first trials of a sweep that starts with these priors, by `search.first_points`."""
    from hpsearch.search import first_points
    from hpsearch.space.space import to_config

    return [to_config(point) for point in first_points(loaded, count, prior=prior.outcomes if prior else ())]
