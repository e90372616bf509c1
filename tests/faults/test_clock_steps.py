"""Fault 37: the clock steps back or ahead by an hour, while a sweep runs or between two runs of it.

The driver, its ledger, journal, files and tables are real; the trials are simulated, and so is the time of day, with
the times of files. What comes out is what comes out where the clock was left alone.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.api.results import Results
from hpsearch.results.files import are_up_to_date
from tests.support.clock import Clock, TimeOfDay
from tests.support.simulated import FINE, KILLED, Scenario, live
from tests.support.timed import run as run_timed

STEPS = {
    "ahead": ((12, 1.0),),
    "back": ((12, -1.0),),
    "ahead and back": ((8, 1.0), (16, -1.0)),
}
METHODS = {
    "random": Scenario(),
    "asha": Scenario(stopping="asha"),
    "tpe, failing": Scenario(method="optuna", stopping="asha", failing=True),
}
"""`unit/engine/test_replay` has the methods that depend on the order of events."""
LATE = 60
"""A fail point past the steps of `STEPS`, with trials done, running and to come."""


def lived(folder: Path, scenario: Scenario, **options: Any) -> Path:
    """A life of a driver from start to end; the sweep's folder."""
    exit_code, _ = live(folder, scenario, **options)
    assert exit_code == FINE, (folder / "broken.txt").read_text()
    return folder / "sweeps" / "victim"


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """What the ledger has of the trials, without times of day."""
    with sqlite3.connect(folder / "sweeps" / "ledger.db") as ledger:
        query = "select number, state, cause, point, attempts, epochs_trained, best_value, checkpoint_epoch from trials"
        return ledger.execute(f"{query} order by number").fetchall()


def check_tables(folder: Path) -> None:
    """That the tables and the report in the sweep's folder show what the ledger has."""
    sweep, results = folder / "sweeps" / "victim", Results(folder / "sweeps", "victim")
    assert are_up_to_date(sweep)
    read = pd.read_csv(sweep / "trials.csv")
    assert read["state"].tolist() == results.trials["state"].tolist() == [row[1] for row in rows(folder)]
    assert read["started_at"].tolist() == results.trials["started_at"].tolist()
    assert len(pd.read_parquet(sweep / "history.parquet")) == len(results.history)
    assert f"{len(read)} trials" in (sweep / "report.html").read_text()


@pytest.mark.parametrize("steps", STEPS.values(), ids=list(STEPS))
@pytest.mark.parametrize("scenario", METHODS.values(), ids=list(METHODS))
def test_steps_while_a_sweep_runs_change_nothing(tmp_path: Path, scenario: Scenario, steps: Any):
    lived(tmp_path / "still", scenario)
    lived(tmp_path / "moved", replace(scenario, clock_steps=steps))
    assert rows(tmp_path / "moved") == rows(tmp_path / "still")
    check_tables(tmp_path / "moved")


@pytest.mark.parametrize("hours", [1.0, -1.0])
@pytest.mark.parametrize("steps", [STEPS["back"], STEPS["ahead and back"]], ids=["back", "ahead and back"])
@pytest.mark.parametrize("scenario", METHODS.values(), ids=list(METHODS))
def test_a_killed_sweep_resumes_as_if_the_clock_had_been_left_alone(
    tmp_path: Path, scenario: Scenario, steps: Any, hours: float
):
    hours_ahead = sum(step[1] for step in steps) + hours
    moved = replace(scenario, clock_steps=steps)
    ends = []
    for name, first, second in (
        ("still", scenario, scenario),
        ("moved", moved, replace(moved, hours_ahead=hours_ahead)),
    ):
        assert live(tmp_path / name, first, dies_at=LATE)[0] == KILLED
        if second is not scenario:
            TimeOfDay().move(hours, files_below=tmp_path / name / "sweeps")
        lived(tmp_path / name, second)
        ends.append((rows(tmp_path / name), (tmp_path / name / "diary.txt").read_text()))
    assert ends[0] == ends[1], "the same configurations in the same order, and no epoch more or less is trained"
    check_tables(tmp_path / "moved")


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_a_sweep_with_more_trials_after_a_step_has_current_tables(tmp_path: Path, hours: float):
    lived(tmp_path, replace(METHODS["random"], trials=2))
    for trials, times in ((5, 1), (7, 2), (7, 3)):
        TimeOfDay().move(hours, files_below=tmp_path / "sweeps")
        lived(tmp_path, replace(METHODS["random"], trials=trials, hours_ahead=hours * times))
        assert len(rows(tmp_path)) == trials
        check_tables(tmp_path)


@pytest.mark.parametrize("hours", [1.0, -1.0, None])
def test_a_time_limit_holds_by_the_clock_that_is_never_set(
    tmp_path: Path, hours: float | None, monkeypatch: pytest.MonkeyPatch
):
    moved, seen = TimeOfDay(), []
    monkeypatch.setattr("hpsearch.time_of_day.time", moved)

    def step(engine: Any, clock: Clock) -> None:
        seen.append(clock.now)
        if hours is not None and len(seen) % 5 == 0:
            moved.move(hours, files_below=tmp_path)

    took_s = run_timed(tmp_path, on_report=step, limits={"trials": 40, "epochs": 9, "concurrent": 2, "time": "10m"})
    assert 600 <= took_s < 640, "each of the two trials ends its epoch"
    assert len(seen) > 50
