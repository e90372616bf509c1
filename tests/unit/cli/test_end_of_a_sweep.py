"""What `sweep` and `resume` print when a sweep has ended, and what they offer to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.records import TrialValues, time_limit_reason
from hpsearch.ledger.store import Ledger
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import locate

TREE: dict[str, Any] = {
    "name": "net",
    "trainable": "train.py:train",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 2, "epochs": 1},
}
DONE: TrialValues = {
    "state": "done",
    "best_value": 1.0,
    "best_epoch": 1,
    "last_metrics": {"loss": 1.0},
    "epochs_trained": 1,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a spec and its trainable, in which no Ray starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPSEARCH_HOME", raising=False)
    (tmp_path / "train.py").write_text("def train(config):\n    yield {'loss': config['x']}\n")
    (tmp_path / "net.yaml").write_text(dump_yaml(TREE))
    monkeypatch.setattr("hpsearch.driver.session.connect", lambda *_, **__: pytest.fail("a Ray was started"))
    return tmp_path


def add_sweep(*trials: TrialValues, state: Any = "done", reason: str | None = None, **changes: Any) -> None:
    """A sweep of `net.yaml` with these trials that has ended."""
    with Ledger(Path("sweeps"), create=True) as ledger:
        spec = Sweep.from_dict({**TREE, **changes}).to_dict()
        record = ledger.add_sweep("net", spec, code=code_of(locate("train.py:train", spec_dir=None)))
        for number, values in enumerate(trials, 1):
            row = ledger.add_trial(record, number, point={"x": number / 10}, seed=0)
            if values.get("best_value") is not None:
                ledger.add_report(row, epoch=1, metrics={"loss": 1.0}, elapsed_s=1.0)
            ledger.update_trial(row, **values)
        ledger.end_sweep(record, state, reason)


def printed(*words: str) -> list[str]:
    return CliRunner().invoke(app, [*words]).output.splitlines()


@pytest.mark.usefixtures("project")
def test_a_time_limit_that_ended_a_sweep_has_the_command_that_resumes_it(monkeypatch):
    monkeypatch.setattr("hpsearch.driver.driver.Run.start", lambda run: 0)
    limits = {"trials": 9, "epochs": 1, "time": "1h30m"}
    add_sweep(DONE, {"state": "interrupted"}, reason=time_limit_reason(5400.0), limits=limits)
    lines = printed("sweep", "net.yaml")
    at = lines.index("Resume it:        python -m hpsearch resume net")
    assert lines[at + 1].strip() == "This begins a new span of 1 h 30 min, and so does the same command again."


@pytest.mark.usefixtures("project")
def test_a_sweep_that_is_over_has_no_such_command():
    add_sweep(DONE, DONE)
    lines = printed("sweep", "net.yaml")
    assert any(line.startswith("net: done: 2 done; best loss 1") for line in lines)
    assert not any("resume" in line for line in lines)
