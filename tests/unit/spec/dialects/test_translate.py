"""Specs of other tools: W&B's sweep files, whose published schema is the specification, and Ray Tune's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from scipy import stats

from hpsearch.errors import SpecError
from hpsearch.spec.dialects.translate import other_spellings, translate
from hpsearch.spec.parts import Metric
from hpsearch.spec.sweep import Sweep
from hpsearch.spec.yaml_writer import dump_yaml
from hpsearch.trainable.arguments import DEFAULT, command_line

NUM_DRAWS = 2000
MAX_DISTANCE = 1.95 / math.sqrt(NUM_DRAWS)
"""Kolmogorov and Smirnov's distance that one sample in a thousand exceeds; rounded values exceed it more seldom."""
WANDB: dict[str, Any] = {
    "program": "train.py",
    "method": "bayes",
    "metric": {"name": "val/loss"},
    "parameters": {"lr": {"distribution": "uniform", "min": 0, "max": 1}},
}
Cdf = Callable[[Any], Any]


def sweep_of(**changes: Any) -> Sweep:
    return Sweep.from_dict({**WANDB, **changes})


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        Sweep.from_dict({**WANDB, **changes})
    return str(caught.value).splitlines()


def even(low: float, high: float) -> Any:
    return stats.uniform(low, high - low)


def rounded(cdf: Cdf, q: float) -> Cdf:
    return lambda x: cdf(numpy.round(x / q) * q + q / 2)


