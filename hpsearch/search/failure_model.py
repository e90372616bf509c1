"""Where configurations fail: how likely a point is to, from the trials that failed by their configuration.

One for all methods, asked by the contract beside the constraints. What is modelled is in `failure_gp.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from hpsearch.space.space import Choice, Integer, Point, Real, Searched, Shaped, Space, canonical

if TYPE_CHECKING:
    from hpsearch.search.failure_gp import FenceModel, Likeness

MAX_RISK = 0.9
"""A point with more than this chance to fail is drawn again. Less would do, and keep the search from the fence itself,
where the best value often is."""
MAX_TRIALS = 256
"""Trials that are looked at, the last ones: the time grows with their cube."""
MAX_TRIALS_FOR_LENGTHS = 128
"""Trials that the model's lengths are chosen by, the last ones."""
SHOWN_PER_TRIAL, MAX_SHOWN = 2, 128
"""Points of an even sample of the space that are looked at to show a method what is beyond; measured in
docs/decisions/0028."""
MIN_TRIALS_SHOWN = 10
"""Trials before anything is shown: libraries begin with as many random ones, and would count these among them."""
GROWTH = 1.25
"""Lengths are chosen anew whenever there are so many times more trials."""

_INACTIVE = -1.0
"""Where an inactive parameter is: one unit cube away."""

Trials = tuple[tuple[int, bool], ...]
"""Numbers of trials, rising, each with whether it failed."""


@final
class FailureModel:
    """The trials that failed by their configuration, among all that teach something."""

    def __init__(self, space: Space) -> None:
        self._space = space
        domains = {name: domain for name, domain in space.searched.items() if domain.size != 1}
        self._axes = [_axis(name, domain) for name, domain in domains.items()]
        self._failed: dict[int, bool] = {}
        self._places: dict[int, list[float]] = {}
        self._model: FenceModel | None = None
        self._likeness: Likeness | None = None
        self._chosen_by: Trials = ()
        self._beyond: tuple[Point, ...] = ()
        self._beyond_of: FenceModel | None = None

    def note(self, number: int, point: Point, *, failed: bool) -> None:
        """Trial `number`, at a point of the space, failed by its configuration or did not; the last word counts."""
        if self._failed.get(number) is not failed:
            place = self._place(point)
            if self._places.get(number, place) != place:
                self._likeness = None
            self._places[number], self._failed[number] = place, failed
            self._model = None

    @property
    def is_known(self) -> bool:
        """Whether any trial failed by its configuration; until then nothing is at risk."""
        return bool(self._axes) and any(self._failed.values())

    def is_beyond(self, point: Point) -> bool:
        """Whether a point is very likely to fail."""
        return self.risk(point) > MAX_RISK

    def risk(self, point: Point) -> float:
        """How likely a point is to fail, in [0, 1]; depends on what was noted, not on the order of the notes."""
        if not self.is_known:
            return 0.0
        return self._current_model().risk(self._place(point))

    def beyond(self) -> tuple[Point, ...]:
        """Points that are very likely to fail, of an even sample of the space; the same object until they change.

        As with `risk`, the order of the notes does not matter.
        """
        if not self.is_known or len(self._failed) < MIN_TRIALS_SHOWN:
            return ()
        if self._model is None or self._beyond_of is not self._model:
            self._beyond_of = self._current_model()
            risks = self._beyond_of.risks_of_sample()[: SHOWN_PER_TRIAL * len(self._failed)]
            beyond = tuple(point for point, risk in zip(self._sample, risks, strict=False) if risk > MAX_RISK)
            self._beyond = self._beyond if beyond == self._beyond else beyond
        return self._beyond

    @cached_property
    def _sample(self) -> list[Point]:
        rng = random.Random("fence")
        drawn = (self._space.try_draw(rng) for _ in range(MAX_SHOWN))
        return [point for point in drawn if point is not None]

    def _current_model(self) -> FenceModel:
        if self._model is None:
            self._model = self._make_model()
        return self._model

    def _make_model(self) -> FenceModel:
        from hpsearch.search.failure_gp import FenceModel, Likeness, choose_lengths

        trials = tuple(sorted(self._failed.items()))
        chosen_by = trials[: _milestone(len(trials))][-MAX_TRIALS_FOR_LENGTHS:]
        if self._likeness is None or self._chosen_by != chosen_by:
            unordered = [axis.is_unordered for axis in self._axes]
            lengths = choose_lengths(*self._table(chosen_by), unordered)
            self._likeness = Likeness(lengths, unordered, [self._place(point) for point in self._sample])
            self._chosen_by = chosen_by
        last = trials[-MAX_TRIALS:]
        places, labels = self._table(last)
        self._likeness.set_trials(tuple(number for number, _ in last), places)
        return FenceModel(self._likeness, labels)

    def _table(self, trials: Trials) -> tuple[list[list[float]], list[float]]:
        return [self._places[number] for number, _ in trials], [float(failed) for _, failed in trials]

    def _place(self, point: Point) -> list[float]:
        return [axis.place(point[axis.name]) if axis.name in point else _INACTIVE for axis in self._axes]


def _milestone(count: int) -> int:
    """The last number of trials, not above `count`, at which lengths are chosen."""
    milestone = min(count, 4)
    while (larger := math.ceil(milestone * GROWTH)) <= count:
        milestone = larger
    return milestone


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One parameter as a side of the unit cube."""

    name: str
    """Dotted name of the parameter."""
    place: Callable[[Any], float]
    """A value's place in [0, 1]."""
    is_unordered: bool
    """Whether all values are equally far from each other."""


def _axis(name: str, domain: Searched) -> _Axis:
    if isinstance(domain, Shaped):
        return _Axis(name=name, place=domain.cdf, is_unordered=False)
    if not isinstance(domain, Choice):
        return _Axis(name=name, place=_scale(domain), is_unordered=False)
    values, is_numeric = list(domain.values), all(map(_is_number, domain.values))
    if is_numeric:
        values.sort()
    rank = {canonical(value): position / (len(values) - 1) for position, value in enumerate(values)}
    return _Axis(name=name, place=lambda value: rank[canonical(value)], is_unordered=not is_numeric)


def _scale(domain: Integer | Real) -> Callable[[Any], float]:
    scaled: Callable[[float], float] = math.log if domain.log else float
    low, high = scaled(domain.min), scaled(domain.max)
    return lambda value: (scaled(value) - low) / (high - low)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
