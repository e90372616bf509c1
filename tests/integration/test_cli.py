"""The command line as a user meets it: processes, exit codes, what is printed."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hpsearch.driver.request import StoredSweep, make_run
from hpsearch.driver.session import Session
from hpsearch.errors import UnknownSweep
from hpsearch.ledger.store import Ledger
from hpsearch.slots.protocol import Assignment
from tests.support.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
SLOW = """
import itertools
import time
from pathlib import Path
import hpsearch

def train(config):
    weight = __import__("torch").nn.Linear(1, 1)
    start = hpsearch.current_trial().keep(weight=weight)
    for epoch in itertools.count(start + 1):
        is_stuck = Path("stuck").exists()
        Path("stuck", str(hpsearch.current_trial().number)).touch() if is_stuck else None
        time.sleep(1000 if is_stuck else 0.2)
        yield {"loss": config["x"], "began_at": start}
        if epoch >= 20 and Path("may-end").exists():
            return
"""
"""Trains on while the test looks at it, however slow the machine is."""
SPEC = """
trainable: slow.py:train
metric: {name: loss, goal: minimize}
parameters: {x: {min: 0.0, max: 1.0}}
limits: {trials: 4}
"""


def hpsearch(*arguments: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpsearch", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    """A sweep of the shipped MLP, run once for all tests that read it."""
    home = tmp_path_factory.mktemp("home") / "sweeps"
    yield home, hpsearch("sweep", "spaces/mlp.yaml", "-n", "6", "--home", str(home))


@pytest.mark.ray
@pytest.mark.slow
class TestFinished:
    def test_the_sweep_says_what_it_runs_and_ends_with_the_best(self, finished):
        home, done = finished
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[0] == "Using search_spaces/mlp.yaml"
        assert str(home / "mlp" / "driver.log") in lines[1], "before Ray comes up, which takes a while"
        assert "6 trials, " in lines[2]
        assert lines[3].startswith("Ray dashboard: http://127.0.0.1:")
        assert sum(line.startswith("[") for line in lines) == 6
        assert any(line.startswith("Train it again:") for line in lines)

    def test_the_command_that_best_prints_trains_the_same_numbers_by_hand(self, finished):
        home, done = finished
        best = hpsearch("best", "--home", str(home)).stdout.splitlines()
        command = best[1].removeprefix("# by hand: ")
        assert f"Train it by hand: {command}" in done.stdout.splitlines()
        words = shlex.split(command)
        assert words[:4] == ["python", "-m", "hpsearch", "trial"]
        rows = hpsearch(*words[3:]).stdout
        told = float(best[0].partition("val_loss ")[2].split()[0])
        found = [float(line.partition("val_loss ")[2].split(",")[0]) for line in rows.splitlines()[1:]]
        assert min(found) == pytest.approx(told, rel=1e-3)

    def test_reading_verbs_load_neither_ray_nor_torch_nor_pandas(self, finished):
        home, _ = finished
        code = f"""
import sys
from hpsearch.cli import app
for arguments in (["list"], ["show"], ["show", "--trial", "1"], ["best"]):
    app([*arguments, "--home", {str(home)!r}], standalone_mode=False)