LOG = even(math.log(2), math.log(100))
DISTRIBUTIONS: list[tuple[dict[str, Any], Cdf, type]] = [
    ({"distribution": "uniform", "min": 1, "max": 5}, even(1, 5).cdf, float),
    ({"min": 1.0, "max": 5}, even(1, 5).cdf, float),
    ({"distribution": "int_uniform", "min": 3, "max": 9}, stats.randint(3, 10).cdf, int),
    ({"min": 3, "max": 9}, stats.randint(3, 10).cdf, int),
    ({"distribution": "q_uniform", "min": 1, "max": 20, "q": 4}, rounded(even(1, 20).cdf, 4), int),
    ({"distribution": "q_uniform", "min": 0, "max": 9}, rounded(even(0, 9).cdf, 1), float),
    ({"distribution": "log_uniform", "min": -9.2, "max": -2.3}, lambda x: even(-9.2, -2.3).cdf(numpy.log(x)), float),
    ({"distribution": "log_uniform_values", "min": 2, "max": 100}, lambda x: LOG.cdf(numpy.log(x)), float),
    ({"distribution": "inv_log_uniform", "min": 1, "max": 4}, lambda x: 1 - even(1, 4).cdf(numpy.log(1 / x)), float),
    ({"distribution": "inv_log_uniform_values", "min": 2, "max": 100}, lambda x: LOG.cdf(numpy.log(x)), float),
    (
        {"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2},
        rounded(lambda x: even(0, 5).cdf(numpy.log(x)), 2),
        int,
    ),
    (
        {"distribution": "q_log_uniform_values", "min": 2, "max": 100, "q": 0.5},
        rounded(lambda x: LOG.cdf(numpy.log(x)), 0.5),
        float,
    ),
    ({"distribution": "normal", "mu": 3, "sigma": 0.5}, stats.norm(3, 0.5).cdf, float),
    ({"distribution": "normal"}, stats.norm(0, 1).cdf, float),
    ({"distribution": "q_normal", "mu": 10, "sigma": 4, "q": 3}, rounded(stats.norm(10, 4).cdf, 3), int),
    ({"distribution": "log_normal", "mu": -2, "sigma": 1.5}, stats.lognorm(1.5, scale=math.exp(-2)).cdf, float),
    ({"distribution": "log_normal"}, stats.lognorm(1).cdf, float),
    (
        {"distribution": "q_log_normal", "mu": 3, "sigma": 1, "q": 8},
        rounded(stats.lognorm(1, scale=math.exp(3)).cdf, 8),
        int,
    ),
    ({"distribution": "beta", "a": 2, "b": 5}, stats.beta(2, 5).cdf, float),
    ({"distribution": "beta"}, stats.beta(1, 1).cdf, float),
    ({"distribution": "q_beta", "a": 2, "b": 0.7, "q": 0.05}, rounded(stats.beta(2, 0.7).cdf, 0.05), float),
    ({"distribution": "categorical", "values": [1, 2, 3, 4]}, stats.randint(1, 5).cdf, int),
    (
        {"distribution": "categorical_w_probabilities", "values": [0, 1, 7], "probabilities": [0.2, 0.8, 0]},
        stats.bernoulli(0.8).cdf,
        int,
    ),
    ({"values": [0, 1], "probabilities": [0.2, 0.8]}, stats.bernoulli(0.8).cdf, int),
    ({"distribution": "constant", "value": 5}, lambda x: x >= 5, int),
    ({"distribution": "normal", "mu": 5.0, "sigma": 0}, lambda x: x >= 5, float),
]


def distance(draws: list[Any], cdf: Cdf) -> float:
    """Kolmogorov and Smirnov's: the largest difference between the share of draws up to a value and its definition."""
    values, counts = numpy.unique(numpy.array(draws, dtype=float), return_counts=True)
    return float(numpy.max(numpy.abs(numpy.cumsum(counts) / len(draws) - cdf(values))))


@pytest.mark.parametrize(("words", "cdf", "kind"), DISTRIBUTIONS, ids=[str(row[0]) for row in DISTRIBUTIONS])
@pytest.mark.parametrize("nested", [False, True])
def test_a_distribution_is_drawn_as_it_is_defined(words: dict[str, Any], cdf: Cdf, kind: type, nested: bool) -> None:
    tree = {"outer": {"parameters": {"x": words}}} if nested else {"x": words}
    space = sweep_of(parameters=tree).space
    (name,) = space.domains
    rng = random.Random(7)
    draws = [space.draw(rng)[name] for _ in range(NUM_DRAWS)]
    assert name == ("outer.x" if nested else "x")
    assert {type(value) for value in draws} == {kind}
    assert all(space.contains({name: value}) for value in draws[:200])
    assert distance(draws, cdf) < MAX_DISTANCE


def test_a_wrong_distribution_would_be_noticed() -> None:
    rng = random.Random(7)
    assert distance([rng.gauss(0.1, 1) for _ in range(NUM_DRAWS)], stats.norm(0, 1).cdf) > MAX_DISTANCE


def test_names_and_maps_nest_as_they_do_for_wandb() -> None:
    tree = {
        "model.width": {"values": [1, 2]},
        "model": {"parameters": {"depth": {"value": 3}, "head": {"parameters": {"bias": {"values": [True, False]}}}}},
        "optimizer": {"parameters": {"parameters": {"values": [1, 2]}}},
    }
    space = sweep_of(parameters=tree).space
    assert list(space.domains) == ["model.width", "model.depth", "model.head.bias", "optimizer.parameters"]
    assert mistakes(parameters={"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 2}}}}) == [
        "parameters.a: the name is there twice, nested and with dots. Keep one."
    ]


def test_a_whole_wandb_file_loads_unchanged_and_means_the_same_in_hpsearchs_keys() -> None:
    sweep = sweep_of(
        name="My first sweep!",
        project="vision",
        entity="team",
        description="all of it",
        controller={"type": "local"},
        run_cap=30,
        metric={"name": "val/loss", "goal": "maximize", "impute": "worst"},
        early_terminate={"type": "hyperband", "s": 2, "eta": 3, "max_iter": 27, "strict": True},
        command=["${env}", "${interpreter}", "${program}", "--data=here", "${args_no_boolean_flags}"],
    )
    assert sweep.name == "My-first-sweep"
    assert (sweep.trainable, sweep.arguments) == ("train.py", ["--data=here", "${args_no_boolean_flags}"])
    assert (sweep.method, sweep.metric.name, sweep.metric.goal) == ("optuna", "val/loss", "maximize")
    assert (sweep.max_trials, sweep.max_epochs) == (30, 27)
    rule = sweep.early_terminate
    assert (rule.type, rule.min_iter, rule.eta) == ("asha_stop", 3, 3)
    assert sweep.notes == {
        "project": "vision", "entity": "team", "description": "all of it", "controller": {"type": "local"},
        "name": "My first sweep!",
    }  # fmt: skip
    assert Sweep.from_dict(sweep.to_dict()) == sweep


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"min_iter": 3}, (3, 3, None)),
        ({"min_iter": 2, "eta": 2.0}, (2, 2, None)),
        ({"max_iter": 100, "s": 2}, (12, 3, 100)),
        ({"max_iter": 9, "s": 9, "eta": 3}, (1, 3, 9)),
    ],
)
def test_wandbs_hyperband_is_the_rule_that_stops_at_its_bands(rule: dict[str, Any], expected: tuple[Any, ...]) -> None:
    sweep = sweep_of(early_terminate={"type": "hyperband", **rule})
    found = sweep.early_terminate
    assert (found.type, found.min_iter, found.eta, sweep.max_epochs) == ("asha_stop", *expected)


