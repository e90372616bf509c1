"""What a trial costs beside its training: hpsearch's warm slots against Ray Tune as its tutorials show it.

    python -m benchmarks.slots

A trivial trial imports torch and reports three times. Everything runs in one Ray, one trial at a time, one
after the other, so that the ratios hold whatever the machine is busy with. Times are wall seconds from one trial to the
next; the first trials of a warm slot, which import torch, are left out, since a sweep pays for them once.
"""

from __future__ import annotations

import logging
import platform
import statistics
import tempfile
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from hpsearch.cluster import ray_settings
from hpsearch.driver import Run
from hpsearch.sweep import Sweep

PLAIN_TRIALS = 8
WARM_TRIALS = 60
COLD = 5
"""Trials at the start of a sweep that don't count."""


def trivial(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Three reports of nothing, as a generator."""
    import torch

    for _ in range(3):
        yield {"loss": float(torch.tensor(config["x"]))}


def trivial_for_tune(config: dict[str, Any]) -> None:
    """The same for Ray Tune."""
    import torch
    from ray import tune

    for _ in range(3):
        tune.report({"loss": float(torch.tensor(config["x"]))})


def plain_tuner_s(folder: Path) -> float:
    """Median seconds a trial under `Tuner` with its defaults."""
    from ray import tune

    ends: list[float] = []

    class Ends(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(datetime.now().timestamp())

    tuner = tune.Tuner(
        trivial_for_tune,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=PLAIN_TRIALS, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Ends()]),
    )
    tuner.fit()
    return median_gap(ends[1:])


def warm_slots_s(folder: Path, *, workers: int) -> float:
    """Median seconds a trial in a warm slot."""
    tree = {
        "name": f"slots-{workers}",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "limits": {"trials": WARM_TRIALS, "concurrent": 1},
        "resources": {"workers": workers, "gpu": 0},
    }
    results, exit_code = Run(sweep=Sweep.from_dict(tree), home=folder, function=trivial, show="none").start()
    assert exit_code == 0
    starts = [datetime.fromisoformat(text).timestamp() for text in results.trials["started_at"]]
    return median_gap(starts[COLD:])


def median_gap(times: list[float]) -> float:
    """Median difference of neighbours, seconds."""
    return statistics.median(later - earlier for earlier, later in pairwise(times))


def main() -> None:
    """Measure and print."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="hps-bench-", dir="/tmp"))
    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, _temp_dir=str(folder / "ray"),
    )  # fmt: skip
    print(f"Python {platform.python_version()}, Ray {ray.__version__}, {platform.machine()}, 2 CPUs for Ray")
    plain = plain_tuner_s(folder / "tune")
    with ray_settings():
        one = warm_slots_s(folder / "sweeps", workers=1)
        two = warm_slots_s(folder / "sweeps", workers=2)
    ray.shutdown()
    print(f"{'plain Tuner, its defaults':<40} {plain:8.3f} s a trial")
    print(f"{'warm slot, one rank':<40} {one:8.3f} s a trial   {plain / one:6.1f} times less")
    print(f"{'warm slot, two gloo ranks':<40} {two:8.3f} s a trial   {two / one:6.2f} times one rank")


if __name__ == "__main__":
    main()
