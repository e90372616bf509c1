"""A sweep's folder, or a whole project, that was moved or copied and is opened from elsewhere: it reads and goes on.

Real command line, ledger and files, in processes of their own; slots are simulated, and no Ray is started.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hpsearch.ledger.store import Ledger
from hpsearch.spec.file import dump_yaml
from tests.support.simulated import FINE, KILLED, Scenario, live

ROOT = Path(__file__).parents[2]
SCENARIO = Scenario(trials=4, epochs=6)
KILLED_AT = 40
"""The fail point in the middle of the sweep."""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a project whose sweep was killed: its trainable, its diary and `sweeps`."""
    folder = tmp_path / "before"
    assert live(folder, SCENARIO, dies_at=KILLED_AT)[0] == KILLED
    return folder


def hpsearch(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpsearch", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def assert_it_goes_on(folder: Path, *, resumes: bool = False) -> None:
    """To its end, every epoch once on record."""
    before = reports(folder)
    assert before, "it was killed too early to show anything"
    assert live(folder, SCENARIO, resumes=resumes)[0] == FINE, (folder / "broken.txt").read_text()
    after = reports(folder)
    assert Counter(after) == Counter((number, epoch) for number in range(1, 5) for epoch in range(1, 7))
    assert before <= after, "nothing on record was lost"
    repeated = Counter(line for line in (folder / "diary.txt").read_text().splitlines() if " epoch " in line)
    assert sum(repeated.values()) < 4 * 6 + 6, "they went on from their checkpoints"


def reports(folder: Path) -> set[tuple[int, int]]:
    with Ledger(folder / "sweeps") as ledger:
        return {(report.number, report.epoch) for report in ledger.reports(ledger.sweep("victim"))}


def test_a_moved_sweep_reads_the_same_from_any_working_directory_and_goes_on(killed: Path, tmp_path: Path):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    verbs = (["list"], ["show"], ["show", "--trial", "1"])
    said = [hpsearch(*verb, "--home", "sweeps", "--json", cwd=killed) for verb in verbs]
    moved = killed.rename(tmp_path / "after")
    again = [hpsearch(*verb, "--home", "../after/sweeps", "--json", cwd=elsewhere) for verb in verbs]
    assert [text.replace("../after/sweeps", "sweeps") for text in again] == said
    assert_it_goes_on(moved)
    assert not killed.exists(), "nothing was written where it used to be"


def test_a_copy_goes_on_and_so_does_the_original(killed: Path, tmp_path: Path):
    copy = Path(shutil.copytree(killed, tmp_path / "copy"))
    original = {path: path.read_bytes() for path in sorted(killed.rglob("*")) if path.is_file()}
    assert_it_goes_on(copy)
    assert {path: path.read_bytes() for path in sorted(killed.rglob("*")) if path.is_file()} == original
    assert_it_goes_on(killed)


def test_resume_finds_the_trainable_of_a_project_that_was_moved_as_a_whole(killed: Path, tmp_path: Path):
    moved = killed.rename(tmp_path / "after")
    assert_it_goes_on(moved, resumes=True)
    assert not killed.exists()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    said = hpsearch("best", "--home", "../after/sweeps", cwd=elsewhere)
    assert f"--set trainable={moved}/train.py:train" in said
    assert "trainable=" not in hpsearch("best", cwd=moved).split("# by hand:")[1], "it is found from there"


def test_a_copy_of_a_project_trains_with_its_own_trainable(killed: Path, tmp_path: Path):
    copy = Path(shutil.copytree(killed, tmp_path / "copy"))
    (copy / "train.py").write_text("def train(config):\n    yield {'loss': 2 * config['x']}\n")
    assert live(copy, SCENARIO, resumes=True)[0] != FINE
    assert f"{copy}/train.py is new" in (copy / "broken.txt").read_text(), "its own, and it is not what it was"
    assert_it_goes_on(killed, resumes=True)


def test_resume_finds_the_trainable_where_it_was_when_the_ledger_alone_was_moved(killed: Path, tmp_path: Path):
    shutil.move(killed / "sweeps", tmp_path / "data" / "sweeps")
    shutil.copy(killed / "diary.txt", tmp_path / "data" / "diary.txt")
    assert_it_goes_on(tmp_path / "data", resumes=True)


def test_a_finished_project_that_was_moved_answers_the_same_command(killed: Path, tmp_path: Path):
    assert_it_goes_on(killed)
    (killed / "victim.yaml").write_text(dump_yaml(SCENARIO.tree("victim")))
    moved = killed.rename(tmp_path / "after")
    assert "victim: done" in hpsearch("sweep", "victim.yaml", cwd=moved)


def test_the_ledger_remembers_where_the_spec_was_last(killed: Path, tmp_path: Path):
    moved = killed.rename(tmp_path / "after")
    assert live(moved, SCENARIO, dies_at=20)[0] == KILLED
    with Ledger(moved / "sweeps") as ledger:
        assert ledger.sweep("victim").spec_dir == str(moved)


def test_nothing_that_lies_among_the_sweeps_is_taken_for_the_trainable(killed: Path, tmp_path: Path):
    planted = killed / "sweeps" / "victim"
    (planted / "train.py").write_text("raise SystemExit('planted')\n")
    connection = sqlite3.connect(killed / "sweeps" / "ledger.db")
    with connection:
        connection.execute("UPDATE sweeps SET spec_dir = NULL, spec_from_home = 'victim'")
    connection.close()
    assert live(killed, SCENARIO, resumes=True)[0] != FINE
    assert "there is no file train.py" in (killed / "broken.txt").read_text()
