"""What one sweep of the ledger has trained, another does not train again; below Ray, on the simulated executor."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from hpsearch.ledger.fingerprint import Code
from hpsearch.ledger.trial_cache import TrialCache
from tests.faults.test_killed_at_every_write import ASHA, GRID, SPEC, Disk, Driver, table

CODE: Code = {"train.py": "1"}


def run(home: Path, disk: Disk, tree: dict[str, Any], *, code: Code | None = CODE, again: bool = False) -> set[int]:
    """Run a sweep; numbers of the trials that trained an epoch."""
    before = Counter(disk.trained)
    driver = Driver(home, disk, tree)
    driver.memory = lambda record: TrialCache(driver.ledger, driver.sweep, record, code=code, again=again)
    driver.live()
    return {number for number, _ in disk.trained - before}


def rows(home: Path, name: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(home / "ledger.db")
    found = connection.execute(
        "SELECT number, trials.state, epochs_trained, best_value, reused_from FROM trials"
        " JOIN sweeps ON sweeps.id = sweep_id WHERE name = ? ORDER BY number",
        (name,),
    ).fetchall()
    connection.close()
    return found


def test_a_second_sweep_of_the_same_space_trains_nothing(tmp_path: Path):
    run(tmp_path, Disk(), SPEC)
    assert run(tmp_path, Disk(), {**SPEC, "name": "second"}) == set()
    first, second = rows(tmp_path, "victim"), rows(tmp_path, "second")
    assert [row[1] for row in second] == ["reused"] * 7
    assert [row[2:4] for row in second] == [row[2:4] for row in first]
    assert second[2][4] == "victim/3"


def test_another_method_reuses_the_points_that_it_happens_to_try(tmp_path: Path):
    run(tmp_path, Disk(), GRID)
    wider = {**GRID, "name": "second", "parameters": {"x": {"values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}}}
    trained = run(tmp_path, Disk(), wider)
    assert len(trained) == 1
    assert Counter(row[1] for row in rows(tmp_path, "second")) == {"reused": 5, "done": 1}


def test_asha_on_a_known_space_reuses_every_curve(tmp_path: Path):
    run(tmp_path, Disk(), ASHA)
    assert run(tmp_path, Disk(), {**ASHA, "name": "second"}) == set()
    assert [row[2] for row in rows(tmp_path, "second")] == [row[2] for row in rows(tmp_path, "victim")]


def test_a_trial_that_went_less_far_goes_on_from_its_checkpoint(tmp_path: Path):
    short = {**ASHA, "early_terminate": {"type": "none"}, "limits": {"trials": 3, "epochs": 4}}
    disk = Disk(natural_end=100)
    run(tmp_path, disk, short)
    later = Disk(natural_end=100)
    later.checkpoints = dict(disk.checkpoints)
    longer = {**short, "name": "second", "limits": {"trials": 3, "epochs": 6}}
    assert run(tmp_path, later, longer) == {1, 2, 3}
    assert {epoch for _, epoch in later.trained} == {5, 6}
    assert [row[1:3] for row in rows(tmp_path, "second")] == [("done", 6)] * 3


def test_again_trains_everything_and_other_code_is_another_trial(tmp_path: Path):
    run(tmp_path, Disk(), SPEC)
    every = set(range(1, 8))
    assert run(tmp_path, Disk(), {**SPEC, "name": "b"}, again=True) == every
    assert run(tmp_path, Disk(), {**SPEC, "name": "c"}, code={"train.py": "2"}) == every
    assert run(tmp_path, Disk(), {**SPEC, "name": "d"}, code=None) == every
    assert run(tmp_path, Disk(), {**SPEC, "name": "e", "seed": 1}) == every


def test_a_finished_sweep_stays_as_it_is_when_others_reuse_it(tmp_path: Path):
    run(tmp_path, Disk(), SPEC)
    before = rows(tmp_path, "victim")
    run(tmp_path, Disk(), {**SPEC, "name": "second"})
    assert rows(tmp_path, "victim") == before
    assert len(table(tmp_path)) == 14


def test_more_trials_train_the_new_ones_alone_and_the_same_again_trains_none(tmp_path: Path):
    disk = Disk()
    for total, trained in ((12, 12), (12, 0), (20, 8), (20, 0)):
        tree = {**SPEC, "limits": {**SPEC["limits"], "trials": total}}
        assert run(tmp_path, disk, tree) == set(range(total - trained + 1, total + 1))
    assert [row[1] for row in rows(tmp_path, "victim")] == ["done"] * 20
