"""Event files as TensorBoard itself reads them."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.ledger.store import Ledger
from hpsearch.results.export.tensorboard import write_tensorboard
from tests.support import curves

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2


def export(home: Path, folder: Path, **keys: Any) -> Any:
    """A sweep in a ledger, written for TensorBoard; its trials."""
    name = curves.run(home, **keys)
    with Ledger(home) as ledger:
        record = ledger.sweep(name)
        trials, reports = ledger.trials(record), ledger.reports(record)
    assert write_tensorboard(record, trials, reports, folder) == len(trials)
    return trials, reports


def run_of(folder: Path, number: int) -> EventAccumulator:
    found = EventAccumulator(str(folder / f"trial-{number:04d}"))
    found.Reload()
    return found


def hparams_of(run: EventAccumulator) -> tuple[Any, Any]:
    """Start and end of a session, as TensorBoard's page for hyperparameters parses them."""
    contents = run.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    end = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_end_info"])
    return start.session_start_info, end.session_end_info


def test_every_trial_is_a_run_with_its_curves(home, tmp_path):
    trials, reports = export(home, tmp_path / "board")
    assert len(list((tmp_path / "board").iterdir())) == 64
    for trial in trials[:5]:
        run = run_of(tmp_path / "board", trial.number)
        own = [report for report in reports if report.number == trial.number]
        if own:
            found = [(event.step, event.value) for event in run.Scalars("val_loss")]
            assert found == [(each.epoch, pytest.approx(each.metrics["val_loss"], rel=1e-6)) for each in own]
            assert run.Scalars("val_loss")[0].wall_time < run.Scalars("val_loss")[-1].wall_time or len(own) == 1


def test_a_run_has_its_parameters_its_best_value_and_how_it_ended(home, tmp_path):
    trials, _ = export(home, tmp_path / "board")
    best = min((trial for trial in trials if trial.best_value is not None), key=lambda trial: trial.best_value)
    run = run_of(tmp_path / "board", best.number)
    start, end = hparams_of(run)
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert values == {name: pytest.approx(v) if isinstance(v, float) else v for name, v in best.point.items()}
    assert [(event.step, event.value) for event in run.Scalars("best/val_loss")] == [
        (best.best_epoch, pytest.approx(best.best_value))
    ]
    assert end.status == 1
    failed = next(trial for trial in trials if trial.state == "failed")
    assert hparams_of(run_of(tmp_path / "board", failed.number))[1].status == 2


def test_a_second_export_replaces_the_first(home, tmp_path):
    trials, _ = export(home, tmp_path / "board", limits={"trials": 2, "epochs": 3})
    with Ledger(home) as ledger:
        record = ledger.sweep(None)
        write_tensorboard(record, ledger.trials(record), ledger.reports(record), tmp_path / "board")
    files = [path for path in (tmp_path / "board").rglob("*") if path.is_file()]
    assert len(files) == len(trials)
    assert len(run_of(tmp_path / "board", 1).Scalars("val_loss")) == trials[0].epochs_trained


def test_hostile_names_and_odd_values_arrive_as_labels(home, tmp_path):
    parameters = {
        "/etc/<b>": {"values": ["<script>alert(1)</script>", "=1+1"]},
        "a/b": {"values": [[1, 2], None]},
        "a_b": {"values": [True]},
        "漢字 'quote'": {"values": [2**62, 3]},
    }
    landscape = curves.Landscape(report=lambda config, epoch: {"m/x": 1e300, "m\u2028x": -0.5}, failure=lambda _: None)
    metric = {"name": "m/x", "goal": "minimize"}
    limits = {"trials": 2, "epochs": 2}
    keys = {"parameters": parameters, "metric": metric, "limits": limits, "early_terminate": {"type": "none"}}
    export(home, tmp_path / "board", landscape=landscape, **keys)
    assert {path.name for path in (tmp_path / "board").iterdir()} == {"trial-0001", "trial-0002"}
    run = run_of(tmp_path / "board", 1)
    assert set(run.Tags()["scalars"]) == {"m_x", "m_x_", "best/m_x"}
    assert math.isfinite(run.Scalars("m_x")[0].value)
    start, _ = hparams_of(run)
    assert set(start.hparams) == {"_etc_<b>", "a_b", "a_b_", "漢字 'quote'"}
    assert start.hparams["a_b"].string_value in ("[1,2]", "null")
    assert start.hparams["a_b_"].bool_value is True


def test_the_verb_writes_into_the_sweeps_folder_without_ray_torch_or_pandas(home):
    curves.run(home, limits={"trials": 3, "epochs": 3})
    code = "import sys, runpy; sys.argv = ['hpsearch', 'export', '--to', 'tensorboard', '--home', sys.argv[1]]\n"
    code += "try: runpy.run_module('hpsearch', run_name='__main__')\nexcept SystemExit: pass\n"
    code += "print(sorted({'ray', 'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    said, loaded = done.stdout.splitlines()
    assert said == f"{home}/curves/tensorboard: 3 runs. Look at them: tensorboard --logdir {home}/curves/tensorboard"
    assert loaded == "[]"


def test_the_verb_does_not_send_a_folder_to_the_console(home):
    curves.run(home, limits={"trials": 2, "epochs": 1})
    done = CliRunner().invoke(app, ["export", "--to", "tensorboard", "-o", "-", "--home", str(home)])
    assert done.exit_code == 2
    assert not Path("-").exists()
