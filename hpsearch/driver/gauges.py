"""The state of a sweep as metrics of Ray, which Prometheus collects and Grafana draws.

Ray drops a value that is not set again for some 20 s, so the series of a trial end by themselves once it is over. Only
trials that run at a tick are reported: shorter ones may never appear here. The ledger has all of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

from hpsearch.engine.trial import Trial
from hpsearch.errors import in_short
from hpsearch.spec.sweep import Sweep

REPORT_EVERY_S = 5.0
"""Seconds between two reports; Ray collects values every 10 s."""


@dataclass(frozen=True)
class Measure:
    """One metric of Ray, which adds the prefix `ray_` to its name."""

    name: str
    """The name in Prometheus, without the prefix."""
    meaning: str
    """Its description: one sentence, with the unit."""
    tags: tuple[str, ...]
    """Labels that distinguish its series."""


OF_TRIAL, OF_SWEEP = ("sweep", "slot", "trial"), ("sweep",)
"""Labels of the series of one trial, and of those of a whole sweep."""
MEASURES = (
    Measure("hpsearch_trial_epoch", "Epochs that a running trial has done.", OF_TRIAL),
    Measure("hpsearch_trial_objective", "Last value of the objective of a running trial.", (*OF_TRIAL, "metric")),
    Measure("hpsearch_trial_best", "Best value of the objective of a running trial.", (*OF_TRIAL, "metric")),
    Measure("hpsearch_trial_gpu_peak_gib", "Most GPU memory reserved by a rank of a running trial, GiB.", OF_TRIAL),
    Measure("hpsearch_trial_host_peak_gib", "Most host memory resident, sum over ranks, GiB.", OF_TRIAL),
    Measure("hpsearch_best", "Best value of the objective so far.", (*OF_SWEEP, "metric")),
    Measure("hpsearch_trials", "Trials in a state.", (*OF_SWEEP, "state")),
)
"""All metrics of a sweep."""
Value = tuple[str, float, dict[str, str]]
"""(Name of a `Measure`, its value, label to the label's value)."""


class Gauge(Protocol):
    """The part of `ray.util.metrics.Gauge` that is used here."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Set the value of one series."""


@final
class Gauges:
    """Reports the state of a sweep to Ray's metrics; an error in Ray never ends the sweep."""

    def __init__(
        self,
        sweep: Sweep,
        trials: Mapping[int, Trial],
        *,
        say: Callable[[str], None],
        make_gauge: Callable[[Measure], Gauge] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is reported before the first tick.

        Args:
            sweep: The sweep that runs.
            trials: The sweep's trials by number, read at each report.
            say: Shows a message to the user; called once if Ray refuses values.
            make_gauge: Makes the gauge of a measure; Ray's by default.
            clock: Seconds that never go back.
        """
        self._sweep, self._trials, self._say, self._clock = sweep, trials, say, clock
        self._make_gauge = make_gauge or _ray_gauge
        self._gauges: dict[str, Gauge] = {}
        self._reported_at: float | None = None
        self._is_broken = False

    def tick(self) -> None:
        """Report all values if the last report is at least REPORT_EVERY_S seconds old; to be called often."""
        now = self._clock()
        if self._is_broken or (self._reported_at is not None and now - self._reported_at < REPORT_EVERY_S):
            return
        self._reported_at = now
        try:
            self._report()
        except Exception as error:
            self._is_broken = True
            self._say(f"Ray's metrics get no more values of this sweep: {in_short(error)}. The sweep continues.")

    def _report(self) -> None:
        self._gauges = self._gauges or {each.name: self._make_gauge(each) for each in MEASURES}
        for name, value, tags in values_of(self._sweep, self._trials):
            self._gauges[name].set(value, tags={tag: _ascii(text) for tag, text in tags.items()})


def _ascii(text: str) -> str:
    """A text as Ray accepts it in a tag: non-ASCII characters are escaped.

    Example:
        >>> _ascii("loss µ")
        'loss \\\\xb5'
    """
    return text.encode("ascii", "backslashreplace").decode("ascii")


def values_of(sweep: Sweep, trials: Mapping[int, Trial]) -> Iterator[Value]:
    """The current values of each running trial and of the sweep."""
    of_sweep = {"sweep": sweep.name or ""}
    for trial in trials.values():
        if trial.state == "running" and trial.slot is not None:  # else its slot is still starting
            tags = {**of_sweep, "slot": str(trial.slot), "trial": str(trial.number)}
            yield from _values_of_trial(trial, tags, sweep)
    for state, count in Counter(trial.state for trial in trials.values()).items():
        yield "hpsearch_trials", float(count), {**of_sweep, "state": state}
    losses = [trial.best_loss for trial in trials.values() if trial.best_epoch and trial.state != "failed"]
    if losses:
        yield "hpsearch_best", sweep.metric.sign * min(losses), {**of_sweep, "metric": sweep.metric.name}


def _values_of_trial(trial: Trial, tags: dict[str, str], sweep: Sweep) -> Iterator[Value]:
    yield "hpsearch_trial_epoch", float(trial.epochs), tags
    if trial.best_epoch is not None:
        with_metric = {**tags, "metric": sweep.metric.name}
        yield "hpsearch_trial_objective", trial.metrics[sweep.metric.name], with_metric
        yield "hpsearch_trial_best", sweep.metric.sign * trial.best_loss, with_metric
    if trial.peaks.gpu_gib is not None:
        yield "hpsearch_trial_gpu_peak_gib", trial.peaks.gpu_gib, tags
    if trial.peaks.host_gib is not None:
        yield "hpsearch_trial_host_peak_gib", trial.peaks.host_gib, tags


def _ray_gauge(measure: Measure) -> Any:
    from ray.util.metrics import Gauge as RayGauge

    return RayGauge(measure.name, description=measure.meaning, tag_keys=measure.tags)
