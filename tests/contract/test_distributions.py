"""What every search method promises of parameters that aren't drawn evenly."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from hpsearch.search import Outcome, make_searcher
from hpsearch.spec.sweep import SAMPLERS, Sweep

METHODS = [(method, sampler) for method, samplers in SAMPLERS.items() for sampler in samplers or (None,)]
SHAPES: dict[str, Any] = {
    "normal": {"distribution": "normal", "mu": 5, "sigma": 0.1},
    "q_normal": {"distribution": "normal", "mu": 10, "sigma": 5, "q": 2},
    "log_normal": {"distribution": "log_normal", "mu": -3, "sigma": 1.0},
    "beta": {"distribution": "beta", "a": 2, "b": 5},
    "q_uniform": {"min": 1, "max": 20, "q": 4},
    "q_log_uniform": {"min": 0.5, "max": 64.0, "log": True, "q": 0.5},
    "clipped": {"min": 0.15, "max": 0.97, "q": 0.1},
    "clipped_log": {"min": 0.001, "max": 0.97, "log": True, "q": 0.1},
    "unclipped": {"min": 0.15, "max": 0.97, "q": 0.1, "clip": False},
    "single": {"min": 1, "max": 1.2, "q": 5, "clip": False},
    "kind": {"values": ["a", "b"], "probabilities": [0.9, 0.1]},
    "inner": {"distribution": "normal", "when": {"kind": "b"}},
}
ON_GRID = {name: SHAPES[name] for name in SHAPES if "q" in SHAPES[name] and "min" in SHAPES[name]}


@pytest.mark.parametrize(("method", "sampler"), METHODS)
def test_every_proposal_is_of_the_space_and_is_learned_from(method: str, sampler: str | None) -> None:
    parameters = ON_GRID if method == "grid" else SHAPES
    tree = {"method": method, "sampler": sampler, "metric": {"name": "loss", "goal": "minimize"}}
    sweep = Sweep.from_dict({**tree, "parameters": parameters})
    searcher, points = make_searcher(sweep), []
    for number in range(1, 14 if sampler == "gp" else 31):
        point = searcher.ask(number)
        assert point is not None and sweep.space.contains(point)
        loss = point["q_uniform"] + point["q_log_uniform"]
        searcher.tell(Outcome(number=number, point=point, state="done", losses={1: float(loss)}))
        points.append(point)
    assert searcher.failure is None
    assert {type(point["q_uniform"]) for point in points} == {int}
    assert min(point["q_uniform"] for point in points) >= 4
    assert all(0.1 <= point["clipped_log"] <= 0.9 and 0.2 <= point["clipped"] <= 0.9 for point in points)
    if method != "grid":
        assert 4.5 < statistics.mean(point["normal"] for point in points) < 5.5
