"""Names of methods, samplers and rules that other tools have: the error says what to write."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.other_names import RULES, SEARCHES
from hpsearch.spec.sweep import SAMPLERS, Sweep

SPEC: dict[str, Any] = {"metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2]}}}
METHODS = "Known: grid, random, optuna, hyperopt, controller."
TYPES = "Known: none, asha, asha_stop, hyperband, median."


def mistake(**changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Sweep.from_dict({**SPEC, **changes})
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "advice"),
    [
        ("bayesian", "Write method: optuna."),
        ("Bayesian", "Write method: optuna."),
        ("TPE", "Write method: optuna, whose sampler is tpe."),
        ("gp", "Write method: optuna and sampler: gp."),
        ("sobol", "Write method: optuna and sampler: qmc."),
        ("CmaEsSampler", "Write method: optuna and sampler: cmaes."),
        ("evolution", "Write method: controller and sampler: evolution."),
        ("bohb", "Write method: optuna and early_terminate: {type: hyperband}."),
        ("asha", "Write early_terminate: {type: asha}, beside any method."),
        ("random_search", "Write method: random."),
        ("PBT", "Rules that change a configuration while it trains have no counterpart here."),
        ("OPTUNA", "Did you mean 'optuna'?"),
        ("optunna", "Did you mean 'optuna'?"),
    ],
)
def test_a_method_of_another_name_is_pointed_to(method: str, advice: str) -> None:
    assert mistake(method=method) == f"method: unknown method '{method}'. {advice} {METHODS}"


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        ("ASHA", "Did you mean 'asha'?"),
        ("HyperBand", "Did you mean 'hyperband'?"),
        ("successive_halving", "Write type: asha."),
        ("SuccessiveHalvingPruner", "Write type: asha."),
        ("HyperbandPruner", "Write type: hyperband."),
        ("MedianPruner", "Write type: median."),
        ("median_stopping", "Write type: median."),
        ("BOHB", "Write type: hyperband, with method: optuna."),
        ("pbt", "Rules that change a configuration while it trains have no counterpart here."),
    ],
)
def test_a_rule_of_another_name_is_pointed_to(rule: str, advice: str) -> None:
    found = mistake(early_terminate={"type": rule}, limits={"epochs": 9})
    assert found == f"early_terminate.type: unknown type '{rule}'. {advice} {TYPES}"


@pytest.mark.parametrize(
    ("sampler", "advice"),
    [
        ("TPE", "Did you mean 'tpe'?"),
        ("CMA-ES", "Did you mean 'cmaes'?"),
        ("GPSampler", "Write method: optuna and sampler: gp."),
        ("random", "Write method: random."),
        ("anneal", "Write method: hyperopt and sampler: anneal."),
    ],
)
def test_a_sampler_of_another_name_is_pointed_to(sampler: str, advice: str) -> None:
    found = mistake(method="optuna", sampler=sampler)
    assert found == f"sampler: unknown sampler '{sampler}' of method optuna. {advice} Known: tpe, gp, cmaes, qmc."


@pytest.mark.parametrize("text", sorted({*SEARCHES.values(), *RULES.values()}))
def test_what_is_advised_exists(text: str) -> None:
    method, sampler, rule = (
        next(iter(re.findall(rf"\b{key}(?:: | is )(\w+)", text)), None) for key in ("method", "sampler", "type")
    )
    assert method or rule
    tree = {**SPEC, "method": method or "random", "sampler": sampler, "limits": {"epochs": 9}}
    Sweep.from_dict({**tree, "early_terminate": {"type": rule or "none"}})
    assert sampler is None or sampler in SAMPLERS[str(method)]
