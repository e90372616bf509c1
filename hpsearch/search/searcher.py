"""What every search method can do, and the one place that keeps a point from being proposed twice.

A searcher lives in the driver. It sees points (flat maps of dotted names, constants included) and losses (lower is
better, whatever the goal of the metric); it knows nothing of slots, Ray or the ledger. Constraints and the points that
the user begins with are kept here for all methods: what a method proposes may break a constraint. After a restart it is
made anew and hears the same priors, then the same adopt, tell and drop calls in the same order: a suggestion depends on
these, the seed and the trial's number, and on nothing else, so that a resumed sweep proposes what an unbroken one would
have.

A method is another library's code more often than not: one that raises is left alone from then on, and points are drawn
at random in its place. Nobody outside need know; `failure` says it.
"""

from __future__ import annotations

import math
import random
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, final

from hpsearch.errors import Cause, in_short, is_config_fault
from hpsearch.search.failure_model import FailureModel
from hpsearch.space.space import Point, Space

MAX_REDRAWS = 8
"""Proposals of one method for one trial before a point is drawn at random; a model near the end of a finite space
proposes known points again and again, one that wants what can't be had wants it again and again, and each proposal
costs as much as the first."""

MAX_RANDOM_DRAWS = 1000
"""Random points looked at before a finite space is enumerated: by then most of its points are taken, so the
enumeration costs no more than a few times the trials so far."""

MAX_SCREENED = 50
"""Random points of which one that is not likely to fail is chosen; where none is, the least likely to."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, as far as a searcher can learn from it."""

    number: int
    """The trial's number, counted from 1; that of a prior is no trial's, and 0 or less."""
    point: Point
    """Its parameters."""
    state: Literal["done", "stopped", "infeasible"]
    """`stopped` by the stopping rule; `infeasible` when its own configuration made it fail."""
    losses: Mapping[int, float]
    """Epoch (from 1, rising) to loss, all finite, lower is better; may be empty only if infeasible."""
    cause: Cause | None = None
    """Why an infeasible trial failed; None where that isn't known, which counts as by its configuration."""

    @property
    def fails_by_config(self) -> bool:
        """Whether its configuration made it fail, so that its neighbours may, too."""
        return self.state == "infeasible" and (self.cause is None or is_config_fault(self.cause))

    @property
    def loss(self) -> float | None:
        """The best loss of any epoch; None without one."""
        return min(self.losses.values(), default=None)


