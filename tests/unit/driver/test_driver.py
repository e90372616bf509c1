"""What the driver decides before any process starts: new or known sweep, same spec, same code, who holds it."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from hpsearch.driver.compatibility import Changes, find_changes
from hpsearch.driver.driver import Run
from hpsearch.driver.next_steps import PythonCalls
from hpsearch.driver.request import StoredSweep, make_run
from hpsearch.engine.replay import without_garbage_collection
from hpsearch.errors import Interrupted, LedgerError, SpecError, SweepExists, SweepInUse
from hpsearch.ledger.fingerprint import code_hash, code_of
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.provenance import read_provenance
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.code_files import read_code
from hpsearch.trainable.locate import locate
from tests.ledgers import make

TREE: dict[str, Any] = {
    "name": "known",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2]}},
    "limits": {"trials": 2, "epochs": 1},
}


@pytest.fixture
def known(home: Path, tmp_path: Path) -> Callable[..., Run]:
    """A sweep that is finished in the ledger; returns what makes it again, with changes."""
    file = tmp_path / "train.py"
    file.write_text("def train(config):\n    yield {'loss': config['x']}\n")
    tree = {**TREE, "trainable": f"{file}:train"}
    sweep = Sweep.from_dict(tree)
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("known", sweep.to_dict(), code=code_of(locate(tree["trainable"], spec_dir=None)))
        for number in (1, 2):
            row = ledger.add_trial(record, number, point={"x": number}, seed=0)
            ledger.add_report(row, epoch=1, metrics={"loss": float(number)}, elapsed_s=1.0)
            metrics = {"loss": float(number)}
            ledger.update_trial(
                row, state="done", best_value=float(number), best_epoch=1, last_metrics=metrics, epochs_trained=1
            )
        ledger.end_sweep(record, "done")

    def make(**changes: Any) -> Run:
        flags = {name: changes.pop(name) for name in ("accept_changes", "function") if name in changes}
        return Run(sweep=Sweep.from_dict({**tree, **changes}), home=home, show="none", **flags)

    return make


def finished(run: Run) -> tuple[hpsearch.Results, int]:
    """Run a sweep to its end; its results and exit code."""
    exit_code = run.start()
    return hpsearch.Results(run.home, run.sweep.name), exit_code


def resume(name: str, home: Path) -> int:
    """Resume a sweep of the ledger; its exit code."""
    return make_run(StoredSweep(name), overrides={}, home=home, show="none").start()


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test here that starts a Ray has missed its point."""
    monkeypatch.setattr("hpsearch.driver.session.connect", lambda *_, **__: pytest.fail("a Ray was started"))


def test_a_finished_sweep_comes_back_at_once(known):
    results, exit_code = finished(known())
    assert exit_code == 0
    assert results.trials["best_loss"].tolist() == [1.0, 2.0]
    assert results.sweep.state == "done"


def test_limits_may_change(known):
    assert known(limits={"trials": 1, "epochs": 1, "retries": 5}).start() == 0


def began_before_isolation(home: Path) -> dict[str, Any]:
    """Make the known sweep one of an older hpsearch, whose spec says neither `isolation` nor `limits.grace`."""
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("known")
        spec = {key: value for key, value in record.spec.items() if key != "isolation"}
        spec["limits"] = {key: value for key, value in spec["limits"].items() if key != "grace"}
        ledger.reopen_sweep(record, spec, code=record.code)
        ledger.end_sweep(record, "done")
    return spec


@pytest.mark.usefixtures("ctrl_c")
def test_a_sweep_of_an_older_hpsearch_goes_on_in_slots(known, home):
    spec = began_before_isolation(home)
    assert known().start() == 0, "with nothing left to do"
    with pytest.raises(Interrupted):
        known(limits={"trials": 2, "epochs": 2}).start()
    with Ledger(home) as ledger:
        assert ledger.sweep("known").spec == {
            **spec,
            "isolation": "slot",
            "limits": {**spec["limits"], "epochs": 2, "grace": 60.0},
        }
    assert "isolation: slot" in (home / "known" / "sweep.yaml").read_text()


