"""Ray Tune's domains, each created by Ray's own function, become hpsearch's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.sweep import Sweep

tune = pytest.importorskip("ray.tune")


def space_of(**parameters: Any) -> dict[str, Any]:
    return dict(Sweep.from_dict({"metric": "loss", "mode": "min", "param_space": parameters}).parameters)


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        (lambda: tune.uniform(0, 1), {"min": 0.0, "max": 1.0}),
        (lambda: tune.quniform(0, 1, 0.25), {"min": 0.0, "max": 1.0, "q": 0.25}),
        (lambda: tune.loguniform(1e-4, 1e-1), {"min": 1e-4, "max": 1e-1, "log": True}),
        (lambda: tune.qloguniform(0.5, 8, 0.5), {"min": 0.5, "max": 8.0, "log": True, "q": 0.5}),
        (lambda: tune.randn(3, 2), {"distribution": "normal", "mu": 3.0, "sigma": 2.0}),
        (lambda: tune.qrandn(3, 2, 0.5), {"distribution": "normal", "mu": 3.0, "sigma": 2.0, "q": 0.5}),
        (lambda: tune.randint(1, 10), {"min": 1, "max": 9}),
        (lambda: tune.qrandint(8, 64, 8), {"min": 8, "max": 64, "step": 8}),
        (lambda: tune.lograndint(1, 100), {"min": 1, "max": 99, "log": True}),
        (lambda: tune.choice([16, "a", [1]]), {"values": [16, "a", [1]]}),
    ],
)
def test_a_domain_of_ray_tune_is_translated(word: Any, ours: dict[str, Any]) -> None:
    assert space_of(x=word(), deep={"y": word(), "fixed": 3}) == {"x": ours, "deep": {"y": ours, "fixed": 3}}


def test_a_range_of_ray_is_drawn_from_the_same_values() -> None:
    word = tune.qrandint(1, 20, 4)
    sampled = {int(value) for value in word.sample(size=500)}
    sweep = Sweep.from_dict({"metric": "loss", "mode": "min", "param_space": {"x": word}})
    assert {point["x"] for point in sweep.space.points()} == sampled


def test_a_grid_search_makes_a_grid() -> None:
    tree = {"metric": "loss", "mode": "min", "param_space": {"x": tune.grid_search([1, 2]), "y": {"z": 1}}}
    sweep = Sweep.from_dict(tree)
    assert (sweep.method, sweep.max_trials) == ("grid", 2)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (lambda: tune.sample_from(lambda spec: 1), "param_space.x: a function"),
        (lambda: tune.choice([{"a": tune.uniform(0, 1)}]), "param_space.x: a choice between spaces"),
        (lambda: tune.qlograndint(2, 100, 2), "param_space.x: a logarithmic range of multiples"),
    ],
)
def test_a_domain_without_an_equivalent_says_what_to_write(word: Any, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        space_of(x=word())
    assert str(caught.value).startswith(sentence)


def test_a_grid_beside_draws_is_refused() -> None:
    with pytest.raises(SpecError, match=r"param_space\.x: grid_search beside sampled parameters"):
        space_of(x=tune.grid_search([1, 2]), y=tune.uniform(0, 1))
