"""The one way from a request to a `Run`: files, trees, sweeps and the ledger, with values that override the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.request import StoredSweep, make_run, overrides_of
from hpsearch.errors import SpecError
from hpsearch.ledger.store import Ledger
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep

TREE: dict[str, Any] = {
    "name": "request",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 9, "epochs": 27},
    "early_terminate": {"type": "hyperband", "eta": 2},
}
OVERRIDES = overrides_of(trials=4, epochs=9, prior="none", address="10.0.0.1:6379")


def train(config: dict[str, Any]) -> None:
    """A trainable that is never called."""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "request.yaml"
    path.write_text(dump_yaml(TREE))
    return path


@pytest.mark.parametrize("source", ["file", "tree", "sweep", "ledger"])
def test_every_source_of_a_spec_is_overridden_alike(source, spec, home):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("request", Sweep.from_dict(TREE).to_dict())
    sources = {"file": spec, "tree": TREE, "sweep": Sweep.from_dict(TREE), "ledger": StoredSweep("request")}
    run = make_run(sources[source], train, overrides=OVERRIDES, home=home)
    expected = {**TREE, "limits": {"trials": 4, "epochs": 9}, "ray": {"address": "10.0.0.1:6379"}}
    values = run.sweep.to_dict()
    values["isolation"] = "process"  # a stored spec of no isolation began in slots
    assert values == Sweep.from_dict(expected).to_dict()
    assert (run.home, run.function, run.show) == (home, train, "auto")


def test_options_that_are_not_given_leave_the_spec_alone(spec, home):
    assert overrides_of() == {}
    assert make_run(spec, overrides={}, home=home).sweep == Sweep.from_dict(TREE)


def test_a_number_of_epochs_overrides_max_iter_which_means_the_same(tmp_path, home):
    path = tmp_path / "a.yaml"
    path.write_text(dump_yaml({**TREE, "limits": {}, "early_terminate": {"type": "hyperband", "max_iter": 27}}))
    assert make_run(path, overrides=overrides_of(epochs=9), home=home).sweep.max_epochs == 9
    with pytest.raises(SpecError, match="max_iter"):
        make_run(path, overrides={"limits": {"epochs": 9}, "early_terminate": {"max_iter": 8}}, home=home)


def test_options_override_a_spec_in_the_keys_of_another_tool(tmp_path, home):
    path = tmp_path / "a.yaml"
    path.write_text(dump_yaml({**TREE, "limits": {"epochs": 1}, "early_terminate": {"type": "none"}, "run_cap": 20}))
    assert make_run(path, overrides=overrides_of(trials=3), home=home).sweep.limits.trials == 3
    assert make_run(path, overrides={"num_samples": 5}, home=home).sweep.limits.trials == 5


def test_a_name_is_overridden_before_the_name_of_the_file_is_checked(tmp_path, home):
    path = tmp_path / "not a name.yaml"
    path.write_text(dump_yaml({key: value for key, value in TREE.items() if key != "name"}))
    with pytest.raises(SpecError, match="the file's name"):
        make_run(path, overrides={}, home=home)
    assert make_run(path, overrides=overrides_of(name="good"), home=home).sweep.name == "good"
    assert make_run(path, train, overrides={"name": None}, home=home).sweep.name == "train"


def test_a_mistake_in_an_override_is_not_blamed_on_the_file(spec, home):
    with pytest.raises(SpecError) as caught:
        make_run(spec, overrides=overrides_of(trials=0), settings=["seed=x"], home=home)
    assert {(problem.file, problem.where) for problem in caught.value.problems} == {
        (None, ("limits", "trials")),
        ("--set seed=x", ("seed",)),
    }


def test_a_function_takes_the_place_of_the_trainable_that_the_spec_names(spec, home):
    spec.write_text(dump_yaml({**TREE, "trainable": "nowhere.py:train"}))
    run = make_run(spec, train, overrides={}, home=home)
    assert run.sweep.trainable is None and run.function is train
