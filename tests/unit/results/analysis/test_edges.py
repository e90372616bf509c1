"""Advice to widen a range."""

from __future__ import annotations

import random
from typing import Any

from hpsearch.ledger.records import TrialRecord
from hpsearch.results.analysis.edges import edges
from hpsearch.results.analysis.scales import scale_of
from hpsearch.space.domains import Choice, Real

LR = scale_of("lr", Real(min=1e-4, max=1.0, log=True), [])
WIDTH = scale_of("width", Choice(values=(16, 32, 64, 128)), [])


def trial(number: int, value: float | None, state: str = "done", **point: object) -> TrialRecord:
    empty: dict[str, Any] = dict.fromkeys(TrialRecord.__dataclass_fields__)
    return TrialRecord(**{**empty, "number": number, "state": state, "best_value": value, "point": point})


def test_a_best_value_at_the_upper_end_is_reported_with_what_to_do():
    trials = [trial(i, i / 10, lr=lr) for i, lr in enumerate((0.9, 0.8, 0.7, 0.01, 0.02, 0.001))]
    (edge,) = edges(trials, [LR], sign=1)
    assert (edge.side, edge.count, edge.of) == ("upper", 3, 5)
    assert str(edge) == "lr: 3 of the 5 best trials are at the upper edge (1). Widen it: try values above."


def test_the_goal_decides_which_trials_are_the_best():
    trials = [trial(i, i / 10, lr=0.9 if i < 5 else 1.1e-4) for i in range(10)]
    assert edges(trials, [LR], sign=1)[0].side == "upper"
    assert edges(trials, [LR], sign=-1)[0].side == "lower"


def test_nothing_is_said_when_the_best_is_inside_or_there_are_too_few():
    inside = [trial(i, i / 10, lr=lr) for i, lr in enumerate((0.01, 0.9, 0.9, 0.9, 0.9))]
    assert edges(inside, [LR], sign=1) == []
    assert edges([trial(1, 0.1, lr=1.0), trial(2, 0.2, lr=1.0)], [LR], sign=1) == []


def test_a_list_needs_more_of_them_than_a_range():
    def widths(*values: int) -> list[TrialRecord]:
        return [trial(i, i / 10, width=value) for i, value in enumerate(values)]

    assert edges(widths(128, 128, 128, 64, 32), [WIDTH], sign=1) == []
    assert edges(widths(128, 128, 128, 64, 128), [WIDTH], sign=1)[0].count == 4


def test_failed_trials_and_those_without_the_parameter_do_not_count():
    trials = [trial(i, i / 10, lr=0.99) for i in range(2)]
    trials += [trial(9, 0.0, "failed", lr=0.99), trial(10, 0.0), trial(11, None, lr=0.99)]
    assert edges(trials, [LR], sign=1) == []


def test_chance_is_reported_less_than_once_in_twenty():
    rng, told = random.Random(0), 0
    for _ in range(400):
        trials = [
            trial(i, rng.random(), lr=10 ** rng.uniform(-4, 0), width=rng.choice(WIDTH.values or ())) for i in range(30)
        ]
        told += len(edges(trials, [LR, WIDTH], sign=1))
    assert told / 800 < 0.05
