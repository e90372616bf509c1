"""`make faults`: random kills of simulated and of real sweeps, all invariants checked, the figures printed.

Each simulated seed is a sweep of a scenario of its own (method, stopping rule, concurrency, checkpoints, failures) that
is killed one to three times at random fail points and then runs to its end. The real ones are sweeps on real Ray whose
driver, preload server or every process is killed with signal 9 at random instants, and the daemons of whose Ray are.

Example:
    python -m tests.faults.campaign --seeds 1000 --real 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path

from tests.faults.checker import FINAL_STATES, Reader, Watch, processes_of, wait_until_gone
from tests.support.real import RealSweep
from tests.support.simulated import BROKEN, FINE, KILLED, Scenario, live, warm_up
from tests.support.waiting import becomes_true

METHODS = (("grid", None), ("random", None), ("optuna", "tpe"), ("optuna", "qmc"), ("hyperopt", "tpe"))
STOPPING = ("none", "asha", "asha_stop")
NUM_SCENARIOS = 120
"""Seeds beyond differ from earlier ones by the instants of their deaths."""
MAX_SHOWN = 20


@dataclass
class Tally:
    """What a campaign has seen."""

    sweeps: int = 0
    kills: int = 0
    acknowledged: int = 0
    """Trials that were finished when a driver died."""
    finished_lost: int = 0
    trained_twice: int = 0
    other_configurations: int = 0
    """Sweeps by grid or random, without failures, whose configurations are not those of an unbroken one."""
    problems: list[str] = field(default_factory=list)

    def take(self, watch: Watch, label: str) -> None:
        """What one sweep has shown."""
        self.finished_lost += watch.figures.finished_lost
        self.trained_twice += watch.figures.trained_twice
        self.problems += [f"{label}: {problem}" for problem in watch.figures.problems]

    def add(self, other: Tally) -> None:
        """Two campaigns are one."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def scenario_of(seed: int) -> Scenario:
    """Seeds go through methods and stopping rules in turn; the rest is drawn."""
    number = seed % NUM_SCENARIOS
    dice = random.Random(number)
    (method, sampler), stopping = list(product(METHODS, STOPPING))[number % (len(METHODS) * len(STOPPING))]
    return Scenario(
        method=method,
        sampler=sampler,
        stopping=stopping,
        concurrent=dice.choice((1, 2, 3, 5)),
        trials=dice.choice((4, 7)),
        epochs=dice.choice((3, 9)),
        ends_at=dice.choice((None, None, 2)) if stopping == "none" else None,
        save_every=dice.choice((1, 1, 2, 4, None)),
        failing=dice.random() < 0.4,
        finite=dice.random() < 0.25,
        clock_steps=dice.choice(((), ((5, 1.0),), ((5, -1.0),), ((4, 1.0), (12, -1.0)))),
    )


@cache
def unbroken(scenario: Scenario) -> tuple[int, tuple[str, ...]]:
    """Fail points of a life without a death, and the configurations that it tried."""
    with scratch() as folder:
        code, passed = live(folder, scenario)
        assert code == FINE, (folder / "broken.txt").read_text()
        return passed, points_of(Watch(folder / "sweeps", "victim", folder / "diary.txt"))


def is_determined(scenario: Scenario) -> bool:
    """Whether the seed alone decides what is tried. Where configurations fail it does not: every method keeps away from
    the failures that it knows when it is asked, and which these are depends on the order in which trials end.
    """
    return scenario.method in ("grid", "random") and not scenario.failing


def points_of(watch: Watch) -> tuple[str, ...]:
    """The configurations of a sweep by number."""
    return tuple(json.dumps(row.point, sort_keys=True) for row in watch.rows())


def simulate(seed: int) -> Tally:
    """One sweep, killed one to three times, then run to its end."""
    scenario, tally, dice = scenario_of(seed), Tally(sweeps=1), random.Random(-seed - 1)
    passed, expected = unbroken(scenario)
    with scratch() as folder:
        watch = Watch(folder / "sweeps", "victim", folder / "diary.txt")
        interruptions = 0
        for _ in range(dice.choice((1, 1, 2, 3))):
            code, _ = live(folder, scenario, dies_at=dice.randint(1, passed))
            tally.kills += code == KILLED
            interruptions += code == KILLED
            if code == BROKEN:
                break
            watch.look()
        tally.acknowledged = len(watch.acknowledged)
        code, _ = live(folder, scenario)
        if code == FINE:
            failures = 6 if scenario.failing else 0  # attempts that ended by a failure of the trial's own
            watch.check_end(interruptions=interruptions + failures)
            tally.other_configurations = is_determined(scenario) and points_of(watch) != expected
        else:
            watch.figures.add((folder / "broken.txt").read_text())
        tally.take(watch, f"seed {seed}, {scenario}")
    return tally


def simulate_all(seeds: range, *, jobs: int) -> Tally:
    """All seeds, in as many processes; each has a single thread, so that it can fork."""
    with scratch() as folder:
        warm_up(folder)
    readers = [_in_child(seeds[job::jobs]) for job in range(jobs)]
    tally = Tally()
    for child, reader in readers:
        with os.fdopen(reader) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        tally.add(Tally(**json.loads(text)) if text else Tally(problems=["a process of the campaign died"]))
    return tally


def _in_child(seeds: range) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    tally = Tally()
    for seed in seeds:
        tally.add(simulate(seed))
    os.write(writer, json.dumps(asdict(tally)).encode())
    os._exit(0)


AGENTS_GONE_S = 90.0
"""After the last kill no agent of Ray is left by then."""


