"""Predicts how likely a point is to fail, from the trials that failed because of their own configuration.

All methods share this model: `Searcher.ask` uses it to refuse points. The regression is in `failure_gp.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from hpsearch.plain import canonical, is_number
from hpsearch.space.space import Choice, Integer, Point, Real, Searched, Shaped, Space

if TYPE_CHECKING:
    from hpsearch.search.failure_gp import CachedKernel, GaussianProcess

MAX_RISK = 0.9
"""A point that is more likely to fail than this is drawn again. A lower value would keep the search away from the limit
of what can be trained, where the best value often is."""
MAX_TRIALS = 256
"""Number of trials, the last ones, that the model is fitted to: the time grows with its cube."""
MAX_TRIALS_FOR_LENGTHS = 128
"""Number of trials, the last ones, by which length scales are chosen."""
SAMPLES_PER_TRIAL, MAX_SAMPLES = 2, 128
"""Points of an even sample of the space among which `likely_failures` are looked for; measured in
docs/decisions/0028."""
MIN_TRIALS_TO_SHOW = 10
"""Number of trials below which there are no `likely_failures`: libraries begin with so many random trials and would
count these points among them."""
GROWTH = 1.25
"""Length scales are chosen again whenever the number of trials has grown by this factor."""

_INACTIVE = -1.0
"""Coordinate of an inactive parameter: a unit cube away from all active ones."""

Trials = tuple[tuple[int, bool], ...]
"""Numbers of trials, rising, each with whether it failed."""


@final
class FailureModel:
    """Learns from trials whether they failed by their own configuration, and predicts it for other points.

    Its predictions depend on the trials that were added, but not on their order.
    """

    def __init__(self, space: Space) -> None:
        """Make a model without trials."""
        self._space = space
        domains = {name: domain for name, domain in space.searched.items() if domain.size != 1}
        self._axes = [_axis(name, domain) for name, domain in domains.items()]
        self._failed: dict[int, bool] = {}
        self._coordinates: dict[int, list[float]] = {}
        self._process: GaussianProcess | None = None
        self._kernel: CachedKernel | None = None
        self._scales_chosen_by: Trials = ()
        self._likely_failures: tuple[Point, ...] = ()
        self._likely_failures_of: GaussianProcess | None = None

    def add(self, number: int, point: Point, *, failed: bool) -> None:
        """Add a trial, or replace the one with the same number.

        Args:
            number: The trial's number; 0 or less for a prior.
            point: A point of the space.
            failed: Whether it failed by its own configuration.
        """
        if self._failed.get(number) is not failed:
            coordinates = self._coordinates_of(point)
            if self._coordinates.get(number, coordinates) != coordinates:
                self._kernel = None
            self._coordinates[number], self._failed[number] = coordinates, failed
            self._process = None

    @property
    def has_failures(self) -> bool:
        """Whether any trial failed by its configuration; until then every risk is 0."""
        return bool(self._axes) and any(self._failed.values())

    def is_likely_to_fail(self, point: Point) -> bool:
        """Whether the risk of a point is above MAX_RISK."""
        return self.risk(point) > MAX_RISK

    def risk(self, point: Point) -> float:
        """How likely a point of the space is to fail, in [0, 1]."""
        if not self.has_failures:
            return 0.0
        return self._current_process().risk(self._coordinates_of(point))

    def likely_failures(self) -> tuple[Point, ...]:
        """Points of an even sample of the space that are likely to fail; the same object until they change."""
        if not self.has_failures or len(self._failed) < MIN_TRIALS_TO_SHOW:
            return ()
        if self._process is None or self._likely_failures_of is not self._process:
            self._likely_failures_of = self._current_process()
            risks = self._likely_failures_of.risks_of_sample()[: SAMPLES_PER_TRIAL * len(self._failed)]
            found = tuple(point for point, risk in zip(self._sample, risks, strict=False) if risk > MAX_RISK)
            self._likely_failures = self._likely_failures if found == self._likely_failures else found
        return self._likely_failures

    @cached_property
    def _sample(self) -> list[Point]:
        rng = random.Random("fence")  # another seed would change the sample, and so what a resumed sweep proposes
        drawn = (self._space.try_draw(rng) for _ in range(MAX_SAMPLES))
        return [point for point in drawn if point is not None]

    def _current_process(self) -> GaussianProcess:
        if self._process is None:
            self._process = self._fit_process()
        return self._process

    def _fit_process(self) -> GaussianProcess:
        from hpsearch.search.failure_gp import CachedKernel, GaussianProcess, choose_length_scales

        trials = tuple(sorted(self._failed.items()))
        chosen_by = trials[: _milestone(len(trials))][-MAX_TRIALS_FOR_LENGTHS:]
        if self._kernel is None or self._scales_chosen_by != chosen_by:
            unordered = [axis.is_unordered for axis in self._axes]
            scales = choose_length_scales(*self._table(chosen_by), unordered)
            self._kernel = CachedKernel(scales, unordered, [self._coordinates_of(point) for point in self._sample])
            self._scales_chosen_by = chosen_by
        last = trials[-MAX_TRIALS:]
        coordinates, labels = self._table(last)
        self._kernel.set_trials(tuple(number for number, _ in last), coordinates)
        return GaussianProcess(self._kernel, labels)

    def _table(self, trials: Trials) -> tuple[list[list[float]], list[float]]:
        """Coordinates (trial, axis) and labels (trial,)."""
        return [self._coordinates[number] for number, _ in trials], [float(failed) for _, failed in trials]

    def _coordinates_of(self, point: Point) -> list[float]:
        return [axis.coordinate(point[axis.name]) if axis.name in point else _INACTIVE for axis in self._axes]


def _milestone(count: int) -> int:
    """The last number of trials, not above `count`, at which length scales are chosen."""
    milestone = min(count, 4)
    while (larger := math.ceil(milestone * GROWTH)) <= count:
        milestone = larger
    return milestone


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One parameter as an axis of the unit cube."""

    name: str
    """Dotted name of the parameter."""
    coordinate: Callable[[Any], float]
    """Maps a value to [0, 1]."""
    is_unordered: bool
    """Whether all different values are equally far from each other."""


def _axis(name: str, domain: Searched) -> _Axis:
    if isinstance(domain, Shaped):
        return _Axis(name=name, coordinate=domain.cdf, is_unordered=False)
    if not isinstance(domain, Choice):
        return _Axis(name=name, coordinate=_scaled(domain), is_unordered=False)
    values, is_numeric = list(domain.values), all(map(is_number, domain.values))
    if is_numeric:
        values.sort()
    rank = {canonical(value): position / (len(values) - 1) for position, value in enumerate(values)}
    return _Axis(name=name, coordinate=lambda value: rank[canonical(value)], is_unordered=not is_numeric)


def _scaled(domain: Integer | Real) -> Callable[[Any], float]:
    scale: Callable[[float], float] = math.log if domain.log else float
    low, high = scale(domain.min), scale(domain.max)
    return lambda value: (scale(value) - low) / (high - low)
