"""Which trials of a model's sweep are random, and what the rungs do with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.ledger.store import Ledger
from hpsearch.search import Outcome, Searcher, make_searcher
from hpsearch.search.interleaving import LEADING_SHARE, USUAL_SHARE, shall_be_random
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Decision, make_stopping_rule
from tests.support import curves


def sweep_of(method: str, rule: str = "asha", **more: object) -> Sweep:
    space = {"x": {"min": 0.0, "max": 1.0}}
    tree = {"metric": {"name": "loss", "goal": "minimize"}, "method": method, "parameters": space}
    return Sweep.from_dict({**tree, "early_terminate": {"type": rule}, "limits": {"epochs": 27}, **more})


def odd(number: int) -> bool:
    """Whether a trial counts as random here."""
    return number % 2 == 1


def passed_first_rung(sweep: Sweep, losses: Mapping[int, float], is_random: Callable[[int], bool] = odd) -> set[int]:
    """Trials that pass the first rung, if they report in this order."""
    rule = make_stopping_rule(sweep, can_pause=True, is_random=is_random)
    passed = {number for number, loss in losses.items() if rule.report(number, 1, loss) is Decision.CONTINUE}
    return passed | set(iter(rule.promote, None))


@pytest.mark.parametrize(("random_is_ahead", "share"), [(False, USUAL_SHARE), (True, LEADING_SHARE)])
def test_the_share_of_random_trials_is_as_stated(random_is_ahead: bool, share: float) -> None:
    random_ones = [shall_be_random(0, number, random_is_ahead=random_is_ahead) for number in range(1, 2001)]
    assert sum(random_ones) / 2000 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("rule", ["asha", "asha_stop"])
def test_random_trials_pass_though_all_that_the_model_proposed_is_better(rule: str) -> None:
    random_ones = set(filter(odd, range(1, 61)))
    losses = {number: random.Random(number).random() + (number in random_ones) for number in range(1, 61)}
    pass_apart, pass_together = (passed_first_rung(sweep_of(method, rule), losses) for method in ("bayes", "random"))
    assert len(pass_apart & random_ones) >= 5
    assert len(pass_together & random_ones) <= 2, "the first trials of all, with none to compare with"
    assert pass_apart - random_ones


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_the_best_of_all_passes_as_soon_as_there_are_eta_trials(method: str) -> None:
    assert passed_first_rung(sweep_of(method), {1: 3.0, 2: 2.0}) == set()
    assert passed_first_rung(sweep_of(method), {1: 3.0, 2: 2.0, 3: 1.0}) == {3}


@pytest.mark.parametrize(
    ("method", "more"),
    [("random", {}), ("hyperopt", {}), ("bayes", {"sampler": "gp"}), ("bayes", {"sampler": "cmaes"})],
)
def test_without_random_interleaving_all_trials_are_compared_together(method: str, more: dict[str, str]) -> None:
    losses = {number: -float(number) for number in range(60, 0, -1)}
    assert passed_first_rung(sweep_of(method, **more), losses) == set(range(41, 61))


def proposed(searcher: Searcher, numbers: range) -> list[int]:
    """The trials whose points are the model's."""
    for number in numbers:
        assert searcher.ask(number) is not None
    return [number for number in numbers if not searcher.is_random(number)]


def with_ahead(group: str) -> Searcher:
    """A searcher that knows 60 trials: every third was proposed; the best at epoch 3 is random, or was proposed."""
    searcher = make_searcher(sweep_of("bayes"))
    for number in range(1, 61):
        is_random = number % 3 > 0
        searcher.adopt(number, point := searcher.space.draw(searcher.rng(number, 0 if is_random else "other")))
        last_epoch = 3 if number > 30 else 1
        loss = random.Random(number).random() + ((group == "random") != is_random)
        losses = dict.fromkeys(range(1, last_epoch + 1), loss)
        searcher.tell(Outcome(number=number, point=point, state="stopped", losses=losses))
    assert [searcher.is_random(number) for number in (1, 2, 3)] == [True, True, False]
    return searcher


@pytest.mark.parametrize(("group", "share"), [("model", 1 - USUAL_SHARE), ("random", 1 - LEADING_SHARE)])
def test_the_model_proposes_less_while_random_trials_are_ahead(group: str, share: float) -> None:
    assert len(proposed(with_ahead(group), range(100, 300))) == pytest.approx(200 * share, abs=20)


def test_without_a_stopping_rule_the_model_proposes_all_but_what_begins_before_anything_is_known() -> None:
    """Nothing is ever stopped there, so no trial takes the promotion of another."""
    searcher = make_searcher(sweep_of("bayes", "none"))
    assert proposed(searcher, range(1, 5)) == []
    for number in range(1, 5):
        searcher.tell(Outcome(number=number, point={"x": number / 5}, state="done", losses={1: 1.0}))
    assert proposed(searcher, range(5, 20)) == list(range(5, 20))


def test_a_users_point_and_one_of_another_space_are_not_random() -> None:
    searcher = make_searcher(sweep_of("bayes", initial_points=[{"x": 0.5}]))
    assert proposed(searcher, range(1, 3)) == [1]
    searcher.adopt(3, {"x": 2.0})
    searcher.adopt(4, {"y": 0.5})
    assert not searcher.is_random(3) and not searcher.is_random(4)


def test_after_a_restart_the_same_trials_are_random(tmp_path: Path) -> None:
    name = curves.run(tmp_path, method="bayes", early_terminate={"type": "asha"}, limits={"trials": 90, "epochs": 27})
    with Ledger(tmp_path, create=True) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
        searchers = [make_searcher(sweep := Sweep.from_dict(record.spec)) for _ in range(2)]
        for searcher in searchers:
            rule = make_stopping_rule(sweep, can_pause=True, is_random=searcher.is_random)
            parts = EngineParts(sweep=sweep, searcher=searcher, rule=rule, ledger=ledger, record=record)
            Engine.resumed(parts, Past.read(ledger, record))
    random_ones = [[searcher.is_random(trial.number) for trial in trials] for searcher in searchers]
    assert random_ones[0] == random_ones[1]
    assert 45 < sum(random_ones[0]) < 90
    assert searchers[0].ask(91) == searchers[1].ask(91)
