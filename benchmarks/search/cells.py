"""Cells of the benchmark: one method on one table with one seed, computed once and cached by what it depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import multiprocessing
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.search.methods import METHODS
from benchmarks.search.simulator import Simulation
from benchmarks.search.tables import load_table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARED = ("tables.py", "simulator.py")
OURS = (
    *("engine/engine.py", "engine/queue.py", "engine/trial.py", "engine/outcomes.py", "engine/failure_policy.py"),
    *("spec/sweep.py", "spec/rungs.py", "space/space.py", "space/domains.py"),
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One simulation."""

    method: str
    """Name of the method in `METHODS`."""
    table: str
    """Name of the table."""
    workers: int
    """Number of trials that train at the same time."""
    seed: int
    """Seed of the method."""
    trainings: int
    """Worker time in full trainings of a typical configuration."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a cell."""

    regrets: tuple[float, ...]
    """Normalised regret after 1, 2, ... full trainings; 1 before the first finite loss."""
    num_trials: int
    """Number of trials."""
    own_s: float
    """Wall seconds that the method itself took; they depend on what else the machine does."""


def run_cell(folder: Path, cell: Cell) -> Found:
    """Simulate a cell; `folder` contains the tables."""
    table = load_table(folder, cell.table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries warn of experimental features
        contestant = METHODS[cell.method].make(table, cell.seed, cell.workers)
        trace = Simulation(contestant, table, workers=cell.workers, trainings=cell.trainings).run()
    regrets = (trace.regret_at(count * table.max_epochs) for count in range(1, cell.trainings + 1))
    return Found(
        regrets=tuple(1.0 if math.isnan(regret) else round(regret, 6) for regret in regrets),
        num_trials=trace.num_trials,
        own_s=round(trace.own_s, 3),
    )


class Cache:
    """Results of cells in a file with one line for each; of equal keys, the last line counts.

    Args:
        path: The file; it need not exist.
        folder: Folder of the tables.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, folder
        self._known: dict[str, Found] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                tree = json.loads(line)
                self._known[tree["key"]] = _found(tree["found"])

    def get(self, cell: Cell) -> Found | None:
        """The cached result of a cell; None if it is missing."""
        return self._known.get(self._key(cell))

    def fill(self, cells: Iterable[Cell], *, jobs: int, minutes: float) -> Iterator[int]:
        """Compute missing cells in the given order, until the time is over; yields the number that are left.

        Args:
            cells: The cells.
            jobs: Number of processes.
            minutes: Time limit.
        """
        missing = [cell for cell in cells if self.get(cell) is None]
        deadline = time.monotonic() + 60 * minutes
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with (
            multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=500) as pool,
            self._path.open("a") as file,
        ):
            tasks = [(self._folder, cell) for cell in missing]
            for left, (cell, found) in zip(range(len(missing) - 1, -1, -1), pool.imap(_run, tasks), strict=True):
                self._known[self._key(cell)] = found
                file.write(json.dumps({"key": self._key(cell), "cell": asdict(cell), "found": asdict(found)}) + "\n")
                file.flush()
                yield left
                if time.monotonic() > deadline:
                    pool.terminate()
                    return

    def _key(self, cell: Cell) -> str:
        method = METHODS[cell.method]
        parts: list[Any] = [asdict(cell), method.settings, [[name, version(name)] for name in method.packages]]
        parts += [_digest(HERE / name) for name in SHARED] + [_digest(HERE / name) for name in method.modules]
        if method.is_ours:
            parts += [_digest(ROOT / "hpsearch" / name) for name in OURS]
            for package in ("search", "stopping"):
                parts += [_digest(path) for path in sorted((ROOT / "hpsearch" / package).glob("*.py"))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(task: tuple[Path, Cell]) -> tuple[Cell, Found]:
    """Simulate a cell in a worker process, with the log messages of the libraries turned off."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    for name in ("ray.tune", "syne_tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return task[1], run_cell(*task)


def _found(tree: dict[str, Any]) -> Found:
    return Found(**{**tree, "regrets": tuple(tree["regrets"])})
