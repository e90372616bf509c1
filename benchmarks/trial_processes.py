"""The overhead of a trial: in a process of its own, in a slot's process, and under Ray Tune.

    python -m benchmarks.trial_processes [--trials 60]

A trivial trial imports torch and reports three times; hpsearch's trainable does not import Ray. All measurements run in
one Ray instance on two CPUs, one after the other, so that their ratios hold whatever else the machine does.
Milliseconds per trial are the time from the start of one trial to the next, as the median over windows of ten. The
first trials, which import torch, are left out, because a sweep pays for them once. With two slots, two trials run at
the same time, and each start counts.

Ray Tune runs with its defaults, as in its tutorials, and tuned for low overhead: actors are reused, nothing is logged,
and the state of the experiment is not saved; once with a function and once with a class.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hpsearch.api.results import Results
from hpsearch.cluster.connect import ray_settings
from hpsearch.driver.driver import Run
from hpsearch.spec.sweep import Sweep

COLD = 6
"""Number of trials at the start that do not count."""
WINDOW = 10
"""Number of trials of each mean."""
DEFAULT_TRIALS = 6
"""Number of trials of Ray Tune with its defaults, which takes seconds for each."""
LOW_OVERHEAD = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""Environment variables for a low overhead of Ray Tune."""
TRIVIAL = """
import torch

def train(config):
    for _ in range(3):
        yield {"loss": float(torch.tensor(config["x"]))}
"""


def function_for_tune(config: dict[str, Any]) -> None:
    """The trivial trial as a function for Ray Tune."""
    import torch
    from ray import tune

    start = time.time()
    for _ in range(3):
        tune.report({"loss": float(torch.tensor(config["x"])), "start": start})


def class_for_tune() -> Any:
    """The trivial trial as a class for Ray Tune, whose actor is reused for one trial after another."""
    from ray import tune

    class Trivial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            import torch

            self.x, self.start = torch.tensor(config["x"]), time.time()

        def step(self) -> dict[str, Any]:
            return {"loss": float(self.x), "start": self.start, "done": self.iteration == 2}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

    return Trivial


def tuner_ms(trainable: Any, folder: Path, *, trials: int, slots: int, **settings: Any) -> float:
    """Milliseconds per trial under Ray's `Tuner`."""
    from ray import tune

    tuner = tune.Tuner(
        trainable,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=slots, **settings),
        run_config=tune.RunConfig(
            storage_path=str(folder), verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    metrics = [results[number].metrics or {} for number in range(len(results))]
    return between_starts_ms([each["start"] for each in metrics])


def sweep_ms(folder: Path, *, isolation: str, trials: int, slots: int, workers: int) -> float:
    """Milliseconds per trial of a sweep of hpsearch."""
    (folder / "trivial.py").write_text(TRIVIAL)
    tree = {
        "name": (name := f"{isolation}-{slots}-{workers}"),
        "trainable": f"{folder / 'trivial.py'}:train",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "limits": {"trials": trials, "concurrent": slots},
        "resources": {"workers": workers, "gpu": 0},
        "isolation": isolation,
    }
    home = folder / f"sweeps-{tree['name']}"  # a home of its own, so that no trial is reused from another sweep
    exit_code = Run(sweep=Sweep.from_dict(tree), home=home, spec_dir=folder, show="none").start()
    results = Results(home, name)
    assert exit_code == 0 and len(results.trials) == trials
    return between_starts_ms([datetime.fromisoformat(text).timestamp() for text in results.trials["started_at"]])


def between_starts_ms(starts: list[float]) -> float:
    """Median over windows of the mean time from one start to the next."""
    starts = sorted(starts)[min(COLD, len(starts) // 4) :]
    size = min(WINDOW, len(starts) - 1)
    return 1000 * statistics.median(
        (later - earlier) / size for earlier, later in zip(starts, starts[size:], strict=False)
    )


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Within the block, set environment variables."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def in_tune(folder: Path, trials: int) -> Iterator[tuple[str, list[float]]]:
    """Name, and milliseconds with one slot and with two, for each way to use Ray Tune."""
    slots = (1, 2)
    yield (
        "Ray Tune, its defaults",
        [tuner_ms(function_for_tune, folder, trials=DEFAULT_TRIALS, slots=count) for count in slots],
    )
    with environment(LOW_OVERHEAD):
        for name, way in (("function", function_for_tune), ("class", class_for_tune())):
            times = [tuner_ms(way, folder, trials=trials, slots=count, reuse_actors=True) for count in slots]
            yield f"Ray Tune, tuned, {name}", times


def in_sweeps(folder: Path, trials: int) -> Iterator[tuple[str, list[float]]]:
    """Name, and milliseconds with one slot, two slots, and one slot of two gloo ranks, for each `isolation`."""
    with ray_settings():
        for isolation in ("process", "slot"):
            yield (
                f"hpsearch, isolation: {isolation}",
                [
                    sweep_ms(folder, isolation=isolation, trials=trials, slots=slots, workers=workers)
                    for slots, workers in ((1, 1), (2, 1), (1, 2))
                ],
            )


def main() -> None:
    """Measure and print."""
    import ray

    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=60, help="trials of each measurement")
    trials = parser.parse_args().trials
    folder = Path(tempfile.mkdtemp(prefix="hps-bench-", dir="/tmp"))
    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, _temp_dir=str(folder / "ray"),
    )  # fmt: skip
    print(f"Python {platform.python_version()}, Ray {ray.__version__}, {platform.machine()}, 2 CPUs for Ray")
    with environment({"RAY_AIR_NEW_OUTPUT": "0"}):  # otherwise Ray Tune prints its table
        found = dict(in_tune(folder / "tune", trials))
    found |= dict(in_sweeps(folder, trials))
    ray.shutdown()
    best = [min(found[f"Ray Tune, tuned, {way}"][at] for way in ("function", "class")) for at in (0, 1)]
    print(
        f"{'milliseconds per trial':<30} {'one slot':>10} {'two slots':>10} {'two ranks':>10}   ratio to the best tuned"
    )
    for name, times in found.items():
        shown = "".join(f" {value:10.1f}" for value in times) + " " * 11 * (3 - len(times))
        ratios = ", ".join(f"{value / other:.2f}" for value, other in zip(times, [*best, best[0]], strict=False))
        print(f"{name:<30}{shown}   {ratios}")


if __name__ == "__main__":
    main()
