"""hpsearch compared with other libraries on real tables, with a simulated clock.

    python -m benchmarks.search --seeds 20 --jobs 2 --minutes 60
    python -m benchmarks.search --part stopping

Each method uses the library's own objects. An epoch costs one unit of time, or what the table says. Results are cached
in .bench/cells.jsonl by code, versions and arguments: only what has changed is computed again.
"""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.search.cells import Cache, Cell
from benchmarks.search.methods import METHODS
from benchmarks.search.pages import plot, text_table
from benchmarks.search.tables import data_dir, table_names

SEARCHERS = (
    "hpsearch bayes + asha", "hpsearch random + asha", "hpsearch bayes", "hpsearch random",
    "Ray OptunaSearch + ASHA", "Ray random + ASHA", "Optuna TPE", "Optuna TPE + SuccessiveHalving",
    "Optuna TPE + Hyperband",
    "Optuna TPE + Median", "HyperOpt TPE", "Syne Tune ASHA", "Syne Tune BOHB",
)  # fmt: skip
RULES = (
    "hpsearch random + asha", "hpsearch random + asha_stop", "hpsearch random", "Ray random + ASHA",
    "Ray random + ASHA, NaN as 1e9", "Syne Tune ASHA",
)  # fmt: skip
TABLE_HEAD = "mean normalised regret [95 % interval], mean rank, p of a paired test against the first"
PARTS = {
    "searchers": (SEARCHERS, (1, 4), (5, 10, 20, 50), "taskset- lcbench- hpolib-"),
    "stopping": (RULES, (1, 4, 16, 64), (4, 10, 20), "taskset-rows-"),
}
"""Part to its methods (the others are tested against the first), workers, budgets in full trainings, and tables."""


def main() -> int:
    """Compute what is missing, and print; returns the exit code, 1 without the tables."""
    given = _parse()
    tables = table_names(given.data)
    if not tables:
        print(f"no tables in {given.data}: set HPSEARCH_BENCH_DATA to their folder", file=sys.stderr)
        return 1
    cache = Cache(given.cache, given.data)
    print(_versions(), flush=True)
    for part in given.part:
        methods, workers, budgets, families = PARTS[part]
        methods = tuple(given.methods or methods)
        budgets = tuple(budget for budget in budgets if budget <= given.trainings)
        chosen = [
            name for name in tables if _family(name) in families.split() and (not given.tables or name in given.tables)
        ]
        cells = [
            Cell(
                method=method, table=table, workers=count, seed=seed, trainings=_trainings(method, seed, budgets, given)
            )
            for seed in given.seeds
            for count in (given.workers or workers)
            for table in chosen
            for method in methods
            if seed < METHODS[method].seeds
        ]
        for left in cache.fill(cells, jobs=given.jobs, minutes=given.minutes):
            if left % 100 == 0:
                print(f"{part}: {left} cells left", file=sys.stderr, flush=True)
        found = {cell: each for cell in cells if (each := cache.get(cell)) is not None}
        for count in given.workers or workers:
            some = {cell: each for cell, each in found.items() if cell.workers == count}
            print(f"\n{part}, {count} workers: {TABLE_HEAD}")
            print(text_table(some, methods, budgets), flush=True)
        if given.plot is not None and part == "searchers":
            plot(found, methods, given.plot)
    return 0


def _trainings(method: str, seed: int, budgets: tuple[int, ...], given: argparse.Namespace) -> int:
    """Full trainings of a cell. Only the first seeds run to the last budget, which takes longer than all others."""
    last = budgets[-1] if seed < given.deep_seeds else max(budget for budget in budgets if budget <= 20)
    return min(last, METHODS[method].trainings)


def _family(table: str) -> str:
    for family in ("taskset-rows-", "taskset-", "lcbench-", "hpolib-"):
        if table.startswith(family):
            return family
    raise ValueError(table)


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("optuna", "hyperopt", "ray", "syne-tune", "numpy"))
    return f"Python {platform.python_version()}, {packages}, {platform.machine()}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=data_dir(), help="folder of the tables")
    parser.add_argument("--cache", type=Path, default=Path(".bench/cells.jsonl"))
    parser.add_argument("--seeds", type=_numbers, default=range(20), help="20, or 5:10")
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--deep-seeds", type=int, default=5, help="seeds that run to 50 trainings; the others to 20")
    parser.add_argument("--workers", type=int, nargs="*")
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--methods", nargs="*", choices=METHODS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="where to draw the searchers, .svg or .png")
    parser.add_argument("--minutes", type=float, default=60.0, help="for each part; what is missing is left out")
    return parser.parse_args()


def _numbers(text: str) -> range:
    first, _, last = text.rpartition(":")
    return range(int(first or 0), int(last))


if __name__ == "__main__":
    sys.exit(main())
