"""A spec as plain dicts becomes a checked `Sweep`: defaults, every mistake at once, and the way back."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from typing import Any, cast

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.parts import parse_duration
from hpsearch.spec.sweep import Sweep

SPEC: dict[str, Any] = {
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"min": 0.1, "max": 1.0}},
}
TOP_KEYS = ", ".join(field.alias or name for name, field in Sweep.model_fields.items())
LIMIT_KEYS = "trials, epochs, concurrent, time, trial_time, grace, retries, failures, checkpoints"
TOO_LONG = 10**5000
"""Python refuses to spell this out."""


def sweep_of(**changes: Any) -> Sweep:
    return Sweep.from_dict({**SPEC, **changes})


def mistakes(tree: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        Sweep.from_dict(tree)
    return str(caught.value).splitlines()


def test_the_smallest_spec_gets_the_documented_defaults() -> None:
    assert Sweep.from_dict(SPEC).to_dict() == {
        "name": None,
        "trainable": None,
        "arguments": None,
        "metric": {"name": "loss", "goal": "minimize"},
        "method": "random",
        "sampler": None,
        "seed": 0,
        "parameters": {"lr": {"min": 0.1, "max": 1.0}},
        "constraints": [],
        "initial_points": [],
        "prior": "none",
        "early_terminate": {"type": "none", "min_iter": 1, "eta": 3, "brackets": None, "min_trials": 3},
        "limits": {
            "trials": None, "epochs": None, "concurrent": "auto", "time": None, "trial_time": None, "grace": 60.0,
            "retries": 1, "failures": None, "checkpoints": 3,
        },
        "resources": {"cpu": 1.0, "gpu": "auto", "workers": 1, "loaders": "auto"},
        "precision": "fp32",
        "parallel": "ddp",
        "isolation": "process",
        "leak_warnings": True,
        "data": {"root": None},
        "ray": {"address": None},
        "notes": None,
    }  # fmt: skip


MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": "-x"}, [
        "name: expected letters, digits, '.', '_' or '-', a letter or digit first, at most 64 in all,"
        " got the text '-x'."
    ]),
    ({"name": 3}, ["name: expected text, got 3. Put it in quotes."]),
    ({"trainable": ""}, ["trainable: expected some text, got the text ''."]),
    ({"metric": {}}, [
        "metric: 'name' is missing. Write name: val_loss.",
        "metric: 'goal' is missing. Write goal: minimize or goal: maximize.",
    ]),
    ({"metric": {"name": "", "goal": "up"}}, [
        "metric.name: expected some text, got the text ''.",
        "metric.goal: unknown goal 'up'. Known: minimize, maximize.",
    ]),
    ({"metric": "loss"}, [
        "metric: expected a map, got the text 'loss'. Write for example metric: {name: val_loss, goal: minimize}."
    ]),
    ({"early_terminate": "asha"}, [
        "early_terminate: expected a map, got the text 'asha'. Write for example early_terminate: {type: asha}."
    ]),
    ({"mtric": 3}, [f"mtric: unknown key 'mtric'. Did you mean 'metric'? Known: {TOP_KEYS}."]),
    ({"method": "optunna"}, [
        "method: unknown method 'optunna'. Did you mean 'optuna'? Known: grid, random, optuna, hyperopt, controller."
    ]),
    ({"method": ["grid"]}, [
        "method: expected one of grid, random, optuna, hyperopt, controller, got the list ['grid']."
    ]),
    ({"method": None}, ["method: expected one of grid, random, optuna, hyperopt, controller, got nothing."]),
    ({"sampler": "tpe"}, ["sampler: expected no sampler with method random, got 'tpe'. Remove it."]),
    ({"method": "bayes", "sampler": "tpee"}, [
        "sampler: unknown sampler 'tpee' of method optuna. Did you mean 'tpe'? Known: tpe, gp, cmaes, qmc."
    ]),
    ({"seed": -1}, ["seed: expected a number of at least 0, got -1."]),
    ({"seed": 2**31}, ["seed: expected a number below 2147483648, got 2147483648."]),
    ({"seed": True}, ["seed: expected a whole number, got true. Write for example 12."]),
    ({"precision": "fp8"}, ["precision: unknown precision 'fp8'. Known: fp32, tf32, bf16, fp16."]),
    ({"limits": {"trials": 0}}, ["limits.trials: expected a number of at least 1, got 0."]),
    ({"limits": {"trials": 5.0}}, ["limits.trials: expected a whole number, got 5.0. Write for example 12."]),
    ({"limits": {"trials": math.inf}}, ["limits.trials: expected a whole number, got inf. Write for example 12."]),
    ({"limits": {"trials": TOO_LONG}}, [
        "limits.trials: expected a number of at most 10000000, got a number of thousands of digits."
    ]),
    ({"limits": {"concurrent": 0}}, ["limits.concurrent: expected a whole number above 0, or auto, got 0."]),
    ({"limits": {"concurrent": "all"}}, [
        "limits.concurrent: expected a whole number above 0, or auto, got the text 'all'."
    ]),
    ({"limits": {"trails": 3}}, [f"limits.trails: unknown key 'trails'. Did you mean 'trials'? Known: {LIMIT_KEYS}."]),
    ({"limits": {"float": 3}}, [f"limits.float: unknown key 'float'. Known: {LIMIT_KEYS}."]),
    ({"limits": {"time": "2 hours"}}, [
        "limits.time: expected a time above 0, got the text '2 hours'. Write for example 90s, 30m or 1h30m."
    ]),
    ({"limits": {"grace": -1}}, [
        "limits.grace: expected a time of 0 or more, got -1. Write for example 60s, or 0 for none."
    ]),
    ({"isolation": "thread"}, ["isolation: unknown isolation 'thread'. Known: process, slot."]),
    ({"isolation": None}, ["isolation: expected one of process, slot, got nothing."]),
    ({"limits": 3, "resources": None}, [
        "limits: expected a map, got 3. Write for example limits: {trials: 12, epochs: 27}.",
        "resources: expected a map, got nothing. Write for example resources: {cpu: 2, gpu: 1}.",
    ]),
    ({"resources": {"cpu": 0}}, ["resources.cpu: expected a number above 0, got 0."]),
    ({"resources": {"cpu": math.nan}}, ["resources.cpu: expected a finite number, got nan. Write for example 0.5."]),
    ({"resources": {"gpu": math.nan}}, [
        "resources.gpu: expected auto, a whole number or a fraction of one GPU, got nan. Write for example 1 or 0.25."
    ]),
    ({"resources": {"gpu": math.inf}}, [
        "resources.gpu: expected auto, a whole number or a fraction of one GPU, got inf. Write for example 1 or 0.25."
    ]),
    ({"resources": {"gpu": 1.5}}, ["resources.gpu: expected a whole number of GPUs above 1, got 1.5. Write 1 or 2."]),
    ({"resources": {"gpu": 0.5, "workers": 2, "cpu": 0}}, [
        "resources.cpu: expected a number above 0, got 0.",
        "resources.gpu: expected whole GPUs for 2 workers, got 0.5: NCCL refuses two ranks on one GPU."
        " Write gpu: 1, or workers: 1.",
    ]),
    ({"early_terminate": {"type": "asha2"}}, [
        "early_terminate.type: unknown type 'asha2'. Did you mean 'asha'?"
        " Known: none, asha, asha_stop, hyperband, median."
    ]),
    ({"early_terminate": {"max_iter": 9}, "limits": {"epochs": 27}}, [
        "early_terminate.max_iter: expected max_iter to equal limits.epochs, got 9 and 27. Keep one of them."
    ]),
    ({"early_terminate": {"min_iter": 28}, "limits": {"epochs": 27}}, [
        "early_terminate.min_iter: expected at most the last epoch, 27, got 28: no trial would ever be stopped."
        " Lower it."
    ]),
    ({"early_terminate": {"min_iter": 28, "max_iter": 9}}, [
        "early_terminate.min_iter: expected at most the last epoch, 9, got 28: no trial would ever be stopped."
        " Lower it."
    ]),
    (
        {"parameters": {}},
        [
            "parameters: expected at least one parameter, got none."
            " Write for example lr: {min: 1e-4, max: 1e-1, log: true}."
        ],
    ),
    (
        {"parameters": 3},
        ["parameters: expected a map of parameters, got 3. Write for example lr: {min: 1e-4, max: 1e-1, log: true}."],
    ),
    ({"method": "grid", "parameters": {"a": {"lr": {"min": 0.1, "max": 1}}}}, [
        "parameters.a.lr: expected a list, a step or a count for grid search, got {min: 0.1, max: 1}."
        " Add for example count: 5, or use method: random."
    ]),
    ({"data": {"root": 3}}, ["data.root: expected a path or null, got 3."]),
    ({"data": {1: 2}}, ["data.1: a key must be text of at most 200 characters, got 1. Put it in quotes."]),
    ({"data": {"a": [math.nan]}}, [
        "data.a.0: expected text, a finite number, true, false, null or a list, got nan."
    ]),
    ({"ray": {"address": ""}}, ["ray.address: expected some text, got the text ''."]),
    ({cast(str, 7): 1}, ["7: expected text as a key, got 7. Put it in quotes."]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentences"), MISTAKES, ids=[str(sentences)[2:60] for _, sentences in MISTAKES])
def test_a_mistake_is_one_sentence_at_its_place(changes: dict[str, Any], sentences: list[str]) -> None:
    assert mistakes({**SPEC, **changes}) == sentences


def test_mistakes_of_every_kind_are_reported_together() -> None:
    found = mistakes({"metod": "grid", "limits": {"trials": 0}, "parameters": {"a": {"min": 1}}, "name": "/"})
    assert [line.split(":")[0] for line in found] == [
        "parameters.a", "'metric' is missing. Write metric", "limits.trials", "metod", "name",
    ]  # fmt: skip


@pytest.mark.parametrize("tree", [None, 3, [], "name: x"])
def test_a_spec_must_be_a_map(tree: Any) -> None:
    assert "expected a map with metric and parameters" in mistakes(tree)[0]


def test_a_dict_that_holds_itself_is_refused() -> None:
    tree = copy.deepcopy(SPEC)
    tree["parameters"]["again"] = tree
    assert mistakes(tree) == ["expected at most 32 levels of nesting, got more. Write fewer levels."]


def test_later_edits_of_the_dict_do_not_reach_the_sweep() -> None:
    tree = copy.deepcopy({**SPEC, "data": {"root": None, "sizes": [1]}})
    sweep = Sweep.from_dict(tree)
    tree["parameters"]["lr"]["min"] = 0.5
    tree["data"]["sizes"].append(2)
    assert sweep.parameters == SPEC["parameters"]
    assert sweep.data == {"root": None, "sizes": [1]}


@pytest.mark.parametrize(
    "changes",
    [
        {"early_terminate": {"type": "asha", "max_iter": 27}},
        {"limits": {"epochs": 27}},
        {"early_terminate": {"max_iter": 27}, "limits": {"epochs": 27}},
    ],
)
def test_the_last_epoch_comes_out_as_limits_epochs_whichever_way_it_was_written(changes: dict[str, Any]) -> None:
    sweep = sweep_of(**changes)
    assert (sweep.limits.epochs, sweep.early_terminate.max_iter, sweep.max_epochs) == (27, None, 27)


def test_bayes_is_another_name_for_optuna() -> None:
    assert sweep_of(method="bayes").method == "optuna"
    assert sweep_of(method="bayes", sampler="gp").sampler == "gp"


@pytest.mark.parametrize(
    ("method", "sampler"),
    [("grid", None), ("random", None), ("optuna", "tpe"), ("hyperopt", "tpe"), ("controller", "reinforce")],
)
def test_the_default_sampler_of_a_method_is_resolved_and_not_stored(method: str, sampler: str | None) -> None:
    sweep = sweep_of(method=method, parameters={"x": {"values": [1, 2]}})
    assert (sweep.resolved_sampler, sweep.sampler, sweep.to_dict()["sampler"]) == (sampler, None, None)


def test_a_sampler_that_the_spec_sets_is_resolved_as_it_is() -> None:
    assert sweep_of(method="optuna", sampler="gp").resolved_sampler == "gp"


def test_units_are_seconds_inside_and_the_yaml_says_time() -> None:
    sweep = sweep_of(limits={"time": "1h30m", "trial_time": 45})
    assert (sweep.limits.time_s, sweep.limits.trial_time_s) == (5400.0, 45.0)
    assert sweep.to_dict()["limits"]["time"] == 5400.0


@pytest.mark.parametrize(("grace", "seconds"), [(0, 0.0), ("0s", 0.0), (0.5, 0.5), ("2m", 120.0)])
def test_the_time_after_the_last_epoch_may_be_none(grace: object, seconds: float) -> None:
    sweep = sweep_of(limits={"grace": grace})
    assert sweep.limits.grace_s == seconds
    assert Sweep.from_dict(sweep.to_dict()) == sweep


def test_a_stored_spec_without_isolation_is_of_a_sweep_that_began_in_slots() -> None:
    stored = {key: value for key, value in sweep_of().to_dict().items() if key != "isolation"}
    assert Sweep.from_stored(stored).isolation == "slot"
    assert Sweep.from_stored({**stored, "isolation": "process"}).isolation == "process"
    assert Sweep.from_dict(stored).isolation == "process", "a new sweep that says nothing"


@pytest.mark.parametrize(
    ("asked", "begun", "isolation"),
    [({}, "slot", "slot"), ({}, "process", "process"), ({"isolation": "process"}, "slot", "process")],
)
def test_a_spec_without_isolation_keeps_that_of_the_sweep_it_continues(
    asked: dict[str, Any], begun: str, isolation: str
) -> None:
    assert sweep_of(**asked).continuing(sweep_of(isolation=begun)).isolation == isolation


def test_a_list_with_a_range_in_it_is_read_from_an_older_ledger_as_the_constant_that_it_was() -> None:
    layers = [{"min": 16, "max": 64}, {"values": [8, 16]}]
    parameters = {"model": {"layers": layers}, "lr": {"min": 0.1, "max": 1.0}, "sizes": [1, {"a": 2}]}
    sweep = Sweep.from_stored({**sweep_of().to_dict(), "parameters": parameters})
    point = sweep.space.draw(random.Random(0))
    assert (point["model.layers"], point["sizes"]) == (layers, [1, {"a": 2}])
    assert Sweep.from_stored(sweep.to_dict()) == sweep


OLD = {"min": 0.14, "max": 0.46, "q": 0.1}
BEYOND = {**OLD, "clip": False}
CLIPPED = {"min": 0.2, "max": 0.4, "q": 0.1}


def test_a_range_with_a_q_is_read_from_an_older_ledger_with_the_values_beyond_its_bounds() -> None:
    stored = {
        **sweep_of().to_dict(),
        "parameters": {"x": OLD, "group": {"y": OLD}, "whole": {"min": 0, "max": 8, "q": 4}},
    }
    sweep = Sweep.from_stored(stored)
    assert sweep.parameters == {"x": BEYOND, "group": {"y": BEYOND}, "whole": {"min": 0, "max": 8, "q": 4}}
    assert sweep.space.domains["x"].grid() == [0.1, 0.2, 0.3, 0.4, 0.5]  # type: ignore[union-attr]
    assert Sweep.from_stored(sweep.to_dict()) == sweep == Sweep.from_dict(sweep.to_dict())
    new = sweep_of(parameters={"x": OLD})
    assert new.parameters == {"x": CLIPPED}
    assert Sweep.from_stored(new.to_dict()) == new


@pytest.mark.parametrize(
    ("asked", "begun", "expected"),
    [
        (OLD, BEYOND, BEYOND),
        (BEYOND, BEYOND, BEYOND),
        (OLD, OLD, CLIPPED),
        ({**OLD, "clip": True}, BEYOND, {**CLIPPED, "clip": True}),
        ({**OLD, "max": 0.56}, BEYOND, {**CLIPPED, "max": 0.5}),
    ],
)
def test_a_range_keeps_the_values_beyond_its_bounds_of_the_sweep_it_continues(
    asked: dict[str, Any], begun: dict[str, Any], expected: dict[str, Any]
) -> None:
    sweep = sweep_of(parameters={"x": asked}).continuing(sweep_of(parameters={"x": begun}))
    assert sweep.parameters == {"x": expected}
    assert sweep.space.contains({"x": 0.1}) is (expected == BEYOND)


@pytest.mark.parametrize(
    ("begun", "asked", "is_same"),
    [
        ([0.1, 0.01], {"value": [0.1, 0.01]}, True),
        ({"min": 1e-5, "max": 0.1}, {"min": 1e-5, "max": 0.1, "log": False}, True),
        ({"min": 0, "max": 1}, {"min": 0, "max": 1, "step": 1}, True),
        (CLIPPED, {**CLIPPED, "clip": True}, True),
        ([0.1, 0.01], {"values": [0.1, 0.01]}, False),
        ({"value": 1}, 1.0, False),
        ({"value": 1}, True, False),
    ],
)
def test_a_space_in_other_words_is_no_other_space_for_the_sweep_that_resumes(
    begun: Any, asked: Any, is_same: bool
) -> None:
    before = sweep_of(parameters={"x": begun})
    sweep = sweep_of(parameters={"x": asked}).continuing(before)
    assert sweep.parameters == {"x": begun if is_same else asked}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("0.5h", 1800), (7, 7)],
)
def test_a_duration_is_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", [0, -1, "0s", "1", "h", "1x", "", True, None, math.inf, math.nan, "9" * 400 + "h"])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a time above 0"):
        parse_duration(value)


def test_a_number_that_python_can_not_spell_is_no_time() -> None:
    with pytest.raises(ValueError, match="got a number of thousands of digits"):
        parse_duration(TOO_LONG)


CHOICES = {"a": {"values": [1, 2, 3]}, "b": {"values": [1, 2]}}


@pytest.mark.parametrize(
    ("changes", "trials"),
    [
        ({}, 20),
        ({"limits": {"trials": 7}}, 7),
        ({"parameters": CHOICES}, 6),
        ({"parameters": CHOICES, "limits": {"trials": 100}}, 6),
        ({"parameters": CHOICES, "limits": {"trials": 4}}, 4),
        ({"parameters": {"lr": 0.1}}, 1),
        ({"parameters": {"lr": 0.1}, "limits": {"trials": 9}, "method": "grid"}, 1),
        ({"parameters": {"lr": {"min": 0.0, "max": 1.0, "count": 30}}, "method": "grid"}, 30),
        ({"parameters": {"lr": {"min": 0.0, "max": 1.0, "count": 30}}, "method": "random"}, 20),
        ({"parameters": {"n": {"min": 1, "max": 100}}, "method": "grid"}, 100),
    ],
)
def test_trials_are_never_more_than_there_are_points(changes: dict[str, Any], trials: int) -> None:
    assert sweep_of(**changes).max_trials == trials


@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1), ("maximize", -1)])
def test_the_sign_makes_lower_better(goal: str, sign: int) -> None:
    assert sweep_of(metric={"name": "m", "goal": goal}).metric.sign == sign


def test_a_resolved_spec_is_read_back_as_the_same_sweep() -> None:
    rng = random.Random(0)
    for _ in range(200):
        sweep = Sweep.from_dict(random_spec(rng))
        assert Sweep.from_dict(sweep.to_dict()) == sweep
        assert Sweep.from_dict(sweep.to_dict()).to_dict() == sweep.to_dict()


OPTIONS: Mapping[str, list[Any]] = {
    "name": ["resnet", "a.b-c_1", None],
    "trainable": ["m:f", None],
    "method": ["random", "optuna", "hyperopt", "bayes", "grid"],
    "seed": [0, 2**31 - 1],
    "parameters": [CHOICES, {"o": {"lr": {"min": 1e-4, "max": 1.0, "log": True, "count": 3}}, "k": (1, None)}],
    "early_terminate": [{"type": "asha", "max_iter": 9, "eta": 2}, {"type": "asha_stop", "min_iter": 3}, {}],
    "limits": [{"time": "1d", "trials": 3}, {"concurrent": 4, "retries": 0, "failures": 2}, {"epochs": 9}],
    "resources": [
        {"cpu": 2, "gpu": 0.25},
        {"gpu": 2, "workers": 4},
        {"gpu": 1, "workers": 2},
        {"gpu": "auto"},
        {"gpu": 0},
    ],
    "precision": ["fp32", "bf16"],
    "data": [{"root": "x", "n": [1, {"a": None}]}, {}],
    "ray": [{"address": "auto"}, {}],
}


def random_spec(rng: random.Random) -> dict[str, Any]:
    return {
        **SPEC,
        "parameters": CHOICES,
        **{key: rng.choice(values) for key, values in OPTIONS.items() if rng.random() < 0.6},
    }
