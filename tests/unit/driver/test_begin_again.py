"""The same command after a mistake was corrected: a sweep that has only failed trials starts again, no other one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from hpsearch.driver.driver import Run
from hpsearch.driver.request import StoredSweep, make_run
from hpsearch.engine.engine import Engine
from hpsearch.errors import SweepExists, SweepInUse
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import SweepState, TrialState
from hpsearch.ledger.store import Ledger
from hpsearch.results.files import are_up_to_date
from hpsearch.slots.protocol import Assignment, Failed, Report
from hpsearch.spec.sweep import Sweep
from tests.support.kills import KilledError

TREE: dict[str, Any] = {
    "name": "net",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3, 4]}},
    "method": "grid",
    "limits": {"trials": 4, "epochs": 2, "retries": 0},
}
BROKEN, CORRECT = "def train(config):\n    1 / 0\n", "def train(config):\n    yield {'loss': config['x']}\n"


class Lab:
    """A project whose trials fail as long as its code is the broken one, and a sweep of it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.home, self.file = home, folder / "train.py"
        self.file.write_text(BROKEN)
        self.said: list[str] = []
        """What was printed about earlier sweeps of the name."""

    def request(self, **changes: Any) -> Run:
        flags = {key: changes.pop(key) for key in ("accept_changes",) if key in changes}
        tree = {**TREE, "trainable": f"{self.file}:train", **changes}
        return Run(sweep=Sweep.from_dict(tree), home=self.home, show="lines", **flags)

    def sweeps(self) -> dict[str, tuple[SweepState, list[TrialState]]]:
        with Ledger(self.home) as ledger:
            return {each.name: (each.state, [trial.state for trial in ledger.trials(each)]) for each in ledger.sweeps()}


