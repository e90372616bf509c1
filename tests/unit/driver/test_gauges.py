"""What is reported to Ray's metrics, with a stand-in for Ray's gauges."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.driver.gauges import MEASURES, REPORT_EVERY_S, Gauges, Measure
from hpsearch.engine.trial import Trial
from hpsearch.slots.protocol import Peaks
from hpsearch.spec.sweep import Sweep
from tests.support.clock import Clock

Series = dict[tuple[str, ...], float]


class Recorder:
    """Takes values as Ray's gauges do: only with exactly the tags that were declared."""

    def __init__(self) -> None:
        self.series: Series = {}
        self.raises: Exception | None = None

    def make(self, measure: Measure) -> Any:
        recorder = self

        class Gauge:
            def set(self, value: float, tags: dict[str, str]) -> None:
                if recorder.raises is not None:
                    raise recorder.raises
                assert tuple(sorted(tags)) == tuple(sorted(measure.tags))
                recorder.series[measure.name, *(tags[tag] for tag in measure.tags)] = value

        return Gauge()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


SWEEP = Sweep.from_dict({"name": "s", "metric": {"name": "acc", "goal": "maximize"}, "parameters": {"x": 1}})


def running(number: int, *accuracies: float, slot: int | None = 1) -> Trial:
    trial = Trial(number=number, point={"x": 1}, ledger_id=number, slot=slot)
    for epoch, accuracy in enumerate(accuracies, start=1):
        trial.note_epoch(epoch, {"acc": accuracy}, loss=-accuracy)
    return trial


def gauges(recorder: Recorder, clock: Clock, *trials: Trial, say: Any = print) -> Gauges:
    by_number = {trial.number: trial for trial in trials}
    return Gauges(SWEEP, by_number, say=say, make_gauge=recorder.make, clock=clock)


def test_a_running_trial_is_reported_with_its_sweep_slot_and_number(recorder, clock):
    trial = running(7, 0.5, 0.9, 0.8, slot=2)
    trial.note_peaks(Peaks(gpu_gib=3.5, host_gib=1.25))
    gauges(recorder, clock, trial).tick()
    assert recorder.series == {
        ("hpsearch_trial_epoch", "s", "2", "7"): 3.0,
        ("hpsearch_trial_objective", "s", "2", "7", "acc"): 0.8,
        ("hpsearch_trial_best", "s", "2", "7", "acc"): 0.9,
        ("hpsearch_trial_gpu_peak_gib", "s", "2", "7"): 3.5,
        ("hpsearch_trial_host_peak_gib", "s", "2", "7"): 1.25,
        ("hpsearch_trials", "s", "running"): 1.0,
        ("hpsearch_best", "s", "acc"): 0.9,
    }
    assert {name for name, *_ in recorder.series} == {measure.name for measure in MEASURES}


def test_a_metric_of_any_alphabet_reaches_ray_whose_tags_are_ascii(recorder, clock):
    spec = SWEEP.to_dict() | {"metric": {"name": "acc µ", "goal": "maximize"}}
    trial = Trial(number=1, point={}, ledger_id=1, slot=1)
    trial.note_epoch(1, {"acc µ": 0.5}, loss=-0.5)
    Gauges(Sweep.from_dict(spec), {1: trial}, say=pytest.fail, make_gauge=recorder.make, clock=clock).tick()
    assert recorder.series["hpsearch_best", "s", "acc \\xb5"] == 0.5


def test_a_trial_without_a_report_a_gpu_or_a_slot_is_reported_as_far_as_it_is_known(recorder, clock):
    gauges(recorder, clock, running(1), running(2, slot=None)).tick()
    assert recorder.series == {
        ("hpsearch_trial_epoch", "s", "1", "1"): 0.0,
        ("hpsearch_trials", "s", "running"): 2.0,
    }


def test_a_trial_that_is_over_is_not_reported_again(recorder, clock):
    trial = running(1, 0.5)
    ours = gauges(recorder, clock, trial)
    ours.tick()
    trial.state = "done"
    recorder.series.clear()
    clock.now = REPORT_EVERY_S
    ours.tick()
    assert recorder.series == {("hpsearch_trials", "s", "done"): 1.0, ("hpsearch_best", "s", "acc"): 0.5}


def test_everything_is_reported_again_before_ray_forgets_it_and_not_more_often(recorder, clock):
    ours = gauges(recorder, clock, running(1, 0.5))
    ours.tick()
    recorder.series.clear()
    clock.now = REPORT_EVERY_S - 0.1
    ours.tick()
    assert not recorder.series
    clock.now = REPORT_EVERY_S
    ours.tick()
    assert recorder.series


def test_gauges_that_raise_are_said_once_and_break_nothing(recorder, clock):
    said: list[str] = []
    ours = gauges(recorder, clock, running(1, 0.5), say=said.append)
    recorder.raises = RuntimeError("the agent is gone")
    for _ in range(3):
        ours.tick()
        clock.now += REPORT_EVERY_S
    assert said == [
        "Ray's metrics get no more values of this sweep: RuntimeError: the agent is gone. The sweep continues."
    ]