@pytest.mark.usefixtures("known", "ctrl_c")
def test_resume_goes_on_in_slots_where_the_ledger_knows_no_isolation(home):
    began_before_isolation(home)
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("known")
        ledger.update_trial(ledger.trials(record)[1].id, state="interrupted")
        ledger.end_sweep(record, "interrupted")
    with pytest.raises(Interrupted):
        resume("known", home)
    with Ledger(home) as ledger:
        assert ledger.sweep("known").spec["isolation"] == "slot"


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_isolation_that_the_spec_sets_is_a_difference_as_any_other(known, home, isolation):
    began_before_isolation(home)
    if isolation == "slot":
        assert known(isolation="slot").start() == 0
        return
    with pytest.raises(SweepExists, match="  isolation: 'slot' -> 'process'"):
        known(isolation="process").start()


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("tree", [make.SPEC, make.KILLED], ids=["finished", "killed"])
def test_sweeps_of_every_older_ledger_began_in_slots(home, version, tree):
    home.mkdir()
    shutil.copyfile(Path(make.__file__).with_name(f"version-{version}.db"), home / "ledger.db")
    with Ledger(home) as ledger:
        record = ledger.sweep(tree["name"])
    asked = Sweep.from_dict(tree)
    assert not find_changes(record, asked, None, accept_changes=False)
    assert asked.continuing(Sweep.from_stored(record.spec)).isolation == "slot"
    in_processes = Sweep.from_dict({**tree, "isolation": "process"})
    assert find_changes(record, in_processes, None, accept_changes=False) == Changes(
        spec=(("isolation", "slot", "process"),), code=()
    )


def test_a_sweep_of_an_older_version_resumes_with_the_values_beyond_its_bounds(known, home):
    old = {"x": {"min": 1.4, "max": 2.0, "q": 1}}
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("known")
        ledger.reopen_sweep(record, {**record.spec, "parameters": old}, code=record.code)
        ledger.end_sweep(record, "done")
    assert known(parameters=old).sweep.space.size == 1, "a new sweep of the same spec"
    assert known(parameters=old).start() == 0
    assert make_run(StoredSweep("known"), overrides={}, home=home).sweep.space.size == 2
    with pytest.raises(SweepExists, match=r"  parameters\.x\.clip: False -> True"):
        known(parameters={"x": {**old["x"], "clip": True}}).start()


def test_a_sweep_keeps_the_isolation_that_was_set_once(known, home):
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("known")
        ledger.reopen_sweep(record, {**record.spec, "isolation": "slot"}, code=record.code)
        ledger.end_sweep(record, "done")
    assert known().start() == 0
    with pytest.raises(SweepExists, match="  isolation: 'slot' -> 'process'"):
        known(isolation="process").start()


@pytest.mark.parametrize("given", ["a path", "a dict", "a sweep"])
@pytest.mark.parametrize("says", [False, True])
def test_run_tells_a_spec_that_sets_isolation_from_one_that_leaves_it_open(known, home, tmp_path, given, says):
    tree = {**began_before_isolation(home), **({"isolation": "process"} if says else {})}
    path = tmp_path / "known.yaml"
    path.write_text(dump_yaml(tree))
    space = {"a path": path, "a dict": tree, "a sweep": Sweep.from_dict(tree)}[given]
    if not says:
        assert hpsearch.run(space, home=home).sweep.state == "done"
        assert hpsearch.run(space, home=home, isolation="slot").sweep.state == "done"
    with pytest.raises(SweepExists, match="isolation"):
        keys: dict[str, Any] = {} if says else {"isolation": "process"}
        hpsearch.run(space, home=home, **keys)


def test_a_sweep_may_resume_on_another_ray(known, home):
    sweep = known(limits={"trials": 3, "epochs": 1}).sweep
    with Ledger(home) as ledger:
        record = ledger.sweep("known")
    for begun in ({"address": "old:6379"}, {"address": None}):
        spec = {**record.spec, "ray": begun}
        for now in ({"address": "new:6379"}, {"address": None}):
            moved = Sweep.from_dict({**sweep.to_dict(), "ray": now})
            assert not find_changes(dataclasses.replace(record, spec=spec), moved, None, accept_changes=False)


def test_another_spec_is_refused_with_each_difference(known):
    with pytest.raises(SweepExists) as caught:
        known(seed=3, parameters={"x": {"values": [1, 3]}}).start()
    assert "seed: 0 -> 3" in str(caught.value)
    assert "parameters.x.values: [1, 2] -> [1, 3]" in str(caught.value)
    assert str(caught.value).endswith("the changed spec as a sweep of its own: the same call with name='known-2'")
    assert caught.value.exit_code == 2