print(sorted({{"ray", "torch", "pandas"}} & set(sys.modules)))
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"

    def test_json_holds_what_the_tables_hold(self, finished):
        home = str(finished[0])
        row = json.loads(hpsearch("list", "--json", "--home", home).stdout)[0]
        assert (row["name"], row["state"], row["trials"], row["failed"]) == ("mlp", "done", 6, 0)
        trials = json.loads(hpsearch("show", "mlp", "--json", "--home", home).stdout)
        assert len(trials) == 6 and {"trial", "state", "lr", "best_val_loss", "epochs_trained"} <= trials[0].keys()
        assert min(trial["best_val_loss"] for trial in trials) == row["best"]
        details = json.loads(hpsearch("show", "mlp", "--trial", "2", "--json", "--home", home).stdout)
        assert len(details["history"]) == details["epochs_trained"]

    def test_the_best_configuration_can_be_fed_back(self, finished, tmp_path):
        home = str(finished[0])
        (tmp_path / "best.yaml").write_text(hpsearch("best", "--home", home).stdout)
        plan = json.loads(hpsearch("validate", str(tmp_path / "best.yaml"), "--json").stdout)
        assert plan["trials"] == 1
        best = json.loads(hpsearch("best", "--json", "--home", home).stdout)
        (row,) = json.loads(hpsearch("list", "--json", "--home", home).stdout)
        again = json.loads(hpsearch("show", "mlp", "--json", "--home", home).stdout)
        winner = next(trial for trial in again if trial["best_val_loss"] == row["best"])
        assert best["parameters"]["lr"] == winner["lr"]

    @pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
    def test_export_has_a_row_for_each_trial(self, finished, tmp_path, kind):
        import pandas as pd

        path = tmp_path / f"table.{kind}"
        done = hpsearch("export", "mlp", "--to", kind, "-o", str(path), "--home", str(finished[0]))
        assert done.stdout == f"{path}: 6 trials\n"
        frame = getattr(pd, f"read_{kind}")(path)
        assert len(frame) == 6 and {"trial", "state", "lr", "best_val_loss", "checkpoint"} <= set(frame.columns)

    def test_the_same_command_again_trains_nothing_and_starts_no_ray(self, finished):
        home, first = finished
        again = hpsearch("sweep", "spaces/mlp.yaml", "-n", "6", "--home", str(home))
        assert again.returncode == 0 and "Ray dashboard" not in again.stdout
        assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]

    def test_another_sweep_of_the_same_trials_is_answered_from_the_ledger(self, finished):
        home = str(finished[0])
        done = hpsearch("sweep", "spaces/mlp.yaml", "-n", "6", "--name", "again", "--home", home)
        assert done.returncode == 0 and "Ray dashboard" not in done.stdout
        trials = json.loads(hpsearch("show", "again", "--json", "--home", home).stdout)
        assert [trial["state"] for trial in trials] == ["reused"] * 6
        assert trials[0]["reused_from"] == "mlp/1"

    def test_another_spec_under_the_same_name_is_refused_with_the_difference(self, finished):
        done = hpsearch("sweep", "mlp", "--home", str(finished[0]), "--set", "parameters.lr.max=0.02")
        assert done.returncode == 2
        assert "parameters.lr.max: 0.03 -> 0.02" in done.stderr and "--name" in done.stderr

    def test_unknown_names_are_answered_with_known_ones(self, finished):
        done = hpsearch("show", "mpl", "--home", str(finished[0]))
        assert done.returncode == 2 and "Did you mean 'mlp'?" in done.stderr
        assert hpsearch("show", "--trial", "99", "--home", str(finished[0])).returncode == 2


def epochs_on_record(home: Path) -> int:
    try:
        with Ledger(home) as ledger:
            return min(Counter(report.number for report in ledger.reports(ledger.sweep())).values(), default=0)
    except UnknownSweep:
        return 0


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A sweep of which a few epochs are on record, and every process that belongs to it."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "slow.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "hpsearch", "sweep", "slow.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    until(lambda: epochs_on_record(tmp_path / "sweeps") >= 5)
    return process, psutil.Process(process.pid).children(recursive=True)


def trials_of(tmp_path: Path) -> list[dict[str, object]]:
    trials: list[dict[str, object]] = json.loads(hpsearch("show", "--json", cwd=tmp_path).stdout)
    return trials


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sweep_in_good_order_and_it_can_go_on(tmp_path, number, code):
    process, children = started(tmp_path)
    second = hpsearch("sweep", "slow.yaml", cwd=tmp_path)
    assert second.returncode == 6 and f"in use by pid {process.pid}" in second.stderr
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, output
    assert "Stopping" in output and "python -m hpsearch resume slow" in output
    trials = trials_of(tmp_path)
    assert {trial["state"] for trial in trials} == {"interrupted"}
    assert all(trial["checkpoint"] and trial["epochs_trained"] for trial in trials)
    assert (tmp_path / "sweeps" / "slow" / "trials.csv").exists()
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not left
    assert_it_goes_on(tmp_path, ["resume"], trials)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_a_signal_ends_epochs_that_are_stuck_and_the_sweep_can_go_on(tmp_path, monkeypatch, presses):
    process, children = started(tmp_path)
    (tmp_path / "stuck").mkdir()
    until(lambda: len(list((tmp_path / "stuck").iterdir())) == len(trials_of(tmp_path)))
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    said = next(line for line in process.stdout if "Stopping" in line)
    for _ in range(presses - 1):
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "A second signal stops at once" in said + output
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not left
    trials = trials_of(tmp_path)
    assert {trial["state"] for trial in trials} == {"interrupted"}
    again = resumed_assignments(tmp_path / "sweeps", len(trials), monkeypatch)
    assert [(assignment.number, assignment.attempt) for assignment in again] == [
        (trial["trial"], 2) for trial in trials
    ]
    assert [assignment.config["x"] for assignment in again] == [trial["x"] for trial in trials]
    known = [assignment.known_epochs for assignment in again]
    assert known == [trial["epochs_trained"] for trial in trials] and min(known) >= 5


