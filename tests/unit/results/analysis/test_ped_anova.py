"""The arrays agree with Optuna's own evaluator, on every kind of parameter."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from hpsearch.results.analysis.importance import binned
from hpsearch.results.analysis.ped_anova import by_chance, divergences
from hpsearch.search.coding import Codes, Coding
from hpsearch.search.optuna_search import distributions, quiet
from hpsearch.spec.sweep import Sweep

SPACE = {
    "lr": {"min": 1e-5, "max": 1.0, "log": True},
    "dropout": {"min": 0.0, "max": 0.5},
    "depth": {"min": 2, "max": 9},
    "units": {"min": 1, "max": 1000, "log": True},
    "decay": {"min": 0.0, "max": 1.0, "step": 0.1},
    "noise": {"distribution": "log_normal", "mu": 0.0, "sigma": 1.0},
    "kind": {"values": ["a", ["b", 1], {"c": 2}]},
    "momentum": {"min": 0.5, "max": 0.99, "when": {"kind": "a"}},
    "blocks": {"min": 1, "max": 100_000},
}


def drawn(seed: int, count: int) -> tuple[Coding, list[Codes], list[float]]:
    """Random trials of SPACE, coded, and losses that lr and kind decide on."""
    space = Sweep.from_dict({"metric": {"name": "loss", "goal": "minimize"}, "parameters": SPACE}).space
    rng = random.Random(seed)
    points = [space.draw(rng) for _ in range(count)]
    losses = [abs(math.log10(point["lr"]) + 2) + (point["kind"] == "a") + 0.1 * rng.random() for point in points]
    coding = Coding(space)
    codes = [coding.encode(point) for point in points]
    assert None not in codes
    return coding, [each for each in codes if each is not None], losses


def by_optuna(
    space: Mapping[str, BaseDistribution], codes: list[Codes], losses: list[float], quantile: float
) -> dict[str, float]:
    """What Optuna says of the same trials."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study()
        for each, loss in zip(codes, losses, strict=True):
            joint = {name: space[name] for name in each}
            study.add_trial(optuna.trial.create_trial(params=dict(each), distributions=joint, value=loss))
        return PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study)


@pytest.mark.parametrize(("seed", "count", "quantile"), [(0, 12, 0.25), (1, 64, 0.1), (2, 64, 0.3), (3, 200, 0.1)])
def test_the_numbers_are_optunas(seed, count, quantile):
    coding, codes, losses = drawn(seed, count)
    expected = by_optuna(distributions(coding), codes, losses, quantile)
    parameters = [binned(domain, [each.get(name) for each in codes]) for name, domain in coding.domains.items()]
    weights = np.ones((1, count))
    [found] = divergences(parameters, np.array(losses), weights, quantile=quantile)
    num_best = math.ceil(quantile * count)
    ours: dict[str, Any] = dict(zip(coding.domains, found * (num_best / count) ** 2, strict=True))
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_weight_counts_a_trial_so_many_times():
    coding, codes, losses = drawn(4, 40)
    twice = [0, 0, *range(2, 40)]
    weights = np.ones((1, 40))
    weights[0, 0], weights[0, 1] = 2, 0
    parameters = [binned(domain, [each.get(name) for each in codes]) for name, domain in coding.domains.items()]
    repeated = [binned(domain, [codes[i].get(name) for i in twice]) for name, domain in coding.domains.items()]
    by_weight = divergences(parameters, np.array(losses), weights, quantile=0.2)
    by_hand = divergences(repeated, np.array([losses[i] for i in twice]), np.ones((1, 40)), quantile=0.2)
    assert by_weight == pytest.approx(by_hand)


def test_where_nothing_matters_the_divergence_is_what_chance_gives():
    coding, codes, _ = drawn(0, 80)
    parameters = [binned(domain, [code.get(name) for code in codes]) for name, domain in coding.domains.items()]
    as_they_are = np.ones((200, 80))
    by_luck = np.random.default_rng(1).random((200, 80))  # losses that no parameter has a part in
    found = divergences(parameters, by_luck, as_they_are, quantile=0.15).mean(axis=0)
    expected = by_chance(parameters, as_they_are, quantile=0.15)
    assert found == pytest.approx(expected, rel=0.35)
    assert (expected > 0.02).all(), "it is not nothing"
