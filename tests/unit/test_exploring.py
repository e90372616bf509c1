"""Which trials explore, and what that gives them at the rungs."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from hpsearch.exploring import RANDOM_SHARE, explores
from hpsearch.search import make_searcher
from hpsearch.stopping import Decision, make_stopping_rule
from hpsearch.sweep import Sweep


def sweep_of(method: str, rule: str = "asha", **more: object) -> Sweep:
    space = {"x": {"min": 0.0, "max": 1.0}}
    tree = {"metric": {"name": "loss", "goal": "minimize"}, "method": method, "parameters": space}
    return Sweep.from_dict({**tree, "early_terminate": {"type": rule}, "limits": {"epochs": 27}, **more})


def gone_on(sweep: Sweep, losses: Mapping[int, float]) -> set[int]:
    """Who passes the first rung, of trials that report in this order."""
    rule = make_stopping_rule(sweep, can_pause=True)
    passed = {number for number, loss in losses.items() if rule.report(number, 1, loss) is Decision.CONTINUE}
    return passed | set(iter(rule.promote, None))


def test_as_many_explore_as_the_share_says() -> None:
    share = sum(explores(0, number) for number in range(1, 2001)) / 2000
    assert share == pytest.approx(RANDOM_SHARE, abs=0.04)


@pytest.mark.parametrize("rule", ["asha", "asha_stop"])
def test_explorers_pass_though_all_that_the_model_proposed_is_better(rule: str) -> None:
    exploring = {number for number in range(1, 61) if explores(0, number)}
    losses = {number: random.Random(number).random() + (number in exploring) for number in range(1, 61)}
    pass_apart, pass_together = (gone_on(sweep_of(method, rule), losses) for method in ("bayes", "random"))
    assert len(pass_apart & exploring) >= 5
    assert len(pass_together & exploring) <= 2, "the first trials of all, when there was nobody to compare with"
    assert pass_apart - exploring


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_the_best_of_all_passes_as_soon_as_there_are_eta_trials(method: str) -> None:
    assert gone_on(sweep_of(method), {1: 3.0, 2: 2.0}) == set()
    assert gone_on(sweep_of(method), {1: 3.0, 2: 2.0, 3: 1.0}) == {3}


@pytest.mark.parametrize(
    ("method", "more"),
    [("random", {}), ("hyperopt", {}), ("bayes", {"sampler": "gp"}), ("bayes", {"sampler": "cmaes"})],
)
def test_where_no_trial_explores_all_are_compared_together(method: str, more: dict[str, str]) -> None:
    losses = {number: -float(number) for number in range(60, 0, -1)}
    assert gone_on(sweep_of(method, **more), losses) == set(range(41, 61))


def test_without_a_stopping_rule_the_model_proposes_all() -> None:
    """Nothing is ever stopped there, so nobody takes another's place."""
    searcher = make_searcher(sweep_of("bayes", "none"))
    assert not any(searcher._explores(number) for number in range(1, 20))  # type: ignore[attr-defined]
