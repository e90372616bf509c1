"""The benefit of priors: trials until a sweep on a wide space is as good as an earlier sweep on a part of it.

    python -m benchmarks.priors [--seeds 20]

The tables are those of HPOLib: all configurations of a small network, fully trained, on two tasks. For each seed, a
first sweep (30 trials, tpe) searches part of the space. Then one sweep on the whole space starts without priors (cold),
and another one with `prior: auto` (warm). All sweeps run through the driver, the engine and a ledger on disk; only
training is looked up in the table. Counted are the trials of the second sweep until one is at least as good as the best
of the first sweep: at any point, and at a point that the first sweep did not try. Reads hpolib.npz from the folder
HPSEARCH_BENCH_DATA, else from ../shared/data beside the checkout.

Source:
    Klein and Hutter, "Tabular Benchmarks for Joint Architecture and Hyperparameter Optimization", arXiv:1905.04970.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.taskset import data_dir
from hpsearch.api.results import Results
from hpsearch.driver.driver import Run
from hpsearch.driver.session import Session
from hpsearch.engine.engine import Engine
from hpsearch.slots.protocol import Assignment, Ended, Report
from hpsearch.spec.sweep import Sweep

TASKS = ("naval_propulsion", "parkinsons_telemonitoring")
FIRST_TRIALS, SECOND_TRIALS = 30, 60
WIDE: dict[str, Any] = {
    "activation_fn_1": {"values": ["relu", "tanh"]},
    "activation_fn_2": {"values": ["relu", "tanh"]},
    "batch_size": {"min": 0, "max": 3},
    "dropout_1": {"min": 0, "max": 2},
    "dropout_2": {"min": 0, "max": 2},
    "init_lr": {"min": 0, "max": 5},
    "lr_schedule": {"values": ["cosine", "const"]},
    "n_units_1": {"min": 0, "max": 5},
    "n_units_2": {"min": 0, "max": 5},
}
"""The whole space; numbers are positions on the axes of the table, whose values increase."""
NARROW = WIDE | {
    "batch_size": {"min": 1, "max": 3},
    "init_lr": {"min": 2, "max": 5},
    "n_units_1": {"min": 0, "max": 3},
    "n_units_2": {"min": 0, "max": 3},
}
"""The part of the space that the first sweep searches: high learning rates and small networks."""


class Table:
    """The losses of all configurations of one task.

    Args:
        path: The file with the tables.
        task: Name of the task.
    """

    def __init__(self, path: Path, task: str) -> None:
        tables = np.load(path)
        self._axes: dict[str, list[Any]] = json.loads(str(tables["space"]))
        self._losses = tables[f"{task}/val_loss"].astype(float).mean(axis=-1)
        self.task = task

    def loss(self, config: dict[str, Any]) -> float:
        """The validation loss of a configuration, mean over the table's seeds."""
        return float(self._losses[tuple(self._position(name, config[name]) for name in self._axes)])

    def _position(self, name: str, value: Any) -> int:
        return value if isinstance(value, int) else self._axes[name].index(value)


def play(engine: Engine, table: Table) -> None:
    """Report the loss of each trial from the table."""
    while isinstance(assignment := engine.next_assignment(), Assignment):
        report = Report(epoch=1, metrics={"loss": table.loss(dict(assignment.config))}, elapsed_s=0.0)
        engine.on_event(assignment.number, report)
        engine.on_event(assignment.number, Ended(elapsed_s=0.0))
    engine.finish()


def losses_of(table: Table, home: Path, name: str, *, trials: int, **keys: Any) -> list[tuple[str, float]]:
    """Run a sweep; returns (configuration, loss) of each trial, in order."""
    tree = {
        "name": name, "metric": {"name": "loss", "goal": "minimize"}, "method": "optuna",
        "limits": {"trials": trials, "epochs": 1}, "data": {"root": None, "task": table.task}, **keys,
    }  # fmt: skip
    with patch.object(Session, "run", lambda session: play(session._engine, table)):
        run = Run(sweep=Sweep.from_dict(tree), home=home, function=lookup, show="none")
        run.start()
    rows = Results(home, name).trials
    names = list(WIDE)
    return [(json.dumps([str(row[name]) for name in names]), row["best_loss"]) for _, row in rows.iterrows()]


def lookup(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """The trainable of all these sweeps, which is never called; the ledger sees the same code in all of them."""
    yield {"loss": float(config["init_lr"])}


def trials_until(rows: list[tuple[str, float]], goal: float, *, known: Collection[str] = ()) -> int:
    """Number of the first trial that is as good as `goal` at a point not in `known`; without one, one more than all."""
    hits = (number for number, (key, loss) in enumerate(rows, start=1) if loss <= goal and key not in known)
    return next(hits, len(rows) + 1)


def one_seed(table: Table, seed: int) -> tuple[list[int], list[float]]:
    """Run the sweeps of one seed.

    Returns:
        Trials until the goal, at any point and at a new one, of the warm and then of the cold sweep; and the best loss
        of each of the two.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first = losses_of(table, home, "first", trials=FIRST_TRIALS, parameters=NARROW, seed=seed)
        goal, known = min(loss for _, loss in first), {key for key, _ in first}
        counts, bests = [], []
        for prior in ("auto", "none"):  # in this order, since auto would otherwise use the cold sweep too
            rows = losses_of(
                table, home, f"second-{prior}", trials=SECOND_TRIALS, parameters=WIDE, seed=seed + 1000,
                prior=prior,
            )  # fmt: skip
            counts += [trials_until(rows, goal), trials_until(rows, goal, known=known)]
            bests.append(min(loss for _, loss in rows))
    return counts, bests


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, size=(10_000, len(differences))).mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> int:
    """Measure and print; returns the exit code, 1 without the data."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    num_seeds = parser.parse_args().seeds
    path = data_dir() / "hpolib.npz"
    if not path.exists():
        print(f"no {path}: set HPSEARCH_BENCH_DATA to the folder that holds hpolib.npz", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore")
    print(
        f"trials until as good as the first sweep, of {SECOND_TRIALS} ({SECOND_TRIALS + 1}: never), {num_seeds} seeds"
    )
    for task in TASKS:
        table = Table(path, task)
        found = [one_seed(table, seed) for seed in range(num_seeds)]
        counts, bests = np.array([each[0] for each in found]), np.array([each[1] for each in found])
        for position, where in ((0, "at any point"), (1, "at a new point")):
            warm, cold = counts[:, position], counts[:, position + 2]
            low, high = interval(cold - warm)
            print(
                f"{task:26} {where:15} cold {cold.mean():5.1f} (median {np.median(cold):4.1f})"
                f"  warm {warm.mean():5.1f} (median {np.median(warm):4.1f})"
                f"  fewer by {(cold - warm).mean():5.1f} [{low:.1f}, {high:.1f}]"
            )
        better, worse = int((bests[:, 0] < bests[:, 1]).sum()), int((bests[:, 0] > bests[:, 1]).sum())
        print(
            f"{task:26} best of {SECOND_TRIALS}: warm better in {better}, worse in {worse} of {num_seeds}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
