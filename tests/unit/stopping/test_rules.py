"""The arithmetic of each rule, and how the two forms of ASHA differ; what all rules share is in tests/contract."""

from __future__ import annotations

import math

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import (
    Asha,
    AshaStop,
    Decision,
    Hyperband,
    Median,
    NoStopping,
    StoppingRule,
    make_stopping_rule,
)
from hpsearch.stopping.hyperband import bracket_shares

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE


def asha_stop() -> AshaStop:
    return AshaStop(min_epochs=1, max_epochs=27, eta=3)


def asha() -> Asha:
    return Asha(min_epochs=1, max_epochs=27, eta=3)


def first_epochs(rule: StoppingRule, losses: list[float]) -> list[Decision]:
    """Trials 1, 2, ... finish their first epoch with these losses."""
    return [rule.report(number, 1, loss) for number, loss in enumerate(losses, start=1)]


def test_asha_stop_lets_the_best_so_far_through_until_there_are_eta() -> None:
    assert first_epochs(asha_stop(), [5.0, 6.0, 4.0]) == [CONTINUE, STOP, CONTINUE]


def test_asha_stop_lets_one_in_eta_through() -> None:
    rule = asha_stop()
    first_epochs(rule, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert rule.report(6, 1, 1.5) is CONTINUE, "second of six"
    assert rule.report(7, 1, 1.7) is STOP, "third of seven"


def test_asha_stop_lets_a_tie_through() -> None:
    assert first_epochs(asha_stop(), [1.0, 1.0, 1.0, 1.0]) == [CONTINUE] * 4


def test_a_trial_that_asha_stopped_stays_stopped() -> None:
    rule = asha_stop()
    first_epochs(rule, [1.0, 2.0])
    assert rule.report(2, 2, 0.0) is STOP


def test_asha_pauses_until_a_rung_has_eta_trials_and_promotes_the_best_of_them() -> None:
    rule = asha()
    assert first_epochs(rule, [2.0, 1.0]) == [PAUSE, PAUSE]
    assert rule.promote() is None
    assert rule.report(3, 1, 3.0) is PAUSE
    assert [rule.promote(), rule.promote()] == [2, None]


def test_asha_does_not_pause_a_trial_that_it_would_promote_at_once() -> None:
    rule = asha()
    assert first_epochs(rule, [2.0, 3.0, 1.0]) == [PAUSE, PAUSE, CONTINUE]
    assert rule.promote() is None


def test_asha_promotes_from_the_highest_rung_first() -> None:
    rule = asha()
    first_epochs(rule, [float(number) for number in range(1, 10)])
    assert [rule.promote() for _ in range(4)] == [1, 2, 3, None]
    assert [rule.report(number, 3, loss) for number, loss in ((1, 3.0), (2, 1.0), (3, 2.0))] == [PAUSE] * 3
    assert [rule.report(number, 1, 99.0) for number in (10, 11, 12)] == [PAUSE] * 3, "now four of twelve may pass"
    assert [rule.promote() for _ in range(3)] == [2, 4, None]


def test_asha_splits_a_tie_by_arrival_so_that_a_plateau_is_not_promoted_whole() -> None:
    rule = asha()
    assert first_epochs(rule, [1.0] * 9) == [PAUSE] * 9
    assert [rule.promote() for _ in range(4)] == [1, 2, 3, None]


def test_asha_at_the_end_finishes_the_best_of_the_highest_rung() -> None:
    rule = asha()
    assert first_epochs(rule, [2.0, 1.0]) == [PAUSE, PAUSE]
    assert rule.promote(at_end=True) == 2
    assert rule.report(2, 3, 9.0) is PAUSE
    assert [rule.promote(), rule.promote(at_end=True), rule.promote(at_end=True)] == [None, 2, None]


def test_a_replayed_report_beyond_a_rung_shows_that_the_trial_was_promoted() -> None:
    rule = asha()
    first_epochs(rule, [1.0, 2.0, 3.0])
    assert rule.report(1, 2, 1.0) is CONTINUE
    assert rule.promote() is None


def test_none_stops_no_trial() -> None:
    rule = NoStopping()
    assert first_epochs(rule, [1.0, math.inf, math.nan]) == [CONTINUE] * 3
    assert rule.rungs() == ()


@pytest.mark.parametrize(
    ("name", "can_pause", "expected"),
    [
        ("none", True, NoStopping),
        ("asha_stop", True, AshaStop),
        ("asha", False, AshaStop),
        ("asha", True, Asha),
        ("hyperband", True, Hyperband),
        ("median", True, Median),
    ],
)
def test_the_rule_is_the_one_that_the_sweep_names(name: str, can_pause: bool, expected: type[StoppingRule]) -> None:
    tree = {
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"values": [1, 2]}},
        "early_terminate": {"type": name, "min_iter": 2, "eta": 4},
        "limits": {"epochs": 10},
    }
    sweep = Sweep.from_dict(tree)
    rule = make_stopping_rule(sweep, can_pause=can_pause)
    assert type(rule) is expected
    assert rule.rungs() == sweep.rungs == (() if name in ("none", "median") else (2, 8))


