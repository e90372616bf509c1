"""What `sweep` and `resume` offer to do next, when a sweep has ended and when they refuse one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.errors import SweepExists
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.records import TrialValues, time_limit_reason
from hpsearch.ledger.store import Ledger
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import locate
from tests.support.small_project import TREE, enter_project

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
    enter_project(tmp_path, monkeypatch)
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
def test_a_time_limit_that_left_nothing_to_train_has_no_such_command(monkeypatch):
    monkeypatch.setattr("hpsearch.driver.driver.Run.start", lambda run: 0)
    limits = {"trials": 2, "epochs": 1, "time": "1h30m"}
    add_sweep(DONE, DONE, reason=time_limit_reason(5400.0), limits=limits)
    assert not any("resume" in line or "new span" in line for line in printed("sweep", "net.yaml"))


@pytest.mark.usefixtures("project")
def test_a_sweep_that_is_over_has_no_such_command():
    add_sweep(DONE, DONE)
    lines = printed("sweep", "net.yaml")
    assert any(line.startswith("net: done: 2 done; best loss 1") for line in lines)
    assert not any("resume" in line for line in lines)


FAILED: TrialValues = {"state": "failed", "cause": "user_error", "evidence": "KeyError: 'lr' (train.py:3)"}


def last_lines(*words: str) -> list[str]:
    """What a command prints after the report."""
    lines = printed(*words)
    return lines[next(at for at, line in enumerate(lines) if line.startswith("Report:")) + 1 :]


@pytest.mark.usefixtures("project")
def test_a_sweep_that_only_failed_says_what_the_same_command_does_next():
    add_sweep(FAILED, FAILED, state="gave_up", reason="3 trials failed in the same way")
    assert last_lines("sweep", "net.yaml") == [
        "Correct it and run the same `sweep` command again: no trial succeeded, so the sweep starts again.",
        "Without a change: python -m hpsearch resume net --retry-failed",
    ]


def refused(*words: str) -> str:
    """The message of a command that ends with exit code 2."""
    result = CliRunner().invoke(app, [*words])
    assert isinstance(result.exception, SweepExists), result.output
    return str(result.exception)


def test_another_spec_is_refused_with_the_command_that_runs_it_under_the_next_free_name(project):
    add_sweep(DONE, DONE)
    with Ledger(Path("sweeps"), create=True) as ledger:
        ledger.add_sweep("net-2", ledger.sweep("net").spec)
    (project / "net.yaml").write_text(dump_yaml({**TREE, "seed": 1}))
    message = refused("sweep", "net.yaml", "-n", "2", "--set", "data.root=a b", "--no-again")
    assert message == (
        "sweep 'net' is in the ledger with another spec:\n  seed: 0 -> 1\n  data.root: None -> 'a b'\n"
        "To resume it, undo the change. To run the changed spec as a sweep of its own:"
        " python -m hpsearch sweep net.yaml -n 2 --set 'data.root=a b' --no-again --name net-3"
    )


def test_changed_code_is_refused_with_the_command_that_tries_the_failed_trials_again(project):
    add_sweep(DONE, {"state": "failed", "cause": "user_error"})
    (project / "train.py").write_text("def train(config):\n    yield {'loss': 2 * config['x']}\n")
    message = refused("sweep", "net.yaml", "-n", "3", "--home", "sweeps/../sweeps")
    assert message == (
        "the code of sweep 'net' has changed since it began: train.py changed. 1 trial failed. To try again"
        " with the new code and keep the others:"
        " python -m hpsearch resume net -n 3 --accept-changes --retry-failed --home sweeps/../sweeps"
    )
    assert refused("resume", "net", "-n", "3").endswith(
        ": python -m hpsearch resume net -n 3 --accept-changes --retry-failed"
    )


def test_changed_code_of_a_sweep_without_failures_is_offered_a_name_of_its_own(project):
    add_sweep(DONE, DONE)
    (project / "train.py").write_text("def train(config):\n    yield {'loss': 2 * config['x']}\n")
    assert refused("sweep", "net.yaml") == (
        "the code of sweep 'net' has changed since it began: train.py changed. To resume with the new code in the same"
        " table, add --accept-changes. To run the new code as a sweep of its own:"
        " python -m hpsearch sweep net.yaml --name net-2"
    )
    assert refused("resume").endswith(
        "To resume with the new code, in the same table: python -m hpsearch resume net --accept-changes"
    )
