"""Conditions, computed parameters, constraints and initial points: what they mean and every way to get them wrong."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.errors import Problem, SpecError
from hpsearch.space.conditions import CycleError, sorted_by_dependency
from hpsearch.space.lattice import Lattice
from hpsearch.space.parser import parse_space
from hpsearch.space.space import Space
from hpsearch.spec.file import load_sweep
from hpsearch.spec.sweep import Sweep

GOLDEN = Path(__file__).parents[2] / "golden"
SPEC = GOLDEN / "conditional.yaml"


def space_of(parameters: dict[str, Any], *constraints: str) -> Space:
    found: list[Problem] = []
    space = parse_space(parameters, found, constraints=list(constraints))
    assert found == []
    return space


def sweep_of(parameters: dict[str, Any], **keys: Any) -> Sweep:
    return Sweep.from_dict({"metric": {"name": "loss", "goal": "minimize"}, "parameters": parameters, **keys})


def mistakes(parameters: dict[str, Any], **keys: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        sweep_of(parameters, **keys)
    return str(caught.value).splitlines()


OPTIMIZER: dict[str, Any] = {
    "momentum": {"min": 0.8, "max": 0.95, "step": 0.1, "when": {"name": "sgd"}},
    "name": {"values": ["sgd", "adamw", "lion"]},
    "nesterov": {"values": [True, False], "when": {"momentum2": [1, 2]}},
    "momentum2": {"min": 1, "max": 4, "when": {"name": ["sgd", "lion"]}},
}


def test_points_are_each_listed_once_with_their_active_parameters_in_the_order_of_the_spec() -> None:
    space = space_of(OPTIMIZER)
    points = list(space.points())
    sgd, lion = (2 * (2 * 2 + 2), 2 * 2 + 2)
    assert len(points) == len({space.key(point) for point in points}) == space.size == sgd + lion + 1
    assert all(space.contains(point) for point in points)
    assert all(list(point) == [name for name in OPTIMIZER if name in point] for point in points)
    assert {"name": "adamw"} in points


def test_draws_are_points_and_reach_them_all() -> None:
    space = space_of(OPTIMIZER)
    rng = random.Random(0)
    drawn = {space.key(space.draw(rng)) for _ in range(1000)}
    assert drawn == {space.key(point) for point in space.points()}


def test_a_condition_on_one_of_2_to_the_52_numbers_is_counted_without_listing_them() -> None:
    space = space_of({"n": {"min": 0, "max": 2**52}, "a": {"values": [1, 2, 3], "when": {"n": [5, 9]}}})
    assert space.size == 2**52 + 1 + 2 * 2
    assert [space.point_at(index) for index in (0, 5, 6)] == [{"n": 5, "a": 1}, {"n": 9, "a": 3}, {"n": 0}]
    assert space.point_at(space.size - 1) == {"n": 2**52}


def test_many_independent_conditions_are_counted_by_arithmetic() -> None:
    tree: dict[str, Any] = {f"p{i}": {"values": [True, False]} for i in range(60)}
    tree |= {f"c{i}": {"values": [1, 2], "when": {f"p{i}": True, "on": True}} for i in range(60)}
    space = space_of({"on": {"values": [True, False]}, **tree})
    assert space.size == 3**60 + 2**60
    assert space.contains(space.point_at(3**60) or {})


def test_a_lattice_numbers_what_a_product_filtered_by_hand_has() -> None:
    space = space_of({
        "a": {"values": [0, 1, 2]},
        "b": {"values": [0, 1], "when": {"a": [1, 2]}},
        "c": {"values": [0, 1], "when": {"a": 1, "b": 1}},
        "d": {"values": [0, 1], "when": {"e": 0, "c": 0}},
        "e": {"values": [0, 1]},
    })  # fmt: skip
    by_hand = {space.key(space.complete(dict(zip("abcde", values, strict=True))))
               for values in itertools.product(range(3), *[range(2)] * 4)}  # fmt: skip
    assert {space.key(point) for point in space.points()} == by_hand
    assert space.size == len(by_hand)


def test_a_grid_with_a_count_misses_conditions_on_numbers_that_are_not_its_points() -> None:
    space = space_of({"n": {"min": 0, "max": 10, "count": 3}, "a": {"values": [1, 2], "when": {"n": [1, 10]}}})
    assert list(space.on_grid.points()) == [{"n": 10, "a": 1}, {"n": 10, "a": 2}, {"n": 0}, {"n": 5}]
    assert space.size == 11 + 2


def test_computed_parameters_are_computed_in_the_order_of_their_dependence() -> None:
    space = space_of({"c": {"expr": "b + 1"}, "b": {"expr": "a * 2"}, "a": {"values": [1, 2]}})
    assert list(space.points()) == [{"c": 3, "b": 2, "a": 1}, {"c": 5, "b": 4, "a": 2}]
    assert not space.contains({"c": 4, "b": 2, "a": 1})
    assert space.key({"c": 3, "b": 2, "a": 1}) == space.key({"a": 1})


def test_constraints_are_met_and_one_on_an_inactive_parameter_is() -> None:
    space = space_of({"k": {"values": ["a", "b"]}, "n": {"min": 1, "max": 9, "when": {"k": "a"}}}, "n > 7")
    assert list(space.points()) == [{"k": "a", "n": 8}, {"k": "a", "n": 9}, {"k": "b"}]
    assert (space.size, space.is_counted) == (3, True)
    assert not space.contains({"k": "a", "n": 7})


def test_a_large_constrained_space_has_an_upper_bound_for_its_size() -> None:
    space = space_of({"a": {"min": 1, "max": 1000}, "b": {"min": 1, "max": 1000}}, "a < b")
    assert (space.size, space.is_counted, space.point_at(0)) == (10**6, False, None)
    assert all(point["a"] < point["b"] for point in (space.draw(random.Random(seed)) for seed in range(50)))


def test_a_grid_counts_the_points_that_meet_the_constraints() -> None:
    sweep = sweep_of({"a": {"min": 1, "max": 4}, "b": {"values": [1, 2, 3]}}, method="grid", constraints=["a <= b"])
    assert (sweep.max_trials, sweep.space.grid_size) == (6, 6)


def test_a_sweep_with_the_whole_language_survives_its_dict() -> None:
    sweep = load_sweep(SPEC)
    again = Sweep.from_dict(sweep.to_dict())
    assert (again, again.to_dict(), again.space) == (sweep, sweep.to_dict(), sweep.space)
    assert sweep.with_values(constraints=[]).space.constraints == ()


def test_the_best_point_of_a_conditional_space_is_a_spec_of_constants() -> None:
    from hpsearch.space.space import to_config

    space = load_sweep(SPEC).space
    point = space.draw(random.Random(0))
    assert list(sweep_of(to_config(point)).space.points()) == [point]


def test_the_first_configurations_are_printed_and_nothing_is_started() -> None:
    done = CliRunner().invoke(app, ["sweep", str(SPEC), "--dry-run", "-n", "5"])
    assert (done.exit_code, done.stdout) == (0, (GOLDEN / "conditional.jsonl").read_text())
    sampled = CliRunner().invoke(app, ["validate", str(SPEC), "--sample", "5"])
    assert sampled.stdout.endswith("First 5 configurations:\n" + done.stdout)
    assert not Path("sweeps/conditional").exists()


CHOICE = {"k": {"values": ["sgd", "adamw"]}, "x": {"min": 0.5, "max": 1.0}, "n": {"min": 1, "max": 9}}
WHEN = "parameters.a.when"
MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    ({"when": 3}, [
        f"{WHEN}: expected a map of names to values, got 3. Write for example when: {{optimizer.name: sgd}}."
    ]),
    ({"when": {}}, [
        f"{WHEN}: expected a map of names to values, got the map {{}}. Write for example when: {{optimizer.name: sgd}}."
    ]),
    ({"when": {"kk": 1}}, [f"{WHEN}.kk: unknown parameter 'kk'. Did you mean 'k'?"]),
    ({"when": {"deep": 1}}, [
        f"{WHEN}.deep: unknown parameter 'deep'. Did you mean 'inner.deep'? Write names in full."
    ]),
    ({"when": {"k": "sgdd"}}, [
        f"{WHEN}.k: 'k' is never the text 'sgdd'. Did you mean 'sgd'? Its values: \"sgd\" | \"adamw\"."
    ]),
    ({"when": {"n": 10}}, [f"{WHEN}.n: 'n' is never 10. Its values: 1 .. 9."]),
    ({"when": {"n": 1.0}}, [f"{WHEN}.n: 'n' is never 1.0. Its values: 1 .. 9."]),
    ({"when": {"n": []}}, [f"{WHEN}.n: expected at least one value, got an empty list: never active. Write a value."]),
    ({"when": {"x": 0.5}}, [
        f"{WHEN}.x: expected a parameter with a list of values or whole numbers, got 'x', which is a range of"
        " floating-point numbers. List its values."
    ]),
    ({"when": {"a": 1}}, [
        "parameters.a: parameters depend on each other in a cycle: a -> a. Break it."
    ]),
    ({"expr": "n * mm"}, ["parameters.a.expr: unknown parameter 'mm'."]),
    ({"expr": 3}, ['parameters.a.expr: expected text, got 3. Write for example expr: "5 * 50000 // batch_size".']),
    ({"expr": "n", "value": 3}, ["parameters.a: value and expr can't be combined. Keep one of them."]),
    ({"expr": "n", "log": True}, ["parameters.a.log: 'log' has no effect with 'expr'. Remove it."]),
    ({"expr": "a + 1"}, ["parameters.a: parameters depend on each other in a cycle: a -> a. Break it."]),
    ({"expr": "c"}, [
        "parameters.a.expr: 'c' is not always active where this parameter is computed. Add the same when: {k: \"sgd\"}."
    ]),
    ({"expr": "c", "when": {"k": "sgd"}}, []),
    ({"expr": "1 / (n - 5)"}, ["parameters.a.expr: the expression can't be computed at n = 5: division by zero."]),
    ({"when": {"k": "sgd"}, "lr": 1}, [
        "parameters.a.when: expected a parameter beside 'when', got a map of parameters. Give each parameter its"
        " own 'when'."
    ]),
    ({"value": 1, "when": {"c": 1, "k": "adamw"}}, [
        "parameters.a.when: the parameter is never active: its conditions and those of its parents contradict each"
        " other on 'k'."
        " Remove one."
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "sentences"), MISTAKES, ids=[str(tree) for tree, _ in MISTAKES])
def test_a_mistake_is_one_sentence_at_its_place(tree: dict[str, Any], sentences: list[str]) -> None:
    value = {"values": [1, 2]} if tree.keys() == {"when"} else {}
    parameters = {
        **CHOICE, "inner": {"deep": 1}, "c": {"min": 1, "max": 3, "when": {"k": "sgd"}}, "a": {**value, **tree},
    }  # fmt: skip
    found: list[Problem] = []
    space = parse_space(parameters, found)
    if not found and any("computed at" in sentence for sentence in sentences):
        assert mistakes(parameters) == sentences
    else:
        assert [str(problem) for problem in found] == sentences
        assert space.domains


@pytest.mark.parametrize(
    ("constraint", "sentence"),
    [
        (3, "constraints.0: expected text, got 3. Put it in quotes."),
        ("n <", "constraints.0: invalid syntax. Write for example 5 * 50000 // batch_size."),
        ("m < 3", "constraints.0: unknown parameter 'm'."),
        (
            "1 < 3",
            "constraints.0: expected an expression with a parameter, got the text '1 < 3'. Use a parameter in it, or"
            " remove it.",
        ),
        (
            "n + 1",
            "constraints.0: the expression can't be computed at n = 7: expected true or false as the result, got 8.",
        ),
        ("k < 3", "constraints.0: the expression can't be computed at k = \"adamw\": < takes numbers, got 'adamw'."),
        ("n > 9", "constraints: only 0 of 10000 draws (0.00%) met the constraints, too few for a search."
                  " Loosen them, or narrow the ranges."),
        ("x > 0.9999", "constraints: only 1 of 10000 draws (0.01%) met the constraints, too few for a search."
                       " Loosen them, or narrow the ranges."),
    ],
)  # fmt: skip
def test_a_wrong_constraint_is_reported(constraint: Any, sentence: str) -> None:
    assert mistakes(CHOICE, constraints=[constraint]) == [sentence]


def test_a_small_space_in_which_nothing_is_allowed_is_refused() -> None:
    assert mistakes({"n": {"min": 1, "max": 9}}, constraints=["n > 9"]) == [
        "constraints: no point meets the constraints. Loosen them."
    ]


def test_a_grid_of_which_no_point_is_allowed_is_refused() -> None:
    parameters = {"x": {"min": 0.0, "max": 1.0, "count": 2}}
    assert sweep_of(parameters, constraints=["0 < x < 1"]).max_trials == 20
    assert mistakes(parameters, method="grid", constraints=["0 < x < 1"]) == [
        "constraints: no point meets the constraints. Loosen them."
    ]


@pytest.mark.parametrize("constraints", ["n > 1", {"n": 1}, None])
def test_constraints_must_be_a_list(constraints: Any) -> None:
    assert "expected a list" in mistakes(CHOICE, constraints=constraints)[0]


INITIAL: list[tuple[Any, str]] = [
    (3, "initial_points.0: expected a map, got 3."),
    ({"m": 3}, "initial_points.0.m: unknown parameter 'm'."),
    ({"opt": {"nam": 3}}, "initial_points.0.opt.nam: unknown parameter 'opt.nam'. Did you mean 'opt.name'?"),
    ({"opt.name": "lion"}, 'initial_points.0.opt.name: expected "sgd" | "adamw", got the text \'lion\'.'),
    ({"n": 10}, "initial_points.0.n: expected 1 .. 9, got 10."),
    ({"twice": 2}, "initial_points.0.twice: 'twice' is computed (= 2 * n) and can't be set. Remove it."),
    ({"opt": {"name": "adamw", "momentum": 0.9}},
     "initial_points.0: 'opt.momentum' is inactive if opt.name is \"adamw\"."
     " Remove it, or set opt.name to \"sgd\"."),
    ({"n": 4}, "initial_points.0: the point violates the constraint 'twice != 8'. Change one of them."),
]  # fmt: skip


@pytest.mark.parametrize(("point", "sentence"), INITIAL)
def test_a_wrong_initial_point_is_reported(point: Any, sentence: str) -> None:
    momentum = {"min": 0.8, "max": 0.99, "when": {"opt.name": "sgd"}}
    parameters = {
        "opt": {"name": {"values": ["sgd", "adamw"]}, "momentum": momentum},
        "n": {"min": 1, "max": 9}, "twice": {"expr": "2 * n"},
    }  # fmt: skip
    assert mistakes(parameters, constraints=["twice != 8"], initial_points=[point]) == [sentence]


def test_a_grid_takes_only_grid_points_to_begin_with() -> None:
    parameters = {"x": {"min": 0.0, "max": 1.0, "count": 3}, "n": {"min": 1, "max": 3}}
    assert sweep_of(parameters, method="grid", initial_points=[{"x": 1}]).first_points == ({"x": 1.0},)
    assert mistakes(parameters, method="grid", initial_points=[{"x": 0.3}]) == [
        "initial_points.0.x: expected a point of the grid, 0.0 | 0.5 | 1.0, got 0.3."
    ]


def test_conditions_that_make_too_many_cases_are_refused() -> None:
    parents: dict[str, Any] = {f"p{i}": {"values": [1, 2]} for i in range(20)}
    child = {"c": {"values": [1, 2], "when": dict.fromkeys(parents, 1)}}
    pairs = {f"d{a}{b}": {"value": 0, "when": {a: 1, b: 1}} for a, b in itertools.combinations(parents, 2)}
    assert space_of({**parents, **child}).size == 2**20 + 1
    found: list[Problem] = []
    parse_space({**parents, **pairs}, found)
    assert [str(problem) for problem in found] == [
        "parameters: the conditions result in too many cases to count. Use fewer conditions, or nest them less."
    ]


def test_an_order_has_dependencies_first_and_shows_a_cycle() -> None:
    assert sorted_by_dependency("abc", {"a": ["c"], "c": ["b"]}) == ("b", "c", "a")
    with pytest.raises(CycleError, match="b -> c -> b"):
        sorted_by_dependency("abc", {"a": ["b"], "b": ["c"], "c": ["b"]})
    chain = {str(i): [str(i + 1)] for i in range(5000)}
    assert sorted_by_dependency(map(str, range(5001)), chain)[0] == "5000"


def test_an_empty_lattice_has_one_point() -> None:
    assert (Lattice({}, {}).size, Lattice({}, {}).at(0)) == (1, {})
