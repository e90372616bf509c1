"""What the controller and ageing evolution promise beyond the contract of all methods."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hpsearch.search import Outcome, Searcher, controller, make_searcher
from hpsearch.search.controller import BLOCK, NO_TOKEN, Policy
from hpsearch.search.evolution import POPULATION, EvolutionSearcher
from hpsearch.search.tokens import NUM_BINS, Vocabulary
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

WORDS = {f"word{i}": {"values": list("abcde")} for i in range(7)}
"""78125 points; c is the best word everywhere."""
RARE = {
    "kind": {"values": ["a", "b", "c", "d", "e", "rare"]},
    "inside": {
        **{f"common{i}": {"values": [0, 1, 2]} for i in range(3)},
        **{f"rare{i}": {"values": [0, 1, 2, 3], "when": {"kind": "rare"}} for i in range(3)},
    },
}
"""The best values are behind one of six kinds, and there behind the right three words."""


def searcher(sampler: str, parameters: Mapping[str, Any], *, seed: int = 0) -> Searcher:
    tree = {"method": "controller", "sampler": sampler, "seed": seed, "parameters": parameters}
    return make_searcher(Sweep.from_dict({**tree, "metric": {"name": "loss", "goal": "minimize"}}))


def distance_in_words(point: Point) -> float:
    return float(sum(value != "c" for value in point.values()))


def loss_behind_the_rare_kind(point: Point) -> float:
    common = sum(point[f"inside.common{i}"] for i in range(3)) / 6
    if point["kind"] != "rare":
        return 3.0 + common
    return 2.0 + common - sum(point[f"inside.rare{i}"] for i in range(3)) / 9 * 2


def run(method: Searcher, loss: Any, num: int) -> list[float]:
    losses = []
    for number in range(1, num + 1):
        point = method.ask(number)
        assert point is not None
        losses.append(loss(point))
        method.tell(Outcome(number=number, point=point, state="done", losses={1: losses[-1]}))
    return losses


def test_the_reward_of_the_controller_rises_until_it_writes_the_best_words():
    losses = run(searcher("reinforce", WORDS), distance_in_words, 150)
    assert statistics.fmean(losses[:10]) > 5.0  # at random 5.6
    assert statistics.fmean(losses[-50:]) < 3.5
    assert min(losses) <= 1.0


@pytest.mark.parametrize("sampler", ["reinforce", "evolution"])
def test_an_optimum_in_a_rare_branch_is_found(sampler: str):
    found = [run(searcher(sampler, RARE, seed=seed), loss_behind_the_rare_kind, 250) for seed in range(3)]
    assert statistics.median(min(losses) for losses in found) <= 0.25  # the best is 0; the best elsewhere 3


def test_a_policy_prefers_nothing_at_first():
    policy = Policy([5, 3], seed=0)
    log_probs, entropies = policy(torch.tensor([[token, other] for token in range(5) for other in range(3)]))
    assert log_probs.exp().sum().item() == pytest.approx(1.0)
    assert log_probs.exp().min().item() > 0.8 / 15
    assert entropies[0].item() == pytest.approx((torch.tensor([5.0, 3.0]).log().mean()).item(), abs=0.02)


def test_an_inactive_choice_changes_neither_probability_nor_entropy():
    policy = Policy([4, 6, 3], seed=1)
    given, state = policy.start(1)
    first, state = policy.step(0, given, state)
    last, _ = policy.step(2, policy.embed(0, torch.tensor([2])), state)
    log_prob, entropy = policy(torch.tensor([[2, NO_TOKEN, 1]]))
    assert log_prob.item() == pytest.approx((first[0, 2] + last[0, 1]).item(), abs=1e-6)
    mean = -torch.stack([(each.exp() * each).sum() for each in (first, last)]).sum() / 2
    assert entropy.item() == pytest.approx(mean.item(), abs=1e-6)


def test_outcomes_that_come_late_or_twice_leave_the_policy_that_they_would_have_made_in_order(monkeypatch):
    monkeypatch.setattr(controller, "KEPT", 2)
    rng = random.Random(0)
    in_order, jumbled = (searcher("reinforce", WORDS, seed=2) for _ in range(2))
    points = {number: in_order.space.draw(rng) for number in range(1, 7 * BLOCK)}
    outcomes = {
        number: Outcome(number=number, point=point, state="done", losses={1: distance_in_words(point)})
        for number, point in points.items()
    }
    for each in (in_order, jumbled):
        for number, point in points.items():
            each.adopt(number, point)
    for outcome in outcomes.values():
        in_order.tell(outcome)
    for number in rng.sample(sorted(outcomes), len(outcomes)):
        jumbled.tell(Outcome(number=number, point=points[number], state="stopped", losses={1: 9.0}))
        jumbled.ask(1000 + number)  # learns of it before it is put right
        jumbled.tell(outcomes[number])
    assert [in_order.ask(number) for number in (500, 501)] == [jumbled.ask(number) for number in (500, 501)]


def test_one_enormous_loss_does_not_drown_the_others():
    def loss(point: Point) -> float:
        return 1e30 if point["word0"] == "a" else distance_in_words(point)

    losses = run(searcher("reinforce", WORDS), loss, 150)
    assert sum(each > 10 for each in losses[-100:]) <= 5  # at random 20
    assert statistics.fmean(each for each in losses[-50:] if each < 10) < 4.5  # at random 4.8 of six words


def test_evolution_changes_one_word_of_a_recent_trial_and_forgets_the_old():
    method = searcher("evolution", WORDS)
    assert isinstance(method, EvolutionSearcher)
    rng = random.Random(5)
    best = {**dict.fromkeys(WORDS, "c")}
    method.adopt(1, best)
    method.tell(Outcome(number=1, point=best, state="done", losses={1: 0.0}))
    points = []
    for number in range(2, POPULATION + 2):
        points.append(method.space.draw(rng))
        method.adopt(number, points[-1])
        method.tell(Outcome(number=number, point=points[-1], state="done", losses={1: 1.0}))
    children = [method.ask(number) for number in range(100, 130)]
    for child in children:
        assert child is not None
        assert any(sum(child[name] != parent[name] for name in WORDS) == 1 for parent in points)


def test_a_child_has_whatever_its_change_makes_active():
    method = searcher("evolution", RARE)
    run(method, loss_behind_the_rare_kind, 120)  # ask refuses what is no point of the space
    assert all(method.space.contains(point) for number in range(200, 230) if (point := method.ask(number)) is not None)


def test_tokens_stand_for_each_value_of_a_list_and_for_parts_of_a_long_range():
    parameters = {"lr": {"min": 1e-4, "max": 1.0, "log": True}, "depth": {"min": 2, "max": 8, "step": 2}, "c": 3}
    space = searcher("reinforce", parameters).space
    vocabulary, rng = Vocabulary(space), random.Random(0)
    assert vocabulary.sizes == {"lr": NUM_BINS, "depth": 4}
    values = [vocabulary.value("lr", token, rng) for token in range(NUM_BINS)]
    assert values == sorted(values)
    assert vocabulary.encode({"lr": values[3], "depth": 6, "c": 3}) == {"lr": 3, "depth": 2}
    assert [vocabulary.value("depth", token, rng) for token in range(4)] == [2, 4, 6, 8]


def test_the_process_keeps_its_random_state_and_its_threads_and_no_gpu_is_touched():
    script = """
import torch
from tests.unit.search.test_controller import WORDS, distance_in_words, run, searcher
torch.manual_seed(3); torch.set_num_threads(2)
expected = torch.rand(1, generator=torch.Generator().manual_seed(3)).item()
run(searcher("reinforce", WORDS), distance_in_words, 12)
assert torch.rand(1).item() == expected
assert torch.get_num_threads() == 2
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
