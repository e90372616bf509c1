"""What `validate` says, whole and part by part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpsearch.driver.plan import Plan, make_plan
from hpsearch.driver.plan_text import render, to_dict
from hpsearch.errors import SpecError
from hpsearch.spec.sweep import Sweep

GOLDEN = Path(__file__).parents[2] / "golden" / "plan.txt"
SPEC: dict[str, Any] = {
    "name": "resnet",
    "trainable": "experiments.resnet:train",
    "metric": {"name": "val_loss", "goal": "minimize"},
    "parameters": {
        "augment": True,
        "model": {"width": {"min": 16, "max": 128, "step": 16}, "depth": {"values": [20, 32, 44]}},
        "lr": {"min": 1e-4, "max": 1e-1, "log": True, "count": 6},
    },
}
ASHA = {"type": "asha", "min_iter": 1, "eta": 3}


def plan_of(cpus: float = 16, gpus: int = 0, **changes: Any) -> Plan:
    sweep = Sweep.from_dict({**SPEC, **changes})
    return make_plan(sweep, cpus=cpus, gpus=gpus, cpu_source="a test")


def printed(plan: Plan) -> str:
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(render(plan))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def test_a_plan_is_printed_whole() -> None:
    plan = plan_of(
        method="grid",
        early_terminate=ASHA,
        limits={"trials": 20, "epochs": 27, "concurrent": 3},
        resources={"gpu": 0.25, "cpu": 2},
        gpus=4,
    )
    assert printed(plan) == GOLDEN.read_text()


def test_the_space_is_listed_with_its_sizes() -> None:
    plan = plan_of()
    assert [(row.name, row.kind, row.values, row.size, row.grid_points) for row in plan.space] == [
        ("augment", "constant", "true", 1, 1),
        ("model.width", "integer", "16 .. 128 step 16", 8, 8),
        ("model.depth", "choice", "20 | 32 | 44", 3, 3),
        ("lr", "real", "0.0001 .. 0.1 log", None, 6),
    ]
    assert (plan.space_size, plan.grid_size) == (None, 144)


FINITE = {"a": {"values": [1, 2, 3]}, "b": {"values": [1, 2]}}


@pytest.mark.parametrize(
    ("changes", "trials", "reason"),
    [
        ({}, 20, "the default"),
        ({"limits": {"trials": 7}}, 7, "limits.trials"),
        ({"parameters": FINITE}, 6, "the space has no more points"),
        ({"parameters": FINITE, "limits": {"trials": 9}}, 6, "the space has no more points"),
        ({"parameters": FINITE, "limits": {"trials": 6}}, 6, "limits.trials"),
        ({"method": "grid"}, 144, "every point of the grid"),
        ({"method": "grid", "limits": {"trials": 20}}, 20, "limits.trials"),
        ({"method": "grid", "limits": {"trials": 1000}}, 144, "the grid has no more points"),
    ],
)
def test_the_number_of_trials_has_a_reason(changes: dict[str, Any], trials: int, reason: str) -> None:
    plan = plan_of(**changes)
    assert (plan.trials, plan.trials_reason) == (trials, reason)


@pytest.mark.parametrize(
    ("changes", "cpus", "gpus", "concurrent", "reasons"),
    [
        ({}, 2, 0, 2, ("CPUs: 2 / 1 = 2",)),
        ({"resources": {"workers": 2}}, 8, 0, 4, ("CPUs: 8 / (2 workers x 1) = 4",)),
        ({"limits": {"concurrent": 3}}, 8, 0, 3, ("CPUs: 8 / 1 = 8", "limits.concurrent allows 3")),
        ({"limits": {"concurrent": 30}}, 8, 0, 8, ("CPUs: 8 / 1 = 8",)),
        ({"limits": {"trials": 8}}, 8, 0, 8, ("CPUs: 8 / 1 = 8",)),
        ({"limits": {"trials": 5}}, 8, 0, 5, ("CPUs: 8 / 1 = 8", "there are only 5 trials")),
        ({"limits": {"trials": 2, "concurrent": 3}}, 8, 0, 2, ("CPUs: 8 / 1 = 8", "there are only 2 trials")),
        ({}, 64, 4, 4, ("CPUs: 64 / 1 = 64", "GPUs: 4 / 1 = 4")),
        (
            {"resources": {"gpu": 0.25}}, 64, 4, 16, ("CPUs: 64 / 1 = 64", "GPUs: 4 x 4 on each (0.25 a worker) = 16"),
        ),
    ],
)  # fmt: skip
def test_the_number_of_trials_at_once_has_its_sum(
    changes: dict[str, Any], cpus: float, gpus: int, concurrent: int, reasons: tuple[str, ...]
) -> None:
    plan = plan_of(cpus=cpus, gpus=gpus, **{"limits": {"trials": 20}, **changes})
    assert (plan.concurrent, plan.concurrent_reasons) == (concurrent, reasons)


def test_a_request_that_can_never_fit_is_an_error_with_every_device() -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(cpus=2, gpus=1, resources={"cpu": 3, "gpu": 2})
    assert str(caught.value).splitlines() == [
        "resources.cpu: a trial asks for 3 CPUs, there are 2. Ask for less.",
        "resources.gpu: a trial asks for 2 GPUs, there is 1. Ask for less.",
    ]


def test_what_does_not_fit_here_may_fit_on_the_ray_that_is_named() -> None:
    plan = plan_of(cpus=2, resources={"cpu": 3}, ray={"address": "head:6379"})
    assert plan.concurrent == 0
    assert "the sweep runs on the Ray at head:6379; what fits at once is counted again there." in plan.notes


@pytest.mark.parametrize(
    ("rule", "epochs", "stopping", "rungs"),
    [
        ({}, 27, "none", ()),
        (ASHA, 27, "asha", (1, 3, 9)),
        ({**ASHA, "type": "asha_stop", "eta": 2, "min_iter": 2}, 9, "asha_stop", (2, 4, 8)),
        (ASHA, 1, "asha", ()),
    ],
)
def test_the_rungs_are_those_of_the_stopping_rule(
    rule: dict[str, Any], epochs: int, stopping: str, rungs: tuple[int, ...]
) -> None:
    plan = plan_of(early_terminate=rule, limits={"epochs": epochs})
    assert (plan.stopping, plan.rungs) == (stopping, rungs)


NO_GPU = "there is no GPU here: trials run on the CPU."
PAUSES = "asha pauses trials whose state is kept (hpsearch.fit and keep do); others it stops, as asha_stop does."


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, [NO_GPU]),
        ({"resources": {"gpu": 0}}, []),
        ({"gpus": 1}, []),
        (
            {"gpus": 1, "method": "grid", "limits": {"trials": 20}},
            ["the grid has 144 points; limits.trials runs 20 of them, in an order shuffled by the seed."],
        ),
        ({"gpus": 1, "method": "grid", "limits": {"trials": 144}}, []),
        ({"gpus": 1, "early_terminate": ASHA, "limits": {"epochs": 9}}, [PAUSES]),
        (
            {"gpus": 1, "early_terminate": ASHA, "limits": {"epochs": 1}},
            ["asha stops no trial: its first rung, min_iter 1, is the last epoch."],
        ),
        (
            {"gpus": 1, "early_terminate": ASHA},
            [PAUSES, "limits.epochs is not set: there are rungs for as long as the trainable yields."],
        ),
    ],
)
def test_what_a_user_may_not_expect_is_noted(changes: dict[str, Any], notes: list[str]) -> None:
    assert list(plan_of(**changes).notes) == notes


def test_what_may_surprise_in_a_spec_is_a_note_before_the_others() -> None:
    plan = plan_of(parameters={"lr": [0.1, 0.01]})
    note = (
        "parameters.lr: is one constant list."
        " Write {values: [0.1, 0.01]} for a choice, or {value: [0.1, 0.01]} if the list is meant."
    )
    assert list(plan.notes) == [note, NO_GPU] == to_dict(plan)["notes"]
    assert "Note: parameters.lr: is one constant list." in printed(plan)


def test_many_rungs_are_printed_short() -> None:
    assert "asha after epochs 1, 3, 9, 27, 81, 243, 729, 2187, ...\n" in printed(plan_of(early_terminate=ASHA))


def test_the_plan_as_json_has_every_field() -> None:
    plan = plan_of(early_terminate=ASHA, limits={"epochs": 9})
    tree = json.loads(json.dumps(to_dict(plan)))
    assert tree.keys() == Plan.__dataclass_fields__.keys()
    assert (tree["rungs"], tree["request"]) == ([1, 3], {"cpu": 1.0, "gpu": 0.0, "workers": 1})
    augment = {"name": "augment", "kind": "constant", "values": "true", "when": None, "size": 1, "grid_points": 1}
    assert tree["space"][0] == augment


def test_a_number_of_points_with_thousands_of_digits_is_rounded_in_print_and_null_in_json() -> None:
    parameters = {f"p{i}": {"min": 0, "max": 2**52} for i in range(400)}
    plan = plan_of(parameters=parameters)
    assert "Space: about 10^6261 points, grid about 10^6261\n" in printed(plan)
    assert json.loads(json.dumps(to_dict(plan)))["space_size"] is None


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    plan = plan_of(parameters={"x[bold]": {"values": ["\x1b[2J", "\x9b2J", "[red]"]}}, trainable="m\x1b:f")
    text = printed(plan)
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "x[bold]" in text
    assert '"[red]"' in text


def test_conditions_constraints_and_computed_parameters_are_shown() -> None:
    parameters = {
        "n": {"min": 1, "max": 1000},
        "m": {"min": 1, "max": 1000, "when": {"n": [1, 2]}},
        "sum": {"expr": "n + 1"},
    }
    plan = plan_of(parameters=parameters, constraints=["sum > 1"], initial_points=[{"n": 1, "m": 3}])
    assert [(row.kind, row.values, row.when) for row in plan.space[1:]] == [
        ("integer", "1 .. 1000", "when n = 1 | 2"),
        ("computed", "= n + 1", None),
    ]
    assert (plan.space_size, plan.is_counted, plan.constraints, plan.initial_points) == (2998, True, ("sum > 1",), 1)
    assert "holds       sum > 1\nfirst       initial_points of the spec: 1\n" in printed(plan)
    large = plan_of(parameters={**parameters, "k": {"min": 1, "max": 9}}, constraints=["sum > 1"])
    assert "Space: at most 26,982 points, grid at most 26,982\n" in printed(large)


@pytest.mark.parametrize(
    ("limits", "rule", "is_recommended"),
    [
        ({"trials": 9, "epochs": 9}, {"type": "none"}, True),
        ({"trials": 9, "epochs": 9}, {"type": "asha"}, False),
        ({"trials": 8, "epochs": 9}, {"type": "none"}, False),
        ({"trials": 9, "epochs": 8}, {"type": "none"}, False),
        ({"trials": 9}, {"type": "none"}, False),
    ],
)
def test_a_stopping_rule_is_recommended_where_it_would_save_much(
    limits: dict[str, int], rule: dict[str, Any], is_recommended: bool
) -> None:
    advice = [note for note in plan_of(limits=limits, early_terminate=rule).notes if "a stopping rule" in note]
    assert bool(advice) is is_recommended
    assert not advice or advice[0].startswith("all 9 trials train 9 epochs; a stopping rule finds as much")