@pytest.mark.parametrize("name", ["hyperband", "HyperBandScheduler"])
@pytest.mark.parametrize("program", [{}, {"program": "train.py"}])
def test_rays_hyperband_is_hyperband_beside_keys_of_wandb_too(name: str, program: dict[str, str]) -> None:
    ray = {
        "metric": "loss",
        "mode": "min",
        "scheduler": name,
        "max_t": 27,
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    }
    assert Sweep.from_dict({**ray, **program}).early_terminate.type == "hyperband"


def test_a_goal_that_a_wandb_file_leaves_out_is_to_minimise_and_ours_must_say_it() -> None:
    assert sweep_of().metric.goal == "minimize"
    with pytest.raises(SpecError, match="'goal' is missing"):
        Sweep.from_dict({"metric": {"name": "loss"}, "parameters": {"lr": {"min": 0.1, "max": 1.0}}})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"run_cap": "many"}, "run_cap: expected a whole number, got the text 'many'. Write for example 12."),
        (
            {"limits": {"trials": 3}, "run_cap": 4},
            "run_cap: the key means the same as limits.trials, which is there too. Keep one of them.",
        ),
        (
            {"metric": {"name": "loss", "target": 0.1}},
            "metric.target: a sweep can't end at a value of the metric, only by its limits.",
        ),
        ({"method": "custom"}, "method: a custom optimizer can't be used. Write for example optuna."),
        ({"job": "a/b"}, "job: a launch job runs on W&B's own queues. Write program: and its script."),
        (
            {"command": ["mpirun", "-n", "2", "${program}"]},
            "command: 'mpirun' can't start the script, which hpsearch starts itself. Remove it; for several"
            " processes, write resources: {workers: 2}.",
        ),
        (
            {"parameters": {"layers": [{"distribution": "int_uniform", "min": 16, "max": 64}, {"value": 8}]}},
            "parameters.layers.0: a list is a constant, so the map {'distribution': 'int_uniform', 'min': 16, 'max'",
        ),
        (
            {"parameters": {"model.layers": [8, {"values": [8, 16]}]}},
            "parameters.model.layers.1: a list is a constant, so the map {'values': [8, 16]} in it would not be",
        ),
        ({"command": ["${program}", "${arsg}"]}, "command: unknown macro '${arsg}'. Did you mean 'args'? Known:"),
        (
            {"parameters": {"a": {"parameters": {"x": {"distribution": "log_uniform", "min": "low", "max": 1}}}}},
            "parameters.a.parameters.x.min: expected a number, got the text 'low'. Write for example 1e-4.",
        ),
        (
            {"parameters": {"x": {"distribution": "unifrom", "min": 0, "max": 1}}},
            "parameters.x.distribution: unknown distribution the text 'unifrom'. Did you mean 'uniform'?",
        ),
        (
            {"parameters": {"x": {"distribution": "normal", "sigma": -1}}},
            "parameters.x.sigma: expected a number above 0, got -1.",
        ),
        (
            {"parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}}},
            "parameters.x.q: expected a number above 0, got 0.",
        ),
        (
            {"parameters": {"x": {"distribution": "int_uniform"}}},
            "parameters.x: 'min' is missing, which int_uniform needs.",
        ),
        (
            {"parameters": {"x": {"distribution": "categorical"}}},
            "parameters.x: 'values' is missing, which categorical needs.",
        ),
        (
            {"parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 10**400}}},
            "parameters.x.max: expected a whole number of at most 2**52",
        ),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2.5}},
            "early_terminate.eta: expected a whole number above 1",
        ),
    ],
)  # fmt: skip
def test_what_cant_be_translated_is_reported_where_it_was_written(changes: dict[str, Any], sentence: str) -> None:
    (found,) = mistakes(**changes)
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("command", "script", "arguments"),
    [
        (["python", "-m", "jobs.train", "--tiny"], "jobs/train.py", ("--tiny",)),
        (["${env}", "python3", "other.py", "${args}"], "other.py", ("${args}",)),
        (["${program}", "out=runs/${now:%H-%M}_${oc.env:USER}"], "train.py", ("out=runs/${now:%H-%M}_${oc.env:USER}",)),
    ],
)
def test_a_command_may_name_the_script_itself(command: list[str], script: str, arguments: tuple[str, ...]) -> None:
    sweep = sweep_of(command=command)
    assert (sweep.trainable, tuple(sweep.arguments or DEFAULT)) == (script, arguments)
    alone = {key: value for key, value in WANDB.items() if key != "program"}
    if "${program}" not in command:
        assert Sweep.from_dict({**alone, "command": command}).trainable == script


