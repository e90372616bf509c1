"""The cost of the ledger: resuming a sweep, starting a trial and a report, and how each grows with finished trials.

    python -m benchmarks.ledger [--profile]

There is no Ray and no training: the engine gets made-up reports, and the ledger is on disk as in a sweep. `again` is
the same `sweep` command on the finished sweep, as a separate process from its first import to its table. `resume` is
the time from `Run.start` to where Ray would be started, in a process that has imported everything. Both are given as
wall time and as CPU time. Starts and reports are CPU time of the driver, with a checkpoint, and thus a commit, for each
report.
"""

from __future__ import annotations

import argparse
import cProfile
import platform
import pstats
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpsearch.driver.driver import Run
from hpsearch.driver.session import Session
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Report, Verdict
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from hpsearch.trainable.locate import locate

SIZES = (100, 1000, 10_000)
"""Trials that are over."""
REPORTS = 10
"""Number of reports of each trial of the random sweep."""
MAX_EPOCHS = 1000
"""More epochs than any trial trains."""
MORE_TRIALS = 40
"""Number of trials whose starts and reports are measured."""

RANDOM: dict[str, Any] = {
    "name": "ledger",
    "trainable": "benchmarks.ledger:nothing",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(6)},
    "limits": {"epochs": REPORTS},
}
ASHA: dict[str, Any] = {
    **RANDOM,
    "method": "optuna",
    "early_terminate": {"type": "asha", "min_iter": 4},
    "limits": {"epochs": 36},
}
"""A sweep with rungs after 4 and 12 epochs; a trial has 9 reports on average."""


