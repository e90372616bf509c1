"""What a trial costs beside its training: in a process of its own, in a slot's process, and under Ray Tune.

    python -m benchmarks.trial_processes [--trials 60]

A trivial trial is a file that imports torch and reports three times; hpsearch's has no `import ray`. Everything runs in
one Ray on two CPUs, one after the other, so that the ratios hold whatever the machine is busy with. Milliseconds a
trial are those between the starts of trials, the median over windows of ten; the first trials, which import torch, are
left out, since a sweep pays for them once. With two slots two trials run at once, and each start counts.

Ray Tune runs as its tutorials show it, and as someone runs it who knows what costs time: actors are reused, no logger
writes, and the state of the experiment is not saved; once as a function and once as a class.
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
"""Trials at the start that don't count."""
WINDOW = 10
"""Trials of which one mean is taken."""
DEFAULT_TRIALS = 6
"""Ray Tune with its defaults takes seconds for each."""
KNOWING = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""What someone sets who knows Ray Tune."""
TRIVIAL = """
import torch

def train(config):
    for _ in range(3):
        yield {"loss": float(torch.tensor(config["x"]))}
"""


def function_for_tune(config: dict[str, Any]) -> None:
    """The same for Ray Tune."""
    import torch
    from ray import tune

    start = time.time()
    for _ in range(3):
        tune.report({"loss": float(torch.tensor(config["x"])), "start": start})


def class_for_tune() -> Any:
    """The same as a class that takes one trial after another."""
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
    """Milliseconds a trial under `Tuner`."""
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
    """Milliseconds a trial of a sweep."""
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
    home = folder / f"sweeps-{tree['name']}"  # of its own: no trial is answered from another sweep
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
    """Within the block these variables are set."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def in_tune(folder: Path, trials: int) -> Iterator[tuple[str, list[float]]]:
    """(name, milliseconds with one slot and two) of the ways to use Ray Tune."""
    slots = (1, 2)
    yield (
        "Ray Tune, its defaults",
        [tuner_ms(function_for_tune, folder, trials=DEFAULT_TRIALS, slots=count) for count in slots],
    )
    with environment(KNOWING):
        for name, way in (("function", function_for_tune), ("class", class_for_tune())):
            times = [tuner_ms(way, folder, trials=trials, slots=count, reuse_actors=True) for count in slots]
            yield f"Ray Tune, knowing, {name}", times


def in_sweeps(folder: Path, trials: int) -> Iterator[tuple[str, list[float]]]:
    """(name, milliseconds with one slot, two, and one of two gloo ranks) of both ways to isolate."""
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
    with environment({"RAY_AIR_NEW_OUTPUT": "0"}):  # else it prints a box
        found = dict(in_tune(folder / "tune", trials))
    found |= dict(in_sweeps(folder, trials))
    ray.shutdown()
    best = [min(found[f"Ray Tune, knowing, {way}"][at] for way in ("function", "class")) for at in (0, 1)]
    print(
        f"{'milliseconds a trial':<30} {'one slot':>10} {'two slots':>10} {'two ranks':>10}   times the best of knowing"
    )
    for name, times in found.items():
        shown = "".join(f" {value:10.1f}" for value in times) + " " * 11 * (3 - len(times))
        ratios = ", ".join(f"{value / known:.2f}" for value, known in zip(times, [*best, best[0]], strict=False))
        print(f"{name:<30}{shown}   {ratios}")


if __name__ == "__main__":
    main()
