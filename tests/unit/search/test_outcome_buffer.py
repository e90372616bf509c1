from __future__ import annotations

from hpsearch.search.outcome_buffer import InfeasibleBuffer
from hpsearch.search.searcher import Outcome


def failed(number: int) -> Outcome:
    return Outcome(number=number, point={}, state="infeasible", losses={})


def ended(number: int, loss: float) -> Outcome:
    return Outcome(number=number, point={}, state="done", losses={1: loss, 2: loss + 1})


def released(buffer: InfeasibleBuffer, outcome: Outcome) -> list[tuple[int, float]]:
    return [(ready.number, loss) for ready, loss in buffer.release(outcome)]


def test_failures_are_held_until_the_first_loss_and_get_it() -> None:
    buffer = InfeasibleBuffer()
    assert released(buffer, failed(1)) == released(buffer, failed(2)) == []
    assert released(buffer, ended(3, 5.0)) == [(3, 5.0), (1, 5.0), (2, 5.0)]
    assert released(buffer, ended(4, 7.0)) == [(4, 7.0)]


def test_a_later_failure_gets_the_worst_of_the_best_losses() -> None:
    buffer = InfeasibleBuffer()
    for number, loss in enumerate([5.0, 7.0, 6.0]):
        buffer.release(ended(number, loss))
    assert released(buffer, failed(4)) == [(4, 7.0)]