def test_changed_code_is_refused_by_name_unless_it_is_accepted(known, tmp_path):
    (tmp_path / "train.py").write_text("def train(config):\n    yield {'loss': 2 * config['x']}\n")
    with pytest.raises(SweepExists, match=r"train\.py changed.*add accept_changes=True.*with name='known-2'$"):
        known().start()
    assert known(accept_changes=True).start() == 0


@pytest.mark.usefixtures("ctrl_c")
def test_python_is_offered_the_call_that_tries_failed_trials_with_the_corrected_code(known, home, tmp_path):
    with Ledger(home, create=True) as ledger:
        ledger.update_trial(ledger.trials(ledger.sweep("known"))[1].id, state="failed", cause="user_error")
    (tmp_path / "train.py").write_text("def train(config):\n    yield {'loss': 2 * config['x']}\n")
    with pytest.raises(SweepExists) as caught:
        known().start()
    call = str(caught.value).rpartition(": ")[2]
    assert call == f"hpsearch.load('known', home={str(home)!r}).resume(accept_changes=True, retry_failed=True)"
    with pytest.raises(Interrupted):
        eval(call)
    with Ledger(home) as ledger:
        assert "failed" not in {trial.state for trial in ledger.trials(ledger.sweep("known"))}


def test_a_call_with_a_function_is_offered_with_it(home):
    def train(config: dict[str, Any]) -> None: ...

    assert PythonCalls(home, train).resume("a", retry_failed=False).endswith("(function=train, accept_changes=True)")
    assert (
        PythonCalls(home, lambda config: None)
        .resume("a", retry_failed=False)
        .endswith("(function=..., accept_changes=True)")
    )


def test_a_sweep_has_one_writer_whom_the_error_of_the_second_names(known, home):
    (home / "known").mkdir(exist_ok=True)
    with writer_lock(home / "known", "known"), pytest.raises(SweepInUse) as caught:
        known().start()
    assert f"pid {os.getpid()}" in str(caught.value) and caught.value.exit_code == 6
    assert known().start() == 0, "the lock is gone with its holder"


def test_files_that_the_ledger_does_not_know_are_not_taken_for_checkpoints(known, home):
    (home / "other" / "trials" / "0001").mkdir(parents=True)
    with pytest.raises(SweepExists, match="does not know"):
        known(name="other").start()