@pytest.mark.parametrize(
    ("command", "item", "items"),
    [
        (["python train.py", "${args}"], "python train.py", "python, train.py"),
        (
            ["${env} python ${program} ${args}"],
            "${env} python ${program} ${args}",
            "${env}, python, ${program}, ${args}",
        ),
        (["${env}", "torchrun --standalone", "${program}"], "torchrun --standalone", "torchrun, --standalone"),
        (["python", "${program} ${args}"], "${program} ${args}", "${program}, ${args}"),
    ],
)
def test_several_words_in_one_item_of_a_command_are_a_mistake(command: list[str], item: str, items: str) -> None:
    message = f"command: '{item}' is one item, and an item is one word of the command. Write [{items}, ...]."
    assert mistakes(command=command) == [message]


def test_the_name_of_a_script_may_contain_blanks() -> None:
    assert sweep_of(program="my train.py", command=["python", "${program}"]).trainable == "my train.py"
    assert sweep_of(program="x.py", command=["python", "my train.py", "python is fine"]).trainable == "my train.py"


def test_what_is_no_macro_of_ours_reaches_the_script_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN", "yes")
    assert command_line({}, ["a=${now:%H}", "b=${envvar:SEEN}"]) == ["a=${now:%H}", "b=yes"]


@pytest.mark.parametrize("method", ["grid", "random"])
def test_a_search_that_needs_no_metric_ranks_by_loss(method: str) -> None:
    tree = {"program": "train.py", "method": method, "parameters": {"seed": {"values": [1, 2]}}}
    assert Sweep.from_dict(tree).metric == Metric(name="loss", goal="minimize")
    for needs_one in ({"method": "bayes"}, {"early_terminate": {"type": "hyperband", "min_iter": 3}}):
        with pytest.raises(SpecError, match="'metric' is missing"):
            Sweep.from_dict({**tree, **needs_one})


def test_a_fractional_eta_is_reported_with_the_next_whole_one() -> None:
    (found,) = mistakes(early_terminate={"type": "hyperband", "min_iter": 1, "eta": 2.5})
    assert found.endswith("got 2.5. Write eta: 3.")


def test_a_name_with_a_part_that_is_a_key_of_ranges_is_a_mistake() -> None:
    (found,) = mistakes(parameters={"warm.value": {"values": [1, 2]}})
    assert found == "parameters.warm.value: the part 'value' of the name is a key of ranges. Rename the parameter."


RAY: dict[str, Any] = {
    "metric": "loss",
    "mode": "max",
    "num_samples": 12,
    "time_budget_s": 60,
    "max_concurrent_trials": 2,
    "max_t": 9,
    "grace_period": 2,
    "reduction_factor": 4.0,
    "resources_per_trial": {"cpu": 2},
    "param_space": {"x": {"values": [1, 2]}},
}


def test_rays_keys_mean_what_they_mean_to_ray() -> None:
    sweep = Sweep.from_dict(RAY)
    assert (sweep.metric.name, sweep.metric.goal) == ("loss", "maximize")
    assert (sweep.limits.trials, sweep.limits.time_s, sweep.limits.concurrent, sweep.max_epochs) == (12, 60, 2, 9)
    rule = sweep.early_terminate
    assert (rule.type, rule.min_iter, rule.eta) == ("asha", 2, 4)
    assert sweep.resources.cpu == 2
    with pytest.raises(SpecError, match="num_samples: expected a number of at least 1, got -1"):
        Sweep.from_dict({**RAY, "num_samples": -1})


@pytest.mark.parametrize("tree", [WANDB, RAY])
def test_our_own_spelling_stays_as_it_is(tree: dict[str, Any]) -> None:
    ours = translate(tree).tree
    again = translate(ours)
    assert (again.tree, again.moved, again.problems) == (ours, {}, ())
    assert Sweep.from_dict(ours) == Sweep.from_dict(tree)
    dump_yaml(Sweep.from_dict(tree).to_dict())


HOSTILE: list[dict[str, Any]] = [
    {"parameters": {1: {2: []}}, "program": 1},
    {"metric": 1, "mode": []},
    {"early_terminate": [], "max_t": {}},
    {"stop": {"training_iteration": 1}, "limits": 3},
    {"program": None, "notes": 1},
    {"command": {}, "scheduler": []},
    {"parameters": {"a": {"distribution": "beta", "q": "x"}}, "project": "p"},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=str)
def test_nonsense_is_reported_and_never_raises(hostile: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Sweep.from_dict(hostile)


def test_a_key_replaces_all_its_spellings() -> None:
    assert ("run_cap",) in other_spellings(("limits", "trials"))
    assert ("limits", "trials") in other_spellings(("num_samples",))
    assert other_spellings(("seed",)) == []
