"""Trials in real slots: what a user sees of those that succeed, end early or resume."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from tests.integration.conftest import Outcome, run_sweep

pytestmark = pytest.mark.ray


def handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(scope="module")
def steady(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Three good trials, run once for all tests that look at them: each sweep brings up processes of its own."""
    before = handlers()
    parameters = {"x": {"min": 0.0, "max": 1.0}, "depth": 3}
    outcome = run_sweep(tmp_path_factory.mktemp("steady") / "sweeps", "steady", trials=3, parameters=parameters)
    assert handlers() == before, "signal handlers are put back"
    return outcome


def test_a_generator_fills_both_tables_and_the_files(steady):
    outcome = steady
    assert outcome.exit_code == 0
    trials, history = outcome.results.trials, outcome.results.history
    assert list(trials.columns) == [
        "trial",
        "state",
        "cause",
        "x",
        "depth",
        "epochs_trained",
        "last_loss",
        "last_pid",
        "last_epoch",
        "best_loss",
        "best_epoch",
        "started_at",
        "duration_s",
        "gpu_peak_gib",
        "host_peak_gib",
        "seed",
        "attempts",
        "reused_from",
        "checkpoint",
        "code",
    ]
    assert trials["state"].tolist() == ["done"] * 3
    assert trials["best_epoch"].tolist() == [3] * 3
    assert list(history.columns) == ["trial", "epoch", "loss", "pid", "metric.epoch", "elapsed_s"]
    assert len(history) == 9
    assert {path.name for path in outcome.results.folder.iterdir()} >= {
        "sweep.yaml",
        "trials.csv",
        "trials.parquet",
        "history.parquet",
    }
    assert (outcome.results.folder / "trials.csv").read_text().count("\n") == 4


def test_each_trial_has_a_process_of_its_own(steady):
    assert steady.results.trials["last_pid"].nunique() == 3


def test_a_slot_trains_trial_after_trial_in_one_process_where_the_spec_says_so(sweep):
    assert sweep("steady", trials=3, isolation="slot").results.trials["last_pid"].nunique() == 1


def test_what_a_trial_prints_goes_to_its_log_and_nowhere_else(sweep, capfd):
    outcome = sweep("steady", trials=2)
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")
    assert outcome.log(1).count("epoch ") == 3
    assert "straight to the descriptor" in outcome.log(2)


def test_a_plain_function_that_reports_is_taken(sweep):
    outcome = sweep("reporter")
    assert outcome.results.trials["epochs_trained"].tolist() == [3, 3]


def test_a_plain_function_is_stopped_at_the_last_epoch(sweep):
    outcome = sweep("reporter", limits={"epochs": 2})
    assert outcome.results.trials["epochs_trained"].tolist() == [2, 2]
    assert outcome.results.trials["state"].tolist() == ["done", "done"]


def test_every_trial_begins_with_the_same_random_numbers(sweep):
    trials = sweep("seeded", trials=3).results.trials
    assert trials["last_torch"].nunique() == trials["last_numpy"].nunique() == trials["last_python"].nunique() == 1


def test_the_trainable_finds_its_config_data_path_and_environment(sweep, monkeypatch):
    monkeypatch.setenv("HPSEARCH_TEST_VARIABLE", "from the driver")
    outcome = sweep(
        "context", data={"root": "somewhere"}, seed=7, parameters={"x": 0.5, "model": {"depth": {"values": [2, 3]}}}
    )
    assert outcome.results.trials["last_seed"].tolist() == [7, 7]
    assert sorted(outcome.results.trials["best_loss"]) == [2.5, 3.5]
    assert "from the driver" in outcome.log(1)
    assert str(Path.cwd()) in outcome.log(1)


def test_numbers_of_any_kind_are_taken(sweep):
    outcome = sweep(
        "odd_numbers",
        trials=5,
        method="grid",
        parameters={"kind": {"values": ["tensor", "numpy", "bool", "int", "nested"]}},
    )
    assert outcome.results.trials["state"].tolist() == ["done"] * 5
    assert outcome.results.trials["last_more/acc"].tolist() == [3.0] * 5


def test_a_slots_process_in_which_a_trial_leaves_something_is_replaced_and_the_log_says_what(sweep):
    outcome = sweep("leaks", trials=2, isolation="slot")
    assert outcome.results.trials["last_pid"].nunique() == 2
    assert "KEPT was a list" in outcome.log(1)
    assert "still alive after the trial" in outcome.log(1)
    assert "is kept in list `KEPT` of tests/support/trainables.py:" in outcome.log(1)
    assert "processes can't be reused" in outcome.log(1)


def test_an_unchanged_ray_tune_function_runs_and_resumes_from_its_own_checkpoint(sweep):
    outcome = sweep("ray_function", trials=1)
    row, history = outcome.trial(1), outcome.results.history
    assert (row["state"], row["attempts"]) == ("done", 2)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["started_at"].tolist() == [0, 0, 2, 2]


def test_another_spec_under_the_same_name_is_refused_and_nothing_is_lost(sweep):
    first = sweep("steady", trials=1)
    second = sweep("steady", trials=1, seed=5)
    assert second.exit_code == 2 and "seed: 0 -> 5" in str(second.error) and "name='steady-2'" in str(second.error)
    assert len(first.results.trials) == 1


def test_more_trials_go_on_with_the_same_sweep(sweep):
    first = sweep("steady", trials=2)
    known = first.results.trials
    again = sweep("steady", trials=3)
    assert again.results.trials.head(2).equals(known), "what was known stays as it was"
    more = first.results.resume(trials=4)
    assert more.trials["state"].tolist() == ["done"] * 4


def test_a_ray_that_runs_already_is_left_running(steady):
    import ray

    assert ray.is_initialized()


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_what_a_trial_sets_in_its_process_is_not_there_in_the_next(sweep, isolation):
    found = sweep("meddles", trials=3, isolation=isolation).results.trials
    for name in ("dtype", "grad", "threads", "variable", "folder"):
        assert found[f"last_{name}"].nunique() == 1, name
    assert found["last_dtype"][0] == found["last_grad"][0] == 1 and found["last_variable"][0] == 0


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_logging_that_the_first_trial_sets_up_works_in_every_trial(sweep, isolation):
    outcome = sweep("logs", trials=3, isolation=isolation)
    for number in (1, 2, 3):
        assert outcome.log(number).count("hello from") == 1 and "printed" in outcome.log(number)
        assert "Logging error" not in outcome.log(number)


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_objects_that_ray_holds_for_a_function_reach_its_trials(ray_session, home, isolation):
    from ray import tune

    def train(config, table):
        tune.report({"loss": config["x"] + sum(table)})

    bound = tune.with_parameters(train, table=list(range(1000)))
    results = hpsearch.run(
        {
            "name": "bound",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"x": 0.5},
            "limits": {"trials": 1},
            "resources": {"gpu": 0},
            "isolation": isolation,
        },
        bound,
        home=home,
    )
    assert results.trials["last_loss"].tolist() == [499500.5]
