from __future__ import annotations

from hpsearch.search.infeasible import InfeasibleBuffer
from hpsearch.search.searcher import Outcome


def failed(number: int) -> Outcome:
    return Outcome(number=number, point={}, state="infeasible", losses={})


def ended(number: int, loss: float) -> Outcome:
    return Outcome(number=number, point={}, state="done", losses={1: loss, 2: loss + 1})


def told(held_back: InfeasibleBuffer, outcome: Outcome) -> list[tuple[int, float]]:
    return [(ready.number, loss) for ready, loss in held_back.settle(outcome)]


def test_failures_wait_for_the_first_loss_and_get_it() -> None:
    held_back = InfeasibleBuffer()
    assert told(held_back, failed(1)) == told(held_back, failed(2)) == []
    assert told(held_back, ended(3, 5.0)) == [(3, 5.0), (1, 5.0), (2, 5.0)]
    assert told(held_back, ended(4, 7.0)) == [(4, 7.0)]


def test_a_later_failure_gets_the_worst_of_the_best_losses() -> None:
    held_back = InfeasibleBuffer()
    for number, loss in enumerate([5.0, 7.0, 6.0]):
        held_back.settle(ended(number, loss))
    assert told(held_back, failed(4)) == [(4, 7.0)]
