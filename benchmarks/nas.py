"""Architecture search on the table of NAS-Bench-201 (CIFAR-10): the controller, evolution, TPE and random search.

    python -m benchmarks.nas                 # 20 seeds, 500 evaluations
    python -m benchmarks.nas --seeds 5 --methods random,controller:reinforce

The production searchers, one evaluation at a time. An evaluation is the validation accuracy in the table, in %, mean
over its seeds. The best of the 15,625 cells has 91.607, the median is 87.31. Reads nasbench201.npz from the folder
HPSEARCH_BENCH_DATA, else from ../shared/data beside the checkout. Prints for each method: median and quartiles of the
best accuracy after 100, 200 and 500 evaluations; how many seeds found the optimum; a paired Wilcoxon test against
random search; and the mean accuracy of each hundred proposals, which is the reward that trains a controller.

Source:
    Dong and Yang, "NAS-Bench-201", arXiv:2001.00326.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.taskset import data_dir
from hpsearch.search import Outcome, make_searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

METHODS = ("random", "controller:reinforce", "controller:evolution", "optuna:tpe")
BUDGETS = (100, 200, 500)


def accuracies(method: str, seed: int, parameters: dict[str, object], accuracy: Callable[[Point], float]) -> np.ndarray:
    """One search: the accuracy of each proposal in %, in order; float64, (evaluation,)."""
    name, _, sampler = method.partition(":")
    tree = {"method": name, "seed": seed, "parameters": parameters, "metric": {"name": "acc", "goal": "maximize"}}
    searcher = make_searcher(Sweep.from_dict({**tree, **({"sampler": sampler} if sampler else {})}))
    found = np.empty(BUDGETS[-1])
    for number in range(1, len(found) + 1):
        point = searcher.ask(number)
        assert point is not None
        found[number - 1] = accuracy(point)
        searcher.tell(Outcome(number=number, point=point, state="done", losses={1: -found[number - 1]}))
    return found


def report(method: str, runs: np.ndarray, rivals: np.ndarray | None, optimum: float) -> None:
    """Print the results of one method.

    Args:
        method: Name of the method.
        runs: Accuracies in %, (seed, evaluation).
        rivals: The same for random search; None for random search itself.
        optimum: Best accuracy of the table in %.
    """
    best = np.maximum.accumulate(runs, axis=1)
    at = {budget: np.quantile(best[:, budget - 1], (0.25, 0.5, 0.75)) for budget in BUDGETS}
    print(f"\n{method}")
    for budget, (low, middle, high) in at.items():
        print(f"  best after {budget}: {middle:.3f} ({low:.3f} to {high:.3f})")
    print(f"  optimum found: {np.isclose(best[:, -1], optimum).sum()} of {len(runs)} seeds")
    if rivals is not None:
        ends, others = best[:, -1], np.maximum.accumulate(rivals, axis=1)[:, -1]
        better, worse = int((ends > others).sum()), int((ends < others).sum())
        p = wilcoxon(ends, others).pvalue if better + worse else 1.0
        print(f"  against random at {BUDGETS[-1]}: better in {better}, worse in {worse}; Wilcoxon p = {p:.2g}")
    print("  mean of each hundred:", " ".join(f"{mean:.2f}" for mean in runs.reshape(len(runs), -1, 100).mean((0, 2))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    path = data_dir() / "nasbench201.npz"
    if not path.exists():
        print(f"no {path}: set HPSEARCH_BENCH_DATA to the folder that holds nasbench201.npz", file=sys.stderr)
        sys.exit(2)
    with np.load(path) as file:
        choices: dict[str, list[str]] = json.loads(str(file["space"]))
        table = np.nanmean(file["cifar10/val_acc"], axis=-1)
    positions = [{value: index for index, value in enumerate(values)} for values in choices.values()]

    def accuracy(point: Point) -> float:
        return float(table[tuple(axis[point[name]] for name, axis in zip(choices, positions, strict=True))])

    parameters: dict[str, object] = {name: {"values": values} for name, values in choices.items()}
    rivals = None
    for method in given.methods.split(","):
        runs = np.stack([accuracies(method, seed, parameters, accuracy) for seed in range(given.seeds)])
        report(method, runs, rivals, float(table.max()))
        sys.stdout.flush()
        rivals = runs if method == "random" else rivals


if __name__ == "__main__":
    main()