def kill_really(kills: int, *, seed: int = 0) -> Tally:
    """Sweeps on real Ray, each killed up to three times at random instants, then run to its end."""
    dice, tally, number = random.Random(seed), Tally(), 0
    marks: list[str] = []
    while tally.kills < kills:
        method, stopping = (("random", "none"), ("optuna", "asha"), ("grid", "asha"))[number % 3]
        number += 1
        with scratch() as folder:
            sweep = RealSweep(folder, method=method, stopping=stopping, trials=6, epochs=27, epoch_s=0.3)
            marks.append(sweep.mark)
            try:
                tally.add(_kill_one(sweep, min(3, kills - tally.kills), dice))
            finally:
                sweep.close()
    for mark in marks:
        if left := wait_until_gone(mark, within_s=AGENTS_GONE_S, agents=True):
            tally.problems.append(f"real: {AGENTS_GONE_S:g} s after the last kill there are {left}")
    return tally


def _kill_one(sweep: RealSweep, kills: int, dice: random.Random) -> Tally:
    tally = Tally(sweeps=1)
    with Reader(sweep.watch):
        for _ in range(kills):
            sweep.start()
            sweep.wait_for_epochs(1)
            time.sleep(dice.uniform(0.0, 6.0))  # a trial takes eight seconds, or more on a busy machine
            if sweep.process is None or sweep.process.poll() is not None:
                break  # it came to its end before
            _kill_somehow(sweep, dice)
            tally.kills += 1
            if all(row.state in FINAL_STATES for row in sweep.watch.rows()):
                break  # it was about to end
            left = sweep.left_over(within_s=30.0)
            if left:
                sweep.watch.figures.add(f"30 s after a kill there are {left}")
        tally.acknowledged = len(sweep.watch.acknowledged)
        code, output = sweep.run()
    if code != 0:
        sweep.watch.figures.add(f"exit code {code}: {output}")
    sweep.watch.check_end(interruptions=tally.kills)
    tally.take(sweep.watch, "real")
    return tally


TRIALS_GONE_S = 5.0
"""After a kill nothing of a trial is left by then."""


def _trials_of(sweep: RealSweep) -> dict[int, str]:
    return {pid: title for pid, title in processes_of(sweep.mark).items() if title.startswith("hpsearch victim trial")}


def _kill_somehow(sweep: RealSweep, dice: random.Random) -> None:
    """The driver, everything, or the preload server and then the driver: within seconds no trial is left that ran."""
    ran = _trials_of(sweep)
    if dice.random() < 0.3:
        for pid, title in processes_of(sweep.mark).items():
            if title.startswith("hpsearch victim preload"):
                os.kill(pid, signal.SIGKILL)
        _check_gone(sweep, ran)
    sweep.kill() if dice.random() < 0.5 else sweep.kill_everything()
    _check_gone(sweep, _trials_of(sweep))


def _check_gone(sweep: RealSweep, trials: dict[int, str]) -> None:
    if not becomes_true(lambda: not trials.keys() & _trials_of(sweep).keys(), within_s=TRIALS_GONE_S):
        left = trials.keys() & _trials_of(sweep).keys()
        sweep.watch.figures.add(f"{TRIALS_GONE_S:g} s after a kill there are trials {left}")


def _has_begun_more_than(sweep: RealSweep, attempts: int) -> bool:
    return sweep.attempts_begun() > attempts


def kill_daemons() -> Tally:
    """One sweep on real Ray whose raylet and then whose GCS are killed."""
    tally = Tally(sweeps=1)
    with scratch() as folder:
        sweep = RealSweep(folder, trials=3, epochs=40)
        try:
            sweep.start()
            with Reader(sweep.watch):
                for daemon in ("raylet", "gcs_server"):
                    sweep.wait_for_epochs(9)
                    begun = sweep.attempts_begun()
                    os.kill(sweep.daemon(daemon), signal.SIGKILL)
                    tally.kills += 1
                    sweep.wait_for(partial(_has_begun_more_than, sweep, begun), "trials begin again")
                code, output = sweep.wait()
            if code != 0 or output.count("Ray is started again") != 2:
                sweep.watch.figures.add(f"exit code {code}: {output}")
            sweep.watch.check_end(interruptions=2)
        finally:
            sweep.close()
        tally.take(sweep.watch, "daemons")
    return tally


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; in memory where there is room, since every commit is written through."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="hps-faults-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(title: str, tally: Tally, took_s: float) -> None:
    """The figures, as the guide quotes them."""
    print(
        f"{title}: {tally.sweeps} sweeps, {tally.kills} kills, {tally.acknowledged} finished trials at the kills;"
        f" {tally.finished_lost} finished lost, {tally.trained_twice} trained twice,"
        f" {tally.other_configurations} with other configurations, {len(tally.problems)} broken promises"
        f" ({took_s:.0f} s)",
        flush=True,
    )
    for problem in tally.problems[:MAX_SHOWN]:
        print(f"  {problem}")


def main() -> int:
    """Run the campaign; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print the simulated tally alone, as JSON")
    given = parser.parse_args()
    began = time.monotonic()
    tally = simulate_all(range(given.first, given.first + given.seeds), jobs=given.jobs)
    if given.json:
        print(json.dumps(asdict(tally)))
        return 0
    report("simulated", tally, time.monotonic() - began)
    if given.real:
        began, real = time.monotonic(), kill_really(given.real)
        report("real Ray, driver or everything", real, time.monotonic() - began)
        began, daemons = time.monotonic(), kill_daemons()
        report("real Ray, its daemons", daemons, time.monotonic() - began)
        tally.add(real)
        tally.add(daemons)
    return 1 if tally.problems or tally.other_configurations else 0


if __name__ == "__main__":
    sys.exit(main())