def resumed_assignments(home: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> list[Assignment]:
    """The first assignments that `resume` would hand to slots, which is where it goes on; no Ray is started."""
    handed: list[Assignment] = []

    def run(session: Session) -> None:
        engine = session._engine
        engine.concurrent = count
        handed.extend(
            assignment for _ in range(count) if isinstance(assignment := engine.next_assignment(), Assignment)
        )
        engine.finish()

    monkeypatch.setattr(Session, "run", run)
    make_run(StoredSweep(), overrides={}, home=home, show="none").start()
    return handed


@pytest.mark.ray
@pytest.mark.slow
def test_after_a_kill_of_the_driver_the_same_command_goes_on(tmp_path):
    process, children = started(tmp_path)
    workers = [child for child in children if child.name().startswith("ray::") and "Agent" not in child.name()]
    assert len(workers) >= 4, "supervisors and ranks; Ray's dashboard agents linger for a minute and hold nothing"
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert not left
    trials = trials_of(tmp_path)
    assert {trial["state"] for trial in trials} == {"running"}
    assert_it_goes_on(tmp_path, ["sweep", "slow.yaml"], trials)


def assert_it_goes_on(tmp_path: Path, command: list[str], before: list[dict[str, object]]) -> None:
    import pandas as pd

    (tmp_path / "may-end").touch()
    done = hpsearch(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"(resuming with {len(before)} known)" in done.stdout
    trials = trials_of(tmp_path)
    assert [trial["state"] for trial in trials] == ["done"] * 4
    assert [trial["attempts"] for trial in trials[: len(before)]] == [2] * len(before)
    assert [trial["x"] for trial in trials[: len(before)]] == [trial["x"] for trial in before]
    history = pd.read_parquet(tmp_path / "sweeps" / "slow" / "history.parquet")
    for number, epochs in history.groupby("trial")["epoch"]:
        assert epochs.tolist() == list(range(1, max(20, len(epochs)) + 1)), f"trial {number}: no gap, nothing twice"
    firsts = history[history["trial"] <= len(before)].groupby("trial")["began_at"].last()
    assert all(firsts > 0), "they went on from their checkpoints"


def error_of(tmp_path: Path, text: str, *arguments: str) -> str:
    (tmp_path / "bad.yaml").write_text(text)
    done = hpsearch("sweep", "bad.yaml", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "sweeps").exists(), "nothing was started or written"
    return done.stderr


def test_every_mistake_is_told_at_once_with_its_line(tmp_path):
    text = "metric: {name: loss, goal: minimise}\nmethod: optunna\ntrainable: nowhere.py:train\n"
    text += "parameters:\n  lr: {min: small, max: 1}\n"
    errors = error_of(tmp_path, text)
    assert "bad.yaml:1: metric.goal: unknown goal 'minimise'. Did you mean 'minimize'?" in errors
    assert "bad.yaml:2: method: unknown method 'optunna'. Did you mean 'optuna'?" in errors
    assert "bad.yaml:3: trainable:" in errors and "nowhere.py" in errors
    assert "bad.yaml:5: parameters.lr.min: expected a number, got the text 'small'" in errors


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    done = hpsearch("sweep", "resnt", cwd=tmp_path)
    assert done.returncode == 2 and "resnt" in done.stderr and "search_spaces" in done.stderr


def test_a_function_that_is_not_there_is_found_out_before_anything_starts(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    errors = error_of(tmp_path, SPEC.replace("slow.py:train", "slow.py:trian"))
    assert "Did you mean 'train'?" in errors


def test_reading_verbs_without_a_ledger_say_so(tmp_path):
    for verb in ("list", "show", "best", "export"):
        done = hpsearch(verb, cwd=tmp_path)
        assert done.returncode == 2 and "no ledger here" in done.stderr
    assert list(tmp_path.iterdir()) == []
