"""The message about a trial that has trained for long without a report."""

from __future__ import annotations

import pytest

from hpsearch.engine.registry import Trials
from hpsearch.engine.trial import Trial
from hpsearch.live.silence import CHECK_EVERY_S, SILENCE_S, SilenceWatch
from hpsearch.spec.parts import Metric
from tests.support.clock import Clock


class Watched:
    """Two trials, the first of which runs in a slot, with the watch over them."""

    def __init__(self) -> None:
        self.clock, self.trials, self.said = Clock(), Trials(), list[str]()
        for number in (1, 2):
            self.trials.add(Trial(number=number, point={}, ledger_id=number, slot=1))
        self.trials.running.add(1)
        metric = Metric(name="val_loss", goal="minimize")
        self.watch = SilenceWatch(metric, self.trials, say=self.said.append, clock=self.clock)

    def wait(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.watch.tick()
            self.clock.now = min(self.clock.now + CHECK_EVERY_S, end)
        self.watch.tick()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_trial_that_is_silent_for_ten_minutes_is_pointed_out_once(watched: Watched):
    watched.wait(SILENCE_S - CHECK_EVERY_S)
    assert watched.said == []
    watched.wait(3 * SILENCE_S)
    assert watched.said == [
        "Trial 1 has trained for 10 min 00 s without a report."
        " If an epoch is shorter than that: call hpsearch.report(val_loss=...) once an epoch."
    ]


def test_another_attempt_and_another_trial_have_ten_minutes_of_their_own(watched: Watched):
    watched.wait(0.9 * SILENCE_S)
    watched.trials[1].attempts = 2
    watched.wait(0.9 * SILENCE_S)
    watched.trials.running.clear()
    watched.trials.running.add(2)
    watched.wait(0.9 * SILENCE_S)
    assert watched.said == []


def test_a_trial_whose_slot_has_not_started_does_not_count(watched: Watched):
    watched.trials[1].slot = None
    watched.wait(2 * SILENCE_S)
    assert watched.said == []


def test_once_a_trial_has_reported_long_epochs_are_no_surprise(watched: Watched):
    reported = watched.trials[2]
    reported.epochs, reported.ran_in_slot = 1, True
    watched.wait(3 * SILENCE_S)
    assert watched.said == []