def test_a_second_sweep_that_the_ledger_can_answer_needs_no_ray(known, home):
    code = code_of(locate(known().sweep.trainable, spec_dir=None))
    with Ledger(home) as ledger:
        record = ledger.sweep("known")
        memory = TrialCache(ledger, known().sweep, record, code=code)
        for trial in ledger.trials(record):
            ledger.update_trial(trial.id, fingerprint=memory.fingerprint(dict(trial.point)))
    results, exit_code = finished(known(name="second"))
    assert exit_code == 0
    assert results.trials["state"].tolist() == ["reused", "reused"]
    assert sorted(results.trials["reused_from"]) == ["known/1", "known/2"]
    assert results.best is not None and results.best.value == 1.0
    assert results.sweep.state == "done"


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray never comes up: the user has pressed Ctrl-C."""

    def connect(*words: object, **more: object) -> None:
        raise Interrupted(130)

    monkeypatch.setattr("hpsearch.driver.session.connect", connect)


@pytest.mark.usefixtures("ctrl_c")
def test_a_known_sweep_that_is_interrupted_before_a_trial_began_can_go_on(known, home):
    with pytest.raises(Interrupted):
        known(parameters={"x": {"values": [1, 2]}}, limits={"trials": 2, "epochs": 2}).start()
    with Ledger(home) as ledger:
        record = ledger.sweep("known")
        assert (record.state, record.reason) == ("interrupted", "a signal came before a trial began")
        assert {trial.state for trial in ledger.trials(record)} <= {"done", "interrupted"}


@pytest.mark.usefixtures("ctrl_c")
def test_a_new_sweep_that_has_trained_nothing_itself_is_forgotten_whatever_it_took_from_others(known, home):
    with Ledger(home) as ledger:
        record = ledger.sweep("known")
        memory = TrialCache(ledger, known().sweep, record, code=code_of(locate(known().sweep.trainable, spec_dir=None)))
        trial = ledger.trials(record)[0]
        ledger.update_trial(trial.id, fingerprint=memory.fingerprint(dict(trial.point)))
    with pytest.raises(Interrupted):
        known(name="second").start()
    with Ledger(home) as ledger:
        assert [each.name for each in ledger.sweeps()] == ["known"]


def test_resume_without_a_function_says_what_to_do(known, home):
    def train(config: dict[str, Any]) -> None: ...

    tree = {**TREE, "name": "from-python"}
    with Ledger(home) as ledger:
        ledger.add_sweep("from-python", Sweep.from_dict(tree).to_dict())
    with pytest.raises(SpecError, match=r"from-python\.trainable: its trainable is a function"):
        resume("from-python", home)
    assert resume("known", home) == 0


@pytest.mark.parametrize(
    ("name", "trainable", "words"),
    [
        ("a", 3, "expected a function"),
        ("a", None, "'trainable' is missing"),
        (None, lambda config: None, "needs a name"),
    ],
)
def test_run_says_what_is_wrong_with_its_arguments(home, name, trainable, words):
    with pytest.raises(SpecError, match=words):
        hpsearch.run({**TREE, "name": name}, trainable, home=home)
    assert not (home / "ledger.db").exists()


def test_limits_that_are_no_map_are_an_error_and_not_left_out(home):
    with pytest.raises(SpecError, match="limits"):
        hpsearch.run({**TREE, "limits": 3}, lambda config: None, home=home)


def test_a_link_in_place_of_a_file_is_not_written_through(known, home, tmp_path, monkeypatch):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    (home / "other").mkdir()
    (home / "other" / "sweep.yaml").symlink_to(victim)
    monkeypatch.setattr("hpsearch.driver.driver.Session.run", lambda self: None)
    known(name="other", seed=1).start()
    assert victim.read_text() == "precious"
    assert not (home / "other" / "sweep.yaml").is_symlink()


def test_the_name_of_the_ledger_is_not_a_sweeps_name(known):
    with pytest.raises(SpecError, match="own file"):
        known(name="ledger.db").start()


def test_tables_that_cannot_be_written_cost_nothing_else(known, monkeypatch):
    monkeypatch.setattr("hpsearch.results.tables.write_tables", lambda *args, **kwargs: 1 / 0)
    with pytest.warns(UserWarning, match="'known': the tables were not written: ZeroDivisionError"):
        results, exit_code = finished(known())
    assert exit_code == 0 and len(results.trials) == 2
    assert results.sweep.reason == "the tables were not written: ZeroDivisionError: division by zero"


def test_a_report_that_cannot_be_written_costs_nothing_else(known, monkeypatch):
    monkeypatch.setattr("hpsearch.results.report.write.report_html", lambda *args, **kwargs: 1 / 0)
    with pytest.warns(UserWarning, match="'known': the report was not written: ZeroDivisionError"):
        results, exit_code = finished(known())
    assert exit_code == 0
    assert (results.folder / "trials.csv").exists()
    assert results.sweep.reason == "the report was not written: ZeroDivisionError: division by zero"


def test_a_sweep_leaves_its_report_and_notes_what_it_ran_with(known):
    results, _ = finished(known(limits={"trials": 5, "epochs": 1}))
    assert (results.folder / "report.html").stat().st_size > 4_000_000
    (run,) = read_provenance(results.folder)
    assert f"hpsearch {hpsearch.__version__}" in run["packages"]


def test_more_trials_of_an_exhausted_space_are_answered_in_words(known):
    results, exit_code = finished(known(limits={"trials": 5, "epochs": 1}))
    assert exit_code == 0 and len(results.trials) == 2
    assert results.sweep.reason == "every point of the space was tried: 2"
    assert "every point of the space was tried: 2" in repr(results)


def test_a_sweep_that_gave_up_after_its_last_trial_says_so_again(known, home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.end_sweep(ledger.sweep("known"), "gave_up", "3 trials failed in the same way")
    results, exit_code = finished(known())
    assert exit_code == 1
    assert results.sweep.reason == "3 trials failed in the same way"


def test_garbage_collection_is_as_it_was_after_the_past_was_heard():
    assert gc.isenabled()
    with pytest.raises(KeyError), without_garbage_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with without_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each session was given, which ends at once."""
    seen: list[dict[str, Any]] = []

    class Session:
        def __init__(self, engine: Any, **given: Any) -> None:
            seen.append(given)

        def run(self) -> int:
            return 130

    monkeypatch.setattr("hpsearch.driver.driver.Session", Session)
    return seen


