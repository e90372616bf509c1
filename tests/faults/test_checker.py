"""The checker itself: whatever it is to find, it finds."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.checker import MARK, Watch, processes_of
from tests.support.real import ROOT
from tests.support.waiting import until

LIFE = """
import sys
from pathlib import Path
from tests.support.simulated import Scenario, live
sys.exit(live(Path(sys.argv[1]), Scenario(method="grid", trials=3, epochs=3))[0])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    subprocess.run([sys.executable, "-c", LIFE, str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture
def watch(finished: Path, tmp_path: Path) -> Watch:
    """A finished sweep that was looked at once."""
    import shutil

    shutil.copytree(finished, tmp_path / "copy")
    watch = Watch(tmp_path / "copy" / "sweeps", "victim", tmp_path / "copy" / "diary.txt")
    watch.look()
    return watch


def problems(watch: Watch) -> str:
    watch.check_end(interruptions=0)
    return "\n".join(watch.figures.problems)


def edit(watch: Watch, statement: str) -> None:
    with closing(sqlite3.connect(watch.home / "ledger.db")) as connection, connection:
        connection.execute(statement)


def test_an_unharmed_sweep_has_no_problems(watch):
    assert problems(watch) == ""
    assert len(watch.acknowledged) == 3


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE trials SET best_value = 7 WHERE number = 2", "trial 2 was ("),
        ("UPDATE trials SET state = 'running' WHERE number = 2", "trial 2 is still running"),
        ("DELETE FROM trials WHERE number = 3", "trial 3 was finished and is gone"),
        ("DELETE FROM reports WHERE id = 2", "epochs ["),
        ("UPDATE reports SET metrics = '{\"loss\": 0.5}' WHERE id = 2", "loss 0.5"),
        ("UPDATE sweeps SET state = 'running'", "the sweep is running, not done"),
        ("UPDATE trials SET fingerprint = 'same'", "trained to its end 3 times"),
    ],
)
def test_a_changed_ledger_is_noticed(watch, statement, problem):
    edit(watch, statement)
    assert problem in problems(watch)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 begin 0\n1 epoch 1\n", "trial 1 was finished and trained"),
        ("1 begin 5\n", "an attempt began at 5, the one before got to 3"),
        ("1 epoch 9\n", "epoch 9 was trained after 3"),
        ("1 begin 0\n1 epoch 1\n", "an epoch was trained 2 times"),
    ],
)
def test_training_that_nobody_asked_for_is_noticed(watch, line, problem):
    with watch.diary.open("a") as file:
        file.write(line)
    assert problem in problems(watch)


def test_a_torn_table_is_noticed(watch):
    path = watch.home / "victim" / "trials.csv"
    path.write_bytes(path.read_bytes()[:-40])
    assert "trials.csv" in problems(watch)


def test_a_lock_that_is_still_held_is_noticed(watch):
    import fcntl

    with (watch.home / "victim" / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "lock is still held" in problems(watch)


def test_a_marked_process_is_found_until_it_is_gone():
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: "this-one"})
    try:
        assert child.pid in processes_of("this-one")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert processes_of("this-one") == {}


def test_agents_of_ray_are_counted_apart():
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", "ray::DashboardAgent"],
        env={**os.environ, MARK: "that-one"},
    ) as child:
        until(lambda: processes_of("that-one", agents=True).keys() == {child.pid})
        assert processes_of("that-one") == {}
        child.kill()