def hyperband(**keys: object) -> Hyperband:
    return Hyperband(**{"min_epochs": 1, "max_epochs": 27, "eta": 3, **keys})  # type: ignore[arg-type]


def test_hyperband_assigns_trials_in_its_proportions_by_their_numbers_alone() -> None:
    assert bracket_shares(4, eta=3) == [27, 12, 6, 4], "as in the table of the paper"
    rule, other = hyperband(), hyperband()
    brackets = [rule.bracket_of(number) for number in range(1, 50)]
    assert [brackets.count(bracket) for bracket in range(4)] == [27, 12, 6, 4]
    assert [other.bracket_of(number) for number in range(49, 0, -1)] == brackets[::-1]
    assert set(brackets[:8]) == {0, 1, 2, 3}, "a short sweep has some of each"


def test_a_bracket_of_hyperband_compares_its_own_trials_at_its_own_rungs() -> None:
    rule = hyperband()
    numbers: dict[int, list[int]] = {bracket: [] for bracket in range(4)}
    for number in range(1, 50):
        numbers[rule.bracket_of(number)].append(number)
    assert [rule.report(number, 1, 1.0) for number in numbers[0][:2]] == [PAUSE, PAUSE]
    assert [rule.report(number, 1, 9.0) for number in numbers[1][:3]] == [CONTINUE] * 3, "its first rung is epoch 3"
    assert rule.promote() is None
    assert [rule.report(number, 3, 1.0) for number in numbers[1][:3]] == [PAUSE] * 3
    assert rule.promote() == numbers[1][0]
    assert [rule.report(numbers[3][0], epoch, 9.0) for epoch in range(1, 28)] == [CONTINUE] * 27, "it has no rung"


def test_hyperband_with_one_bracket_is_asha() -> None:
    one, plain = hyperband(brackets=1), asha()
    losses = [float(number * 7 % 10) for number in range(1, 20)]
    assert first_epochs(one, losses) == first_epochs(plain, losses)
    assert [one.promote() for _ in range(8)] == [plain.promote() for _ in range(8)]


def test_hyperband_stops_trials_that_it_cannot_pause() -> None:
    rule = hyperband(brackets=1, can_pause=False)
    assert first_epochs(rule, [5.0, 6.0, 4.0]) == [CONTINUE, STOP, CONTINUE]


def test_hyperband_needs_a_last_epoch() -> None:
    tree = {
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"values": [1, 2]}},
        "early_terminate": {"type": "hyperband"},
    }
    with pytest.raises(SpecError, match=r"Write for example limits: \{epochs: 27\}"):
        Sweep.from_dict(tree)


def median(*, min_epochs: int = 1, min_trials: int = 3) -> Median:
    return Median(min_epochs=min_epochs, min_trials=min_trials)


def test_median_stops_a_trial_whose_best_is_worse_than_half_of_the_others_averages() -> None:
    rule = median()
    for number, losses in enumerate([[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]], start=1):
        assert [rule.report(number, epoch, loss) for epoch, loss in enumerate(losses, start=1)] == [CONTINUE] * 2
    assert rule.report(4, 1, 2.0) is CONTINUE, "no worse than the median"
    assert rule.report(4, 2, 2.9) is CONTINUE, "the averages over two epochs are 2, 3 and 4"
    assert rule.report(5, 1, 2.5) is STOP, "the worse of the middle two of 1, 2, 2, 3 is 2"


def test_median_waits_for_enough_trials_and_enough_epochs() -> None:
    rule = median(min_epochs=2, min_trials=2)
    assert first_epochs(rule, [1.0, 1.0, 1.0, 9.0]) == [CONTINUE] * 4, "grace"
    assert [rule.report(number, 2, loss) for number, loss in ((1, 1.0), (4, 9.0))] == [CONTINUE] * 2, "too few others"
    assert rule.report(2, 2, 1.0) is CONTINUE
    assert rule.report(3, 2, 9.0) is CONTINUE, "its best is 1"


def test_a_trial_that_median_stopped_stays_stopped() -> None:
    rule = median(min_trials=1)
    assert first_epochs(rule, [1.0, 2.0]) == [CONTINUE, STOP]
    assert rule.report(2, 2, 0.0) is STOP