def test_what_may_surprise_in_a_spec_is_said_at_the_start(known, home, sessions):
    surprising = {"name": "new", "parameters": {"x": {"min": 0, "max": 10, "step": 3}}}
    expected = "Note: parameters.x.step: steps of 3 from 0 miss max 10: the largest value is 9."
    run = known(**surprising)
    assert run.start() == 130
    assert expected in sessions[0]["notes"]
    again = make_run(run.sweep, overrides={}, home=home)
    assert [str(note) for note in again.sweep.surprises] == [expected.removeprefix("Note: ")]
    for resumed in (run, make_run(StoredSweep("new"), overrides={}, home=home)):
        assert resumed.start() == 130
        assert expected not in sessions[-1]["notes"], "it was said when the sweep began"


def test_what_fails_since_the_home_is_gone_is_an_error_of_the_storage(known, home, monkeypatch):
    class Session:
        def __init__(self, engine: Any, **given: Any) -> None: ...

        def run(self) -> None:
            shutil.rmtree(home)
            home.stat()

    monkeypatch.setattr("hpsearch.driver.driver.Session", Session)
    with pytest.raises(LedgerError, match=r"sweeps: was removed or moved while the sweep ran") as caught:
        known(limits={"trials": 2, "epochs": 2}).start()
    assert "\n" not in str(caught.value)
    assert not home.exists(), "nothing was made there again"


@pytest.mark.parametrize("step", ["write_tables_of", "write_report_of"])
def test_a_home_that_is_removed_while_tables_are_written_is_noticed(known, home, monkeypatch, step):
    def write(home: Path, name: str) -> None:
        shutil.rmtree(home)

    monkeypatch.setattr(f"hpsearch.driver.write_results.{step}", write)
    with pytest.raises(LedgerError, match=r"sweeps: was removed or moved while the sweep ran"):
        known().start()


def test_a_sweep_that_starts_keeps_a_copy_of_its_code(known, sessions, home, tmp_path):
    (tmp_path / "train.py").write_text("import json\ndef train(config):\n    yield {'loss': config['x']}\n")
    known(name="new").start()
    (given,) = sessions
    code = code_of(locate(known().sweep.trainable, spec_dir=None))
    assert code is not None
    assert given["code"].snapshot_dir == (home / "new" / "code" / code_hash(code)[:12]).resolve()
    assert given["code"].preload == ("json",)
    manifest = json.loads((given["code"].snapshot_dir / "manifest.json").read_text())
    assert list(manifest["files"]) == [str(tmp_path / "train.py")]


def test_accepted_changes_have_a_copy_of_their_own(known, sessions, home, tmp_path):
    known(limits={"trials": 2, "epochs": 2}).start()
    (tmp_path / "train.py").write_text("print()\ndef train(config):\n    yield {'loss': config['x']}\n")
    with pytest.raises(SweepExists):
        known(limits={"trials": 2, "epochs": 3}).start()
    assert len(sessions) == 1
    known(limits={"trials": 2, "epochs": 3}, accept_changes=True).start()
    folders = [given["code"].snapshot_dir for given in sessions]
    assert len(set(folders)) == 2 and all(folder.is_dir() for folder in folders)


def test_a_function_that_travels_by_value_has_no_copy(known, sessions, home):
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def train(config): ...", namespace)
    known(name="new", trainable=None, function=namespace["train"]).start()
    assert sessions[0]["code"].snapshot_dir is None and not (home / "new" / "code").exists()


def test_code_that_is_too_large_is_the_users_mistake_and_the_name_stays_free(known, sessions, home, monkeypatch):
    monkeypatch.setattr("hpsearch.trainable.code_snapshot.MAX_BYTES", 10)
    with pytest.raises(SpecError, match="expected code of at most"):
        known(name="new").start()
    with Ledger(home) as ledger:
        assert ledger.find_sweep("new") is None
    assert not sessions and not (home / "new" / "code").exists()


def test_a_sweep_that_began_before_more_of_its_code_counted_goes_on(known, home, tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "library_of_lib.py").write_text("X = 1\n")
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path / "lib")])
    (tmp_path / "train.py").write_text("import library_of_lib\ndef train(config):\n    yield {'loss': config['x']}\n")
    code = read_code(locate(known().sweep.trainable, spec_dir=None))
    assert code.former_code is not None and code.former_code != code.code
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("known")
        ledger.reopen_sweep(record, record.spec, code=code.former_code)
        ledger.end_sweep(record, "done")
    assert known().start() == 0
    (tmp_path / "train.py").write_text("import library_of_lib\nprint()\n" + (tmp_path / "train.py").read_text())
    with pytest.raises(SweepExists, match=r"train\.py changed"):
        known().start()
