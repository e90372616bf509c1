"""A sweep is renamed, its files are removed, or what it reused is forgotten, between its driver's death and its resume.

The driver is killed by a real signal 9 at an instant of its life; its slots are simulated, and no Ray is started.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.rename import rename
from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.ledger.checkpoints import checkpoint_path
from hpsearch.ledger.forgetting import forget
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.store import Ledger
from hpsearch.paths import checkpoint_dir, ledger_path
from tests.support.simulated import FINE, KILLED, Scenario, live

SCENARIO = Scenario(trials=5, epochs=4, seed=2)
LONGER = Scenario(trials=5, epochs=6, seed=2)
"""The same trials with more epochs, so that they begin with what the others have trained."""
DEATHS = (20, 45, 70, 110)
"""Fail points at which the driver dies, of some 150."""


def table(home: Path, name: str) -> list[tuple[Any, ...]]:
    """Number, point, state, reports and best value of every trial, after a check that what it names is there."""
    with Ledger(home) as ledger:
        sweep = ledger.sweep(name)
        rows: list[tuple[Any, ...]] = []
        for trial in ledger.trials(sweep):
            reports = [(report.epoch, report.metrics) for report in ledger.reports_of(trial)]
            if trial.checkpoint_epoch is not None:
                assert checkpoint_path(checkpoint_dir(home / name, trial.number), trial.checkpoint_epoch) is not None
            rows.append((trial.number, trial.point, trial.state, reports, trial.best_value))
    return rows


def check_rebuilds(home: Path, name: str) -> None:
    """A ledger that is rebuilt from the journals has the same."""
    before = table(home, name)
    ledger_path(home).unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert table(home, name) == before


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The table of the longer sweep that nothing happens to, and that reuses nothing."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert live(folder, LONGER)[0] == FINE
    return table(folder / "sweeps", "victim")


@pytest.mark.parametrize("dies_at", DEATHS)
def test_a_killed_sweep_that_is_renamed_resumes_as_if_nothing_had_happened(tmp_path: Path, unbroken, dies_at: int):
    home = tmp_path / "sweeps"
    assert live(tmp_path, LONGER, dies_at=dies_at)[0] == KILLED
    rename(home, "victim", "renamed")
    assert live(tmp_path, LONGER, name="renamed", resumes=True)[0] == FINE, (tmp_path / "broken.txt").read_text()
    assert table(home, "renamed") == unbroken
    check_rebuilds(home, "renamed")


@pytest.mark.parametrize("dies_at", DEATHS)
def test_a_killed_sweep_whose_source_is_forgotten_resumes_with_what_it_had_reused(
    tmp_path: Path, unbroken, dies_at: int
):
    home = tmp_path / "sweeps"
    assert live(tmp_path, SCENARIO, name="source")[0] == FINE
    assert live(tmp_path, LONGER, dies_at=dies_at)[0] == KILLED
    forget(home, "source")
    assert live(tmp_path, LONGER)[0] == FINE, (tmp_path / "broken.txt").read_text()
    assert table(home, "victim") == unbroken
    check_rebuilds(home, "victim")
    with Ledger(home) as ledger:
        assert ledger.find_sweep("source") is None
        sources = [trial.reused_from for trial in ledger.trials(ledger.sweep("victim"))]
    assert any((source or "").startswith("source/") for source in sources), "something was reused before"


@pytest.mark.parametrize("dies_at", DEATHS)
def test_a_killed_sweep_whose_files_are_removed_resumes_with_what_the_ledger_has(
    tmp_path: Path, unbroken, dies_at: int
):
    home = tmp_path / "sweeps"
    assert live(tmp_path, LONGER, dies_at=dies_at)[0] == KILLED
    shutil.rmtree(home / "victim")
    assert live(tmp_path, LONGER, resumes=True)[0] == FINE, (tmp_path / "broken.txt").read_text()
    assert table(home, "victim") == unbroken
    check_rebuilds(home, "victim")