class Searcher(ABC):
    """Proposes points and learns from outcomes. Not safe for threads: one driver asks and tells."""

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        """A searcher that knows no trial yet.

        Args:
            space: What is searched.
            seed: All random numbers come from it.
            initial: Values that the first trials have, one entry for each; what they leave open is drawn.
        """
        self.space = space
        self.seed = seed
        self.failure: str | None = None
        """What the method raised, in one sentence; None as long as it is the one that proposes."""
        self._initial = initial
        self._taken: set[str] = set()
        self._points: dict[int, Point] = {}
        self._exploring: dict[int, bool] = {}
        self._fence = FailureModel(space)

    @final
    def learn_prior(self, outcomes: Sequence[Outcome]) -> None:
        """Begin with what is known of this space from elsewhere; to be called before the first ask or adopt.

        Priors are no trials: they take no number, and their points may be tried like all others.

        Args:
            outcomes: Their points lie in the space; their numbers don't matter.
        """
        for position, outcome in enumerate(outcomes):
            self._hear(self._learn_from, replace(outcome, number=-position))

    @final
    def ask(self, number: int) -> Point | None:
        """The point that trial `number` shall try; None when a finite space has no point left.

        Args:
            number: The trial's number, counted from 1; each is asked for or adopted once, in any order.
        """
        point = self._fresh(number)
        if point is not None:
            self.adopt(number, point)
        return point

    @final
    def adopt(self, number: int, point: Point) -> None:
        """Trial `number` tries `point`, whoever chose it: this searcher, the user, or an earlier run of this sweep."""
        if self.space.contains(point):
            self._taken.add(self.space.key(point))
        self._points[number] = point
        self._pass_on(self._begin, number, point)

    @final
    def tell(self, outcome: Outcome) -> None:
        """Trial `outcome.number`, asked for or adopted before, is over, or waits for a promotion.

        A trial that was promoted is told again, and the longer curve replaces the shorter. Losses that are not finite
        are left out; a trial without any other is infeasible.
        """
        self._hear(self._learn, outcome)

    @final
    def drop(self, number: int) -> None:
        """Trial `number` is over and teaches nothing, for instance because a GPU died under it.

        Its point stays taken: the driver tries it again under the same number, or gives it up.
        """
        self._pass_on(self._forget, number)

    @final
    def is_taken(self, point: Point) -> bool:
        """Whether a trial has tried or tries this very point."""
        return self.space.key(point) in self._taken

    @final
    def is_random(self, number: int) -> bool:
        """Whether trial `number`, asked for or adopted before, tries what was drawn for it, not what a model wants.

        It follows from the point, so that nobody has to remember it: `hpsearch/search/interleaving.py`.
        """
        if number not in self._exploring:
            self._exploring[number] = self._is_drawn(number, self._points[number])
        return self._exploring[number]

    @final
    def rng(self, number: int, draw: int | str = 0) -> random.Random:
        """The random numbers of one proposal: the same after a restart, whatever was asked before."""
        return random.Random(f"{self.seed}/{number}/{draw}")

    def _is_drawn(self, number: int, point: Point) -> bool:
        if not self.space.contains(point):
            return False
        key = self.space.key(point)
        drawn = (self.space.draw(self.rng(number, draw)) for draw in range(MAX_REDRAWS))
        return any(self.space.key(each) == key for each in drawn)

    def _fresh(self, number: int) -> Point | None:
        if len(self._taken) == self.space.size:
            return None
        if number <= len(self._initial) and (given := self._given(number)) is not None:
            return given
        for draw in range(MAX_REDRAWS):
            point = self._proposal(number, draw)
            if point is None or not (self._is_ruled_out(point) or self._fence.is_beyond(point)):
                return point
        return self._untried(number)

    def _is_ruled_out(self, point: Point) -> bool:
        return not self.space.admits(point) or self.is_taken(point)

    def _proposal(self, number: int, draw: int) -> Point | None:
        """What the method proposes; a random point where it raised, now or before."""
        if self.failure is None:
            beyond = self._fence.beyond()
            try:
                self._avoid(beyond)
                return self._propose(number, draw)
            except Exception as error:
                self._fail(error, f"when it was asked for trial {number}")
        return self._drawn_from.draw(self.rng(number, draw))

    def _hear(self, hook: Callable[[Outcome], None], outcome: Outcome) -> None:
        """Let the fence and the method learn from an outcome."""
        outcome = _finite(outcome)
        if (outcome.state != "infeasible" or outcome.fails_by_config) and self.space.contains(outcome.point):
            self._fence.note(outcome.number, outcome.point, failed=outcome.fails_by_config)
        self._pass_on(hook, outcome)

    def _pass_on(self, hook: Callable[..., None], *args: Any) -> None:
        """Let the method hear something, unless it raised before."""
        if self.failure is None:
            try:
                hook(*args)
            except Exception as error:
                told = args[0].number if isinstance(args[0], Outcome) else args[0]
                self._fail(error, f"when it heard of trial {told}" if told > 0 else "when it heard of a prior")

    def _fail(self, error: Exception, when: str) -> None:
        traceback.print_exc()  # goes to the sweep's log
        self.failure = f"the search method raised {in_short(error)} ({when}); points are drawn at random since"

    def _given(self, number: int) -> Point | None:
        """The user's point for this trial, the rest of it drawn; None if all that is tried was taken before."""
        rng = self.rng(number, "initial")
        for _ in range(MAX_REDRAWS):
            point = self._drawn_from.draw(rng, self._initial[number - 1])
            if not self.is_taken(point):
                return point
        return None

    @property
    def _drawn_from(self) -> Space:
        """Where random points, and the parameters that a user's point leaves open, are drawn from."""
        return self.space

    def _untried(self, number: int) -> Point | None:
        """A random point that was never taken, and is not likely to fail; None when a finite space has none left.

        In a space too large to be counted under its constraints, MAX_RANDOM_DRAWS taken points in a row are the end.
        """
        rng = self.rng(number, "untried")
        drawn = (self._drawn_from.draw(rng) for _ in range(MAX_RANDOM_DRAWS))
        point = self._safest(point for point in drawn if not self.is_taken(point))
        space = self._drawn_from
        if point is not None or space.size is None or not space.is_counted:
            return point
        return self._untried_of_all(rng)

    def _safest(self, points: Iterable[Point]) -> Point | None:
        """The first that is not likely to fail, else the least likely to, of MAX_SCREENED; None of none."""
        looked_at = []
        for point in islice(points, MAX_SCREENED):
            if not self._fence.is_beyond(point):
                return point
            looked_at.append(point)
        return min(looked_at, key=self._fence.risk, default=None)

    def _untried_of_all(self, rng: random.Random) -> Point | None:
        """An evenly drawn free point of a finite space, found in one pass with nothing held in memory."""
        chosen, num_free = None, 0
        for point in self._drawn_from.points():
            if not self.is_taken(point):
                num_free += 1
                chosen = point if rng.randrange(num_free) == 0 else chosen
        return chosen

    @abstractmethod
    def _propose(self, number: int, draw: int) -> Point | None:
        """The `draw`-th proposal (from 0) for trial `number`; None when there is nothing left to propose.

        It has the parameters that are active by its values; whether it meets the constraints is checked by `ask`.
        It changes nothing that a later proposal depends on: after a restart it isn't made again.
        """

    def _avoid(self, points: tuple[Point, ...]) -> None:  # noqa: B027
        """Count these points, instead of those before, as trials that failed just now.

        What the fence keeps out is never tried, and a model wants most what it knows least: without these it would
        propose the same place again and again.
        """

    def _learn_from(self, prior: Outcome) -> None:
        """Learn from what is no trial of this sweep."""
        self._begin(prior.number, prior.point)
        self._learn(prior)

    def _begin(self, number: int, point: Point) -> None:  # noqa: B027 - a method that learns nothing needs none of these
        """Trial `number` runs `point`: others should not all be drawn to the same place."""

    def _learn(self, outcome: Outcome) -> None:  # noqa: B027
        """Learn from a trial that is over."""

    def _forget(self, number: int) -> None:  # noqa: B027
        """Trial `number` no longer runs and has no outcome."""


def _finite(outcome: Outcome) -> Outcome:
    """The same without losses that are not finite; infeasible where that leaves none."""
    if outcome.losses and all(map(math.isfinite, outcome.losses.values())):
        return outcome
    losses = {epoch: loss for epoch, loss in outcome.losses.items() if math.isfinite(loss)}
    return replace(outcome, state=outcome.state if losses else "infeasible", losses=losses)
