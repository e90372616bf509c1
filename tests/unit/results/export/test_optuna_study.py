"""A sweep as Optuna's tools see it, in memory and in a file."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.errors import SpecError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.results.export import optuna_file
from hpsearch.results.export.optuna_file import write_study
from hpsearch.results.export.optuna_study import frozen_trials, make_study
from hpsearch.slots.protocol import Failed
from tests.support.calls import calls_of
from tests.support.curves import Landscape, run

Read = tuple[SweepRecord, list[TrialRecord], list[ReportRecord]]

EVERY_KIND: dict[str, Any] = {
    "lr": {"min": 1e-5, "max": 1.0, "log": True},
    "decay": {"min": 0.0, "max": 1.0, "step": 0.3},
    "depth": {"min": 2, "max": 10, "step": 3},
    "units": {"min": 1, "max": 1000, "log": True},
    "noise": {"distribution": "normal", "mu": 0.0, "sigma": 1.0},
    "scale": {"distribution": "q_log_normal", "mu": 0.0, "sigma": 1.0, "q": 1},
    "kind": {"values": ["a", ["b", 1], {"c": 2}, None]},
    "alike": {"values": [True, 1, 1.0]},
    "momentum": {"min": 0.5, "max": 0.99, "when": {"kind": "a"}},
    "<script>": {"values": ["=1+1", "\x1b[31m", "ünï"]},
    "double": {"expr": "2 * depth"},
    "fixed": [1, 2],
}


def read(home: Path) -> Read:
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        return sweep, ledger.trials(sweep), ledger.reports(sweep)


def losses(config: Mapping[str, Any], epoch: int) -> dict[str, float]:
    return {"val_loss": random.Random(str(config)).random() / epoch, "nan": float("inf")}


def of_every_kind(home: Path) -> Read:
    """A sweep with all kinds of parameters, whose trials fail now and then."""
    nan = Failed(cause="diverged", evidence="<b>nan</b>", elapsed_s=1.0)
    landscape = Landscape(report=losses, failure=lambda config: nan if config["units"] > 500 else None)
    run(home, parameters=EVERY_KIND, landscape=landscape, limits={"trials": 30, "epochs": 9})
    return read(home)


def loaded(path: Path, name: str = "curves") -> list[FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


def told(trial: FrozenTrial) -> dict[str, Any]:
    """Everything of a trial but its key."""
    return {name: value for name, value in vars(trial).items() if name != "_trial_id"}


def test_states_values_curves_and_causes_are_exported(tmp_path: Path):
    run(tmp_path)
    sweep, trials, reports = read(tmp_path)
    study = make_study(sweep, trials, reports)
    assert study.study_name == sweep.name and study.metric_names == ["val_loss"]
    states = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    for ours, theirs in zip(trials, study.trials, strict=True):
        assert theirs.state == states[ours.state]
        assert theirs.user_attrs["trial"] == ours.number and theirs.user_attrs["state"] == ours.state
        assert theirs.value == (None if ours.state == "failed" else ours.best_value)
        assert len(theirs.intermediate_values) == ours.epochs_trained
        assert theirs.user_attrs.get("cause") == ours.cause
        assert theirs.params == {name: value for name, value in ours.point.items() if name != "classes"}
    assert Counter(trial.state for trial in study.trials)[TrialState.FAIL] > 0


def test_unfinished_trials_are_running(tmp_path: Path):
    run(tmp_path, max_reports=30)
    sweep, trials, reports = read(tmp_path)
    frozen = frozen_trials(sweep, trials, reports)
    open_states = [
        theirs.state for ours, theirs in zip(trials, frozen, strict=True) if ours.state in ("running", "paused")
    ]
    assert len(open_states) > 4 and set(open_states) == {TrialState.RUNNING}
    assert sum(len(trial.intermediate_values) for trial in frozen) == 30


def test_a_maximised_metric_is_maximised(tmp_path: Path):
    run(tmp_path, metric={"name": "val_accuracy", "goal": "maximize"}, limits={"trials": 4, "epochs": 3})
    assert make_study(*read(tmp_path)).direction == optuna.study.StudyDirection.MAXIMIZE


def test_every_kind_of_parameter_is_exported(tmp_path: Path):
    sweep, trials, reports = of_every_kind(tmp_path)
    for ours, theirs in zip(trials, make_study(sweep, trials, reports).trials, strict=True):
        plain = {"lr", "decay", "depth", "units", "noise", "scale", "momentum", "<script>"} & ours.point.keys()
        assert {name: theirs.params[name] for name in plain} == {name: ours.point[name] for name in plain}
        assert theirs.params["kind"] in ('"a"', '["b",1]', '{"c":2}', "null")
        assert theirs.params["alike"] in ("true", "1", "1.0")
        assert theirs.user_attrs["param.fixed"] == [1, 2]
        assert theirs.user_attrs["param.double"] == 2 * ours.point["depth"]


def test_the_file_has_what_the_study_has(tmp_path: Path):
    read_again = of_every_kind(tmp_path)
    write_study(*read_again, tmp_path / "study.db")
    in_memory = [told(trial) for trial in make_study(*read_again).trials]
    assert [told(trial) for trial in loaded(tmp_path / "study.db")] == in_memory


def test_tables_of_another_version_are_filled_by_optuna_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path, limits={"trials": 5, "epochs": 3})
    write_study(*read(tmp_path), tmp_path / "fast.db")
    monkeypatch.setattr(optuna_file, "KNOWN_VERSION", "v9")
    write_study(*read(tmp_path), tmp_path / "slow.db")
    assert [told(trial) for trial in loaded(tmp_path / "fast.db")] == [
        told(trial) for trial in loaded(tmp_path / "slow.db")
    ]


def test_a_study_in_a_file_can_be_searched_further(tmp_path: Path):
    run(tmp_path, limits={"trials": 12, "epochs": 3})
    write_study(*read(tmp_path), tmp_path / "study.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.load_study(study_name="curves", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1.0, log=True), n_trials=2)
    assert len(study.trials) == 14 and study.trials[-1].state == TrialState.COMPLETE
    storage.remove_session()
    storage.engine.dispose()


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path: Path):
    run(tmp_path, limits={"trials": 3, "epochs": 3})
    everything, path = read(tmp_path), tmp_path / "study.db"
    write_study(*everything, path)
    write_study(*everything, path)
    assert len(loaded(path)) == 3
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO studies (study_name) VALUES ('mine')")
        connection.commit()
    with pytest.raises(SpecError, match=r"other studies \(mine\)"):
        write_study(*everything, path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match="not an Optuna storage"):
        write_study(*everything, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".study")]


def test_a_file_is_written_with_a_fraction_of_the_work_that_optuna_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path, limits={"trials": 16, "epochs": 9})
    everything = read(tmp_path)
    write_study(*everything, tmp_path / "first.db")  # and what it needs is imported
    ours = calls_of(lambda: write_study(*everything, tmp_path / "ours.db"))
    monkeypatch.setattr(optuna_file, "KNOWN_VERSION", "v9")
    optunas = calls_of(lambda: write_study(*everything, tmp_path / "optunas.db"))
    assert len(loaded(tmp_path / "ours.db")) == len(loaded(tmp_path / "optunas.db")) == 16
    assert 2 * ours < optunas


def test_the_command_line_says_how_to_open_the_file(tmp_path: Path):
    run(tmp_path, limits={"trials": 3, "epochs": 3})
    done = CliRunner().invoke(app, ["export", "--to", "optuna", "--home", str(tmp_path)])
    path = tmp_path / "curves" / "study.db"
    assert done.exit_code == 0 and len(loaded(path)) == 3
    assert f"storage='sqlite:///{path}'" in done.stdout
    assert len(Results(tmp_path).to_optuna().trials) == 3
