"""How HyperOpt sees trials, and that ranges keep both of their ends."""

from __future__ import annotations

from collections import Counter

import pytest
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING

from hpsearch.search.hyperopt_search import SAMPLERS, HyperoptSearcher
from hpsearch.search.searcher import Outcome
from hpsearch.space.space import Integer, Real, Space

RANGE = Space(domains={"n": Integer(min=2, max=6), "x": Real(min=0.0, max=1.0)})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_both_ends_of_a_range_are_drawn_as_often_as_its_middle(sampler: str) -> None:
    """600 random draws of 5 numbers: 120 each, 4 standard deviations are 39."""
    searcher = HyperoptSearcher(space=RANGE, seed=0, sampler=sampler)
    counts = Counter(searcher._propose(number, 0)["n"] for number in range(600))
    assert set(counts) == {2, 3, 4, 5, 6}
    assert all(abs(count - 120) < 39 for count in counts.values())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_running_trials_are_seen_and_failures_get_the_worst_loss(sampler: str) -> None:
    searcher = HyperoptSearcher(space=RANGE, seed=0, sampler=sampler)
    points = [{"n": 2 + number, "x": 0.5} for number in range(4)]
    for number, point in enumerate(points):
        searcher.adopt(number, point)
    searcher.tell(Outcome(number=0, point=points[0], state="infeasible", losses={}))
    assert states(searcher) == [(JOB_STATE_RUNNING, None)] * 4, "held back: no loss is known"
    searcher.tell(Outcome(number=1, point=points[1], state="done", losses={1: 3.0, 2: 2.0}))
    searcher.tell(Outcome(number=2, point=points[2], state="stopped", losses={1: 1.0}))
    assert states(searcher) == [
        (JOB_STATE_DONE, 2.0),
        (JOB_STATE_DONE, 2.0),
        (JOB_STATE_DONE, 1.0),
        (JOB_STATE_RUNNING, None),
    ]
    searcher.drop(3)
    assert len(states(searcher)) == 3


def states(searcher: HyperoptSearcher) -> list[tuple[int, float | None]]:
    return [(doc["state"], doc["result"].get("loss")) for doc in searcher._trials.trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hyperopt_prints_nothing(
    sampler: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    searcher = HyperoptSearcher(space=RANGE, seed=0, sampler=sampler)
    for number in range(1, 30):
        point = searcher.ask(number)
        assert point is not None
        searcher.tell(Outcome(number=number, point=point, state="done", losses={1: point["x"]}))
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
