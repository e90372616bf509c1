"""The sweep in numbers for Ray's metrics, which Prometheus collects and Grafana draws.

Ray forgets a value that is not set again for some 20 s, so a trial's series end by themselves once it is over. Only
what runs at a tick is told: trials that last less than that may never be seen here. The ledger has them all.
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

TELL_S = 5.0
"""Seconds between two rounds of values; Ray collects them every 10 s."""


@dataclass(frozen=True)
class Measure:
    """One kind of value; Ray puts `ray_` before its name."""

    name: str
    """As in Prometheus, but for the prefix."""
    meaning: str
    """One sentence, with the unit."""
    tags: tuple[str, ...]
    """Labels that tell its series apart."""


OF_TRIAL, OF_SWEEP = ("sweep", "slot", "trial"), ("sweep",)
MEASURES = (
    Measure("hpsearch_trial_epoch", "Epochs that a running trial has done.", OF_TRIAL),
    Measure("hpsearch_trial_objective", "Last value of the objective of a running trial.", (*OF_TRIAL, "metric")),
    Measure("hpsearch_trial_best", "Best value of the objective of a running trial.", (*OF_TRIAL, "metric")),
    Measure("hpsearch_trial_gpu_peak_gib", "Most GPU memory reserved by a rank of a running trial, GiB.", OF_TRIAL),
    Measure("hpsearch_trial_host_peak_gib", "Most host memory resident, sum over ranks, GiB.", OF_TRIAL),
    Measure("hpsearch_best", "Best value of the objective so far.", (*OF_SWEEP, "metric")),
    Measure("hpsearch_trials", "Trials in a state.", (*OF_SWEEP, "state")),
)
Value = tuple[str, float, dict[str, str]]
"""Name of a measure, number, tags."""


class Gauge(Protocol):
    """What `ray.util.metrics.Gauge` does for us."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Take the value of one series."""


@final
class Gauges:
    """Tells Ray how far a sweep is; never breaks it."""

    def __init__(
        self,
        sweep: Sweep,
        trials: Mapping[int, Trial],
        *,
        say: Callable[[str], None],
        make_gauge: Callable[[Measure], Gauge] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; Ray is not asked before the first tick.

        Args:
            sweep: What runs.
            trials: By number; read at each round.
            say: Told once, should Ray not take the values.
            make_gauge: Makes what takes the values of a measure; Ray's by default.
            clock: Seconds that never go back.
        """
        self._sweep, self._trials, self._say, self._clock = sweep, trials, say, clock
        self._make_gauge = make_gauge or _ray_gauge
        self._gauges: dict[str, Gauge] = {}
        self._told_at: float | None = None
        self._is_broken = False

    def tick(self) -> None:
        """To be called often; tells everything anew at most every TELL_S seconds."""
        now = self._clock()
        if self._is_broken or (self._told_at is not None and now - self._told_at < TELL_S):
            return
        self._told_at = now
        try:
            self._tell()
        except Exception as error:
            self._is_broken = True
            self._say(f"Ray's metrics take no values of this sweep any more: {in_short(error)}. The sweep goes on.")

    def _tell(self) -> None:
        self._gauges = self._gauges or {each.name: self._make_gauge(each) for each in MEASURES}
        for name, value, tags in values_of(self._sweep, self._trials):
            self._gauges[name].set(value, tags={tag: _ascii(text) for tag, text in tags.items()})


def _ascii(text: str) -> str:
    """Ray takes no other text in a tag.

    Example:
        >>> _ascii("loss µ")
        'loss \\\\xb5'
    """
    return text.encode("ascii", "backslashreplace").decode("ascii")


def values_of(sweep: Sweep, trials: Mapping[int, Trial]) -> Iterator[Value]:
    """Every value that there is now: of each running trial, and of the sweep."""
    of_sweep = {"sweep": sweep.name or ""}
    for trial in trials.values():
        if trial.state == "running" and trial.slot is not None:  # else its slot is still coming up
            tags = {**of_sweep, "slot": str(trial.slot), "trial": str(trial.number)}
            yield from _values_of_trial(trial, tags, sweep)
    for state, count in Counter(trial.state for trial in trials.values()).items():
        yield "hpsearch_trials", float(count), {**of_sweep, "state": state}
    losses = [_best_loss(trial) for trial in trials.values() if trial.best_epoch and trial.state != "failed"]
    if losses:
        yield "hpsearch_best", sweep.metric.sign * min(losses), {**of_sweep, "metric": sweep.metric.name}


def _values_of_trial(trial: Trial, tags: dict[str, str], sweep: Sweep) -> Iterator[Value]:
    yield "hpsearch_trial_epoch", float(trial.epochs), tags
    if trial.best_epoch is not None:
        with_metric = {**tags, "metric": sweep.metric.name}
        yield "hpsearch_trial_objective", trial.metrics[sweep.metric.name], with_metric
        yield "hpsearch_trial_best", sweep.metric.sign * _best_loss(trial), with_metric
    if trial.peaks.gpu_gib is not None:
        yield "hpsearch_trial_gpu_peak_gib", trial.peaks.gpu_gib, tags
    if trial.peaks.host_gib is not None:
        yield "hpsearch_trial_host_peak_gib", trial.peaks.host_gib, tags


def _best_loss(trial: Trial) -> float:
    assert trial.best_epoch is not None
    return trial.losses[trial.best_epoch]


def _ray_gauge(measure: Measure) -> Any:
    from ray.util.metrics import Gauge as RayGauge

    return RayGauge(measure.name, description=measure.meaning, tag_keys=measure.tags)