def nothing(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """The trainable of the sweeps, which is never called."""
    yield {"loss": config["x0"]}


CODE = code_of(locate("benchmarks.ledger:nothing", spec_dir=None))


def fill(home: Path, tree: dict[str, Any], *, trials: int) -> None:
    """Make a ledger with a finished sweep. Its points are random, because a model would take hours to propose them."""
    sweep = Sweep.from_dict({**tree, "limits": {**tree["limits"], "trials": trials}})
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("ledger", sweep.to_dict(), code=CODE)
        engine = Engine.new(make_parts(ledger, sweep, searcher_of={**tree, "method": "random"}))
        with hurried(ledger):
            play(engine, save_every=4)
        engine.finish()


def make_parts(ledger: Ledger, sweep: Sweep, *, searcher_of: dict[str, Any]) -> EngineParts:
    """The parts of an engine for this sweep, with the searcher of another spec."""
    record = ledger.sweep("ledger")
    searcher = make_searcher(Sweep.from_dict(searcher_of))
    return EngineParts(
        sweep=sweep,
        searcher=searcher,
        rule=make_stopping_rule(sweep, can_pause=True, is_random=searcher.is_random),
        ledger=ledger,
        record=record,
        cache=TrialCache(ledger, sweep, record, code=CODE),
        concurrent=4,
    )


@contextmanager
def hurried(ledger: Ledger) -> Iterator[None]:
    """Within the block, commits don't wait for the disk: filling a ledger is not measured."""
    with ledger._transactions._engine.connect() as connection:  # the connection that the pool will return again
        connection.exec_driver_sql("PRAGMA synchronous=OFF")
    yield


def play(engine: Engine, *, save_every: int = 1) -> None:
    """Play each assignment to its end, one after the other."""
    while isinstance(assignment := engine.next_assignment(), Assignment):
        for epoch in range(assignment.known_epochs + 1, MAX_EPOCHS):
            metrics = {"loss": assignment.config["x0"] + 1 / epoch, "accuracy": 0.5}
            saved = epoch - epoch % save_every or None
            report = Report(epoch=epoch, metrics=metrics, elapsed_s=float(epoch), checkpoint_epoch=saved)
            if engine.on_event(assignment.number, report) is not Verdict.CONTINUE:
                break


class ReadyError(BaseException):
    """Raised where Ray would be started."""


def again_s(home: Path, tree: dict[str, Any], *, trials: int) -> tuple[float, float]:
    """Wall and CPU seconds of `hpsearch sweep` on the finished sweep, whose tables are already written."""
    spec = home / "spec.yaml"
    spec.write_text(dump_yaml({**tree, "limits": {**tree["limits"], "trials": trials}}))
    command = [sys.executable, "-m", "hpsearch", "sweep", str(spec), "--home", str(home)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    start, cpu = time.perf_counter(), _cpu_of_children()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, _cpu_of_children() - cpu


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resume_s(home: Path, tree: dict[str, Any], *, trials: int) -> tuple[float, float]:
    """Wall and CPU seconds until Ray would be started, for one more trial."""

    def ready(self: Session) -> None:
        raise ReadyError

    session, Session.run = Session.run, ready  # type: ignore[method-assign]
    sweep = Sweep.from_dict({**tree, "limits": {**tree["limits"], "trials": trials + 1}})
    start, cpu = time.perf_counter(), time.process_time()
    try:
        Run(sweep=sweep, home=home, show="none").start()
    except ReadyError:
        return time.perf_counter() - start, time.process_time() - cpu
    finally:
        Session.run = session  # type: ignore[method-assign]
    raise AssertionError("the sweep had no trial left to train")


def costs(home: Path, tree: dict[str, Any], *, trials: int) -> tuple[float, float]:
    """CPU milliseconds of the driver: the median of a trial's start, and the mean of a report."""
    sweep = Sweep.from_dict({**tree, "limits": {**tree["limits"], "trials": trials + MORE_TRIALS}})
    starts: list[float] = []
    reports: list[float] = []
    with Ledger(home, create=True) as ledger:
        parts = make_parts(ledger, sweep, searcher_of=tree)
        engine = Engine.resumed(parts, Past.read(ledger, parts.record))
        next_assignment, on_event = engine.next_assignment, engine.on_event
        engine.next_assignment = timed(next_assignment, starts)  # type: ignore[method-assign]
        engine.on_event = timed(on_event, reports)  # type: ignore[method-assign]
        play(engine)
    return statistics.median(starts[1:]), statistics.mean(reports)


def timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    """A function that makes the same call, and appends its CPU milliseconds to a list."""

    def measured(*args: Any) -> Any:
        start = time.process_time()
        try:
            return call(*args)
        finally:
            into.append(1e3 * (time.process_time() - start))

    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the largest resume spends its time")
    profile = parser.parse_args().profile
    make_searcher(Sweep.from_dict(ASHA))  # Optuna is imported
    print(f"Python {platform.python_version()}, {platform.machine()}; {REPORTS} reports a trial, 9 with asha")
    head = f"{'trials':>8}{'again s':>10}{'CPU s':>8}{'resume s':>10}{'CPU s':>8}{'start ms':>10}{'report ms':>11}"
    print(f"{'':<16}{head}")
    for name, tree in (("random", RANDOM), ("optuna + asha", ASHA)):
        for trials in SIZES:
            home = Path(tempfile.mkdtemp(prefix="hps-bench-"))
            fill(home, tree, trials=trials)
            again, again_cpu = again_s(home, tree, trials=trials)
            profiler = cProfile.Profile()
            if profile and trials == SIZES[-1]:
                profiler.enable()
            resume, cpu = resume_s(home, tree, trials=trials)
            profiler.disable()
            start, report = costs(home, tree, trials=trials)
            line = f"{trials:>8}{again:>10.2f}{again_cpu:>8.2f}{resume:>10.2f}{cpu:>8.2f}{start:>10.2f}{report:>11.3f}"
            print(f"{name:<16}{line}", flush=True)
            if profile and trials == SIZES[-1]:
                pstats.Stats(profiler).sort_stats("cumulative").print_stats(35)
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
