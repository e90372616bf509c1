"""Stopping rules on real learning curves (TaskSet): how good is the best trial after a number of epochs in total?

    python benchmarks/taskset.py

The production rules see the curves of 1000 Adam configurations on 6 tasks in random order, with one worker that trains
one epoch at a time. Normalised regret = (best so far - best of the table) / (median after one epoch - best of the
table); 0 is best. Reads taskset.npz from the folder HPSEARCH_BENCH_DATA, else from ../shared/data beside the checkout.

Source:
    Metz et al., "Using a thousand optimization tasks to learn hyperparameter search strategies", arXiv:2002.11887.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, final

import numpy as np
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from hpsearch.stopping import Asha, AshaStop, Decision, Hyperband, Median, NoStopping, StoppingRule

BUDGETS = (200, 500, 1000)
NUM_SEEDS = 15
ETA = 3

Curves = np.ndarray
"""float, (configuration, epoch): validation loss, point 0 untrained, NaN after a divergence."""


def data_dir() -> Path:
    """The folder of the benchmark tables."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("HPSEARCH_BENCH_DATA", beside))


def rules(max_epochs: int) -> dict[str, Callable[[], StoppingRule]]:
    """Name to a function that makes a new rule."""
    return {
        "none": NoStopping,
        "Ray's ASHA": lambda: RayAsha(max_epochs),
        "asha_stop": lambda: AshaStop(min_epochs=1, max_epochs=max_epochs, eta=ETA),
        "asha": lambda: Asha(min_epochs=1, max_epochs=max_epochs, eta=ETA),
        "hyperband": lambda: Hyperband(min_epochs=1, max_epochs=max_epochs, eta=ETA),
        "median": lambda: Median(min_epochs=1, min_trials=3),
    }


@final
class RayAsha(StoppingRule):
    """Ray Tune's `ASHAScheduler`, called without a cluster. A diverged trial reports NaN, as a user's trial would."""

    def __init__(self, max_epochs: int) -> None:
        self._scheduler: Any = ASHAScheduler(  # untyped: its trials and its controller are stand-ins
            metric="loss", mode="min", max_t=max_epochs, grace_period=1, reduction_factor=ETA
        )
        self._trials: dict[int, SimpleNamespace] = {}

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        """The decision of the scheduler."""
        if number not in self._trials:
            self._trials[number] = SimpleNamespace(trial_id=str(number))
            self._scheduler.on_trial_add(None, self._trials[number])
        result = {"training_iteration": epoch, "loss": loss if math.isfinite(loss) else math.nan}
        verdict = self._scheduler.on_trial_result(None, self._trials[number], result)
        return Decision.STOP if verdict == TrialScheduler.STOP else Decision.CONTINUE

    def rungs(self) -> tuple[int, ...]:
        """Not asked for."""
        return ()


def losses_seen(rule: StoppingRule, curves: Curves, rng: np.random.Generator) -> Iterator[float]:
    """The loss of each epoch that one worker trains, in order, until there is nothing left to train."""
    fresh = rng.permutation(len(curves)).tolist()[::-1]
    paused: dict[int, int] = {}
    while True:
        number = rule.promote()
        if number is None and not fresh:
            return
        number = fresh.pop() if number is None else number
        decision, epoch = Decision.CONTINUE, paused.pop(number, 0)
        while decision is Decision.CONTINUE and epoch < curves.shape[1] - 1:
            epoch += 1
            loss = float(curves[number, epoch])
            loss = loss if math.isfinite(loss) else math.inf
            yield loss
            decision = rule.report(number, epoch, loss)
        if decision is Decision.PAUSE:
            paused[number] = epoch


def regrets(rule: StoppingRule, curves: Curves, rng: np.random.Generator) -> list[float]:
    """Normalised regret after each of BUDGETS."""
    optimum = float(np.nanmin(curves))
    scale = float(np.nanmedian(curves[:, 1])) - optimum
    best, found = math.inf, []
    for epochs, loss in enumerate(losses_seen(rule, curves, rng), start=1):
        best = min(best, loss)
        if epochs in BUDGETS:
            found.append((best - optimum) / scale)
        if epochs == BUDGETS[-1]:
            break
    return found


def main() -> int:
    """Measure and print; returns the exit code, 1 without the data."""
    path = data_dir() / "taskset.npz"
    if not path.exists():
        print(f"no {path}: set HPSEARCH_BENCH_DATA to the folder that holds taskset.npz", file=sys.stderr)
        return 1
    warnings.filterwarnings("ignore", message="All-NaN slice")  # from Ray, at a rung where all trials have diverged
    tasks = np.load(path)["valid"].astype(float)
    print(f"TaskSet, {len(tasks)} tasks, {NUM_SEEDS} seeds, 1 worker, eta {ETA}: mean normalised regret")
    print(f"{'rule':12}" + "".join(f"{budget:>8}" for budget in BUDGETS) + "  epochs")
    for name, make_rule in rules(tasks.shape[2] - 1).items():
        every = [
            regrets(make_rule(), curves, np.random.default_rng(seed)) for curves in tasks for seed in range(NUM_SEEDS)
        ]
        print(f"{name:12}" + "".join(f"{mean:8.3f}" for mean in np.mean(every, axis=0)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