@pytest.fixture
def lab(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A project in which no Ray starts: sessions end each trial at once, two epochs or a failure after the first."""
    lab = Lab(tmp_path, home)

    class Session:
        def __init__(self, engine: Engine, **given: Any) -> None:
            self._engine = engine

        def run(self) -> None:
            metric = self._engine.sweep.metric.name
            fails = metric != "loss" or lab.file.read_text() == BROKEN
            while isinstance(assignment := self._engine.next_assignment(), Assignment):
                for epoch in range(assignment.known_epochs + 1, 3):
                    report = Report(epoch=epoch, metrics={metric: 1.0}, elapsed_s=1.0)
                    self._engine.on_event(assignment.number, report)
                    if fails:
                        failure = Failed(cause="user_error", evidence="it broke", place="E at f:1")
                        self._engine.on_event(assignment.number, failure)
                        break
            self._engine.finish()

    monkeypatch.setattr("hpsearch.driver.driver.Session", Session)
    monkeypatch.setattr("hpsearch.driver.driver.Messages.say", lambda messages, text: lab.said.append(text))
    return lab


FAILED: tuple[SweepState, list[TrialState]] = ("gave_up", ["failed", "failed", "failed"])
DONE: tuple[SweepState, list[TrialState]] = ("done", ["done", "done", "done", "done"])


def test_a_sweep_that_only_failed_starts_again_with_the_corrected_code(lab, home):
    assert lab.request().start() == 1
    (home / "net" / "mine.txt").write_text("kept")
    lab.file.write_text(CORRECT)
    assert lab.request().start() == 0
    assert lab.sweeps() == {"net~1": FAILED, "net": DONE}
    assert lab.said == [
        "net: all 3 trials had failed; they are kept as net~1. The sweep starts again with the changed code"
        f" ({lab.file}).",
    ]
    assert (home / "net~1" / "mine.txt").exists() and not (home / "net" / "mine.txt").exists()
    assert hpsearch.Results(home).name == "net", "the newest"
    assert hpsearch.Results(home, "net~1").failures["cause"].tolist() == ["user_error"] * 3
    assert are_up_to_date(home / "net~1")
    assert "net~1" in (home / "net~1" / "report.html").read_text()


def test_a_sweep_that_only_failed_starts_again_with_the_corrected_spec(lab):
    lab.file.write_text(CORRECT)
    lab.request(metric={"name": "los", "goal": "minimize"}).start()
    lab.request(notes={"a": 1}).start()
    assert lab.sweeps() == {"net~1": FAILED, "net": DONE}
    assert lab.said[0] == (
        "net: all 3 trials had failed; they are kept as net~1. The sweep starts again with the changed spec"
        " (metric.name)."
    )


def test_each_beginning_has_a_number_of_its_own(lab):
    for seed in range(3):
        lab.request(seed=seed).start()
    assert lab.sweeps() == {"net~1": FAILED, "net~2": FAILED, "net": FAILED}
    lab.file.write_text(CORRECT)
    lab.request(seed=3).start()
    changes = f"the changed spec (seed) and the changed code ({lab.file})"
    assert lab.said[2].endswith(f"they are kept as net~3. The sweep starts again with {changes}.")


def test_without_a_change_a_sweep_that_only_failed_resumes_as_before(lab):
    lab.request().start()
    lab.request().start()
    lab.request(limits={**TREE["limits"], "trials": 5}, notes={"a": 1}).start()
    assert lab.sweeps() == {"net": ("gave_up", ["failed"] * 4)}


def test_accepted_changes_resume_a_sweep_that_only_failed(lab):
    lab.request().start()
    lab.file.write_text(CORRECT)
    assert lab.request(accept_changes=True).start() == 0
    assert lab.sweeps() == {"net": ("done", ["failed", "failed", "failed", "done"])}


def test_a_sweep_that_is_resumed_by_its_name_does_not_start_again(lab, home):
    lab.request().start()
    lab.file.write_text(CORRECT)
    with pytest.raises(SweepExists, match=r"resume\(accept_changes=True, retry_failed=True\)$"):
        make_run(StoredSweep("net"), overrides={}, home=home).start()
    assert lab.sweeps() == {"net": FAILED}


@pytest.mark.parametrize("state", ["queued", "running", "paused", "interrupted", "done", "stopped", "reused"])
@pytest.mark.parametrize("changed", ["spec", "code"])
def test_a_sweep_with_any_other_trial_is_refused(lab, home, state, changed):
    lab.request().start()
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("net")
        ledger.update_trial(ledger.trials(record)[1].id, state=state)
    lab.file.write_text(CORRECT if changed == "code" else BROKEN)
    with pytest.raises(SweepExists, match="has changed since" if changed == "code" else "with another spec"):
        lab.request(seed=int(changed == "spec")).start()
    assert list(lab.sweeps()) == ["net"]


def test_trials_that_were_cut_off_before_an_epoch_when_the_sweep_gave_up_are_nothing_to_lose(lab, home):
    lab.request().start()
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("net")
        row = ledger.add_trial(record, 4, point={"x": 4}, seed=0)
        ledger.update_trial(row, state="interrupted", epochs_trained=0)
    lab.file.write_text(CORRECT)
    lab.request().start()
    assert lab.sweeps() == {"net~1": ("gave_up", [*FAILED[1], "interrupted"]), "net": DONE}
    assert lab.said[0].startswith("net: 3 trials had failed and 1 had no epoch; they are kept as net~1.")


def test_trials_that_the_user_interrupted_are_not_given_up(lab, home):
    lab.request().start()
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("net")
        ledger.update_trial(ledger.trials(record)[2].id, state="interrupted", epochs_trained=0)
        ledger.end_sweep(record, "interrupted", "SIGINT was received")
    lab.file.write_text(CORRECT)
    with pytest.raises(SweepExists):
        lab.request().start()


def test_a_sweep_that_has_no_trial_leaves_its_name_to_the_new_one(lab, home):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("net", lab.request(seed=7).sweep.to_dict())
    lab.file.write_text(CORRECT)
    lab.request().start()
    assert lab.sweeps() == {"net": DONE}
    assert lab.said == ["net: it had no trial. The sweep starts again with the changed spec (seed)."]


def test_a_sweep_that_another_process_runs_is_left_alone(lab, home):
    lab.request().start()
    lab.file.write_text(CORRECT)
    with writer_lock(home / "net", "net"), pytest.raises(SweepInUse):
        lab.request().start()
    assert lab.sweeps() == {"net": FAILED}


@pytest.mark.parametrize("step", ["hpsearch.ledger.renaming._move_folder", "hpsearch.ledger.store.Ledger.add_sweep"])
def test_after_a_process_was_killed_on_the_way_the_same_command_begins_again(lab, home, monkeypatch, step):
    def killed(*words: object, **more: object) -> None:
        raise KilledError

    lab.request().start()
    lab.file.write_text(CORRECT)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(step, killed)
        lab.request().start()
    assert "net" not in lab.sweeps(), "its row has the new name"
    lab.request().start()
    assert lab.sweeps() == {"net~1": FAILED, "net": DONE}
    assert (home / "net~1" / "journal.jsonl").exists()


def test_nothing_of_failed_trials_is_reused(lab, home):
    lab.request().start()
    with Ledger(home) as ledger:
        old = ledger.trials(ledger.sweep("net"))
    lab.request(parameters={"x": {"values": [trial.point["x"] for trial in old]}}).start()
    with Ledger(home) as ledger:
        new = ledger.trials(ledger.sweep("net"))
    assert {trial.fingerprint for trial in new} == {trial.fingerprint for trial in old} != {None}
    assert [trial.reused_from for trial in new] == [None, None, None]
    assert {trial.attempts for trial in new} == {1}


def train(config: dict[str, Any]) -> None:
    """A trainable of this file, whose code does not change here."""


@pytest.fixture
def run_unnamed(lab: Lab, home: Path) -> Callable[..., str]:
    """Runs a sweep without a name, which gets that of its function; returns the name."""
    tree = {key: value for key, value in TREE.items() if key != "name"}
    return lambda **changes: hpsearch.run({**tree, **changes}, train, home=home).name


def test_a_sweep_without_a_name_starts_again_instead_of_taking_the_next_name(lab, run_unnamed):
    assert run_unnamed() == "train"
    lab.file.write_text(CORRECT)
    assert run_unnamed(seed=1) == "train"
    assert run_unnamed(seed=2) == "train-2", "seed 1 has results"
    assert lab.sweeps() == {"train~1": FAILED, "train": DONE, "train-2": DONE}
    assert run_unnamed(seed=1) == "train"


def test_what_became_of_the_old_sweep_is_printed_also_where_no_trial_is_left_to_train(lab):
    lab.file.write_text(CORRECT)
    lab.request(name="before").start()
    lab.file.write_text(BROKEN)
    lab.request().start()
    lab.file.write_text(CORRECT)
    lab.request().start()
    assert lab.sweeps()["net"] == ("done", ["reused"] * 4)
    assert len(lab.said) == 1 and lab.said[0].startswith("net: all 3 trials had failed; they are kept as net~1.")


def test_a_name_that_a_link_to_nothing_has_is_not_taken_for_the_old_sweep(lab, home):
    lab.request().start()
    (home / "net~1").symlink_to(home / "nowhere")
    lab.file.write_text(CORRECT)
    lab.request().start()
    assert list(lab.sweeps()) == ["net~2", "net"]
