"""The interface of search methods, and what all of them share.

A searcher runs in the driver. It sees points (flat maps of dotted names, constants included) and losses (lower is
better, whatever the goal of the metric); it does not depend on slots, Ray or the ledger.

The base class keeps a point from being tried twice, in priors or in the sweep, checks constraints, which a method's
proposal may break, starts with the user's initial points, and falls back to random points. After a restart, a new
searcher gets the same priors, then the same calls of adopt, tell and drop in the same order. A proposal depends on
these, the seed and the trial's number alone, so that a resumed sweep proposes what an uninterrupted one would have
proposed.

A method is often another library's code: one that raises is not called any more, and points are drawn at random from
then on. Callers need not handle this; `failure` says what was raised.
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
"""Proposals of a method for one trial before a point is drawn at random. Near the end of a finite space, or where it
prefers points that are refused, a model proposes the same points again and again, and each proposal costs as much as
the first."""

MAX_RANDOM_DRAWS = 1000
"""Random points looked at before a finite space is enumerated: by then most of its points are taken, so the
enumeration costs no more than a few times the trials so far."""

MAX_SCREENED = 50
"""Random points from which the first that is not likely to fail is chosen; if all are, the least likely one."""

NEVER_RAN = 10**9
"""Number of the first of the points that `_avoid` shows to a library as trials. It is high because TPE, in Optuna and
in HyperOpt, gives less weight to trials with low numbers."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, as a searcher learns from it."""

    number: int
    """The trial's number, counted from 1; 0 or less for a prior, which is no trial."""
    point: Point
    """The trial's parameters, by dotted name."""
    state: Literal["done", "stopped", "infeasible"]
    """`done` if it trained to its end, `stopped` or paused by the stopping rule, `infeasible` if its own configuration
    made it fail."""
    losses: Mapping[int, float]
    """Epoch (from 1, rising) to loss, all finite, lower is better; may be empty only if infeasible."""
    cause: Cause | None = None
    """Why an infeasible trial failed; None if unknown, which counts as its configuration's fault."""

    @property
    def fails_by_config(self) -> bool:
        """Whether its own configuration made it fail, so that similar configurations may fail too."""
        return self.state == "infeasible" and (self.cause is None or is_config_fault(self.cause))

    @property
    def loss(self) -> float | None:
        """The best loss of any epoch; None without one."""
        return min(self.losses.values(), default=None)


class Searcher(ABC):
    """Proposes points and learns from outcomes; not safe for use by several threads.

    A method implements `_propose`, and those of `_begin`, `_learn`, `_forget`, `_learn_prior` and `_avoid` that it
    needs, and says by `_tries_every_point` whether it lists the points of a space. Nothing else is overridden.
    """

    _tries_every_point = False
    """Whether the points of priors are tried like all others; if not, only once no other point is left."""

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        """Make a searcher without trials.

        Args:
            space: The search space.
            seed: All random numbers are derived from it.
            initial: Values for trials 1, 2, ..., one entry for each; parameters that an entry leaves open are drawn.
        """
        self.space = space
        self.seed = seed
        self.failure: str | None = None
        """What the method raised, in one sentence; None while the method proposes."""
        self._initial = initial
        self._taken: set[str] = set()
        self._known: set[str] = set()
        self._points: dict[int, Point] = {}
        self._random: dict[int, bool] = {}
        self._failures = FailureModel(space)

    @final
    def learn_prior(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from outcomes that other sweeps or sources had in this space; called before the first ask or adopt.

        Priors are not trials of this sweep: they have no number, and `is_taken` is false of their points. But how good
        these are is known, so they are proposed only once no other point of the space is left, except by a method that
        tries every point; the user's initial points may be among them.

        Args:
            outcomes: Their points lie in the space; their numbers are ignored.
        """
        if not self._tries_every_point:
            self._known.update(self.space.key(outcome.point) for outcome in outcomes)
        for position, outcome in enumerate(outcomes):
            self._learn_by(self._learn_prior, replace(outcome, number=-position))

    @final
    def ask(self, number: int) -> Point | None:
        """The point that trial `number` shall try; None if a finite space has no point left.

        Args:
            number: The trial's number, counted from 1; each is asked for or adopted once, in any order.
        """
        point = self._choose(number)
        if point is not None:
            self.adopt(number, point)
        return point

    @final
    def adopt(self, number: int, point: Point) -> None:
        """Record that trial `number` tries `point`, whether it is proposed, the user's, or from before a restart."""
        if self.space.contains(point):
            self._taken.add(self.space.key(point))
        self._points[number] = point
        self._call(self._begin, number, point)

    @final
    def tell(self, outcome: Outcome) -> None:
        """Report that a trial has ended, or is paused.

        A trial that was promoted is reported again, and its longer curve replaces the shorter one. Losses that are not
        finite are ignored; a trial without any other is infeasible.

        Args:
            outcome: The outcome of a trial that was asked for or adopted before.
        """
        self._learn_by(self._learn, outcome)

    @final
    def drop(self, number: int) -> None:
        """Report that trial `number` ended without an outcome to learn from, for example because a GPU failed.

        Its point remains taken: the driver either tries it again under the same number or gives it up.
        """
        self._call(self._forget, number)

    @final
    def is_taken(self, point: Point) -> bool:
        """Whether any trial has, or had, exactly this point."""
        return self.space.key(point) in self._taken

    @final
    def is_random(self, number: int) -> bool:
        """Whether the point of trial `number`, asked for or adopted before, is one of its random draws.

        The answer follows from the point alone, so that it need not be stored: see `interleaving.py`.
        """
        if number not in self._random:
            self._random[number] = self._is_drawn(number, self._points[number])
        return self._random[number]

    @final
    def rng(self, number: int, draw: int | str = 0) -> random.Random:
        """The random numbers of one proposal, which are the same after a restart and in any order of calls.

        Args:
            number: The trial's number.
            draw: The number of the proposal for this trial, or the name of another purpose.
        """
        return random.Random(f"{self.seed}/{number}/{draw}")

    def _is_drawn(self, number: int, point: Point) -> bool:
        if not self.space.contains(point):
            return False
        key = self.space.key(point)
        drawn = (self.space.draw(self.rng(number, draw)) for draw in range(MAX_REDRAWS))
        return any(self.space.key(each) == key for each in drawn)

    def _choose(self, number: int) -> Point | None:
        """A point for a trial: the user's, else a proposal that is not refused, else a random one."""
        if len(self._taken) == self.space.size:
            return None
        if number <= len(self._initial) and (initial := self._initial_point(number)) is not None:
            return initial
        for draw in range(MAX_REDRAWS):
            point = self._proposal(number, draw)
            if point is None or not (self._is_ruled_out(point) or self._failures.is_likely_to_fail(point)):
                return point
        return self._untried(number)

    def _is_ruled_out(self, point: Point) -> bool:
        if not self.space.admits(point) or self.is_taken(point):
            return True
        return self._is_known(point) and len(self._taken | self._known) != self.space.size

    def _is_known(self, point: Point) -> bool:
        """Whether this sweep or one of its priors has tried exactly this point."""
        return self.is_taken(point) or self.space.key(point) in self._known

    def _proposal(self, number: int, draw: int) -> Point | None:
        """What the method proposes; a random point if it raised, now or before."""
        if self.failure is None:
            likely_failures = self._failures.likely_failures()
            try:
                self._avoid(likely_failures)
                return self._propose(number, draw)
            except Exception as error:
                self._fail(error, f"when it was asked for trial {number}")
        return self._draw_space.draw(self.rng(number, draw))

    def _learn_by(self, hook: Callable[[Outcome], None], outcome: Outcome) -> None:
        """Update the failure model, and the method by its hook."""
        outcome = _finite(outcome)
        if (outcome.state != "infeasible" or outcome.fails_by_config) and self.space.contains(outcome.point):
            self._failures.add(outcome.number, outcome.point, failed=outcome.fails_by_config)
        self._call(hook, outcome)

    def _call(self, hook: Callable[..., None], *args: Any) -> None:
        """Call a hook of the method, unless the method raised before."""
        if self.failure is None:
            try:
                hook(*args)
            except Exception as error:
                number = args[0].number if isinstance(args[0], Outcome) else args[0]
                self._fail(error, f"when it learned of trial {number}" if number > 0 else "when it learned of a prior")

    def _fail(self, error: Exception, when: str) -> None:
        traceback.print_exc()  # goes to the sweep's log
        self.failure = f"the search method raised {in_short(error)} ({when}); points are drawn at random since"

    def _initial_point(self, number: int) -> Point | None:
        """The user's point for this trial, the rest of it drawn; None if all points drawn are taken."""
        rng = self.rng(number, "initial")
        for _ in range(MAX_REDRAWS):
            point = self._draw_space.draw(rng, self._initial[number - 1])
            if not self.is_taken(point):
                return point
        return None

    @property
    def _draw_space(self) -> Space:
        """Where random points, and the parameters that an initial point leaves open, are drawn from."""
        return self.space

    def _untried(self, number: int) -> Point | None:
        """A random point that is not taken nor, if possible, known or likely to fail; None if there is none.

        In a space too large to be counted under its constraints, MAX_RANDOM_DRAWS taken points in a row are the end.
        """
        rng = self.rng(number, "untried")
        point = self._random_point(rng, self._is_known)
        return self._random_point(rng, self.is_taken) if point is None and self._known else point

    def _random_point(self, rng: random.Random, is_refused: Callable[[Point], bool]) -> Point | None:
        drawn = (self._draw_space.draw(rng) for _ in range(MAX_RANDOM_DRAWS))
        point = self._safest(point for point in drawn if not is_refused(point))
        space = self._draw_space
        if point is not None or space.size is None or not space.is_counted:
            return point
        return self._one_of_all(rng, is_refused)

    def _safest(self, points: Iterable[Point]) -> Point | None:
        """The first of MAX_SCREENED points that is not likely to fail, else the least likely; None without points."""
        screened = []
        for point in islice(points, MAX_SCREENED):
            if not self._failures.is_likely_to_fail(point):
                return point
            screened.append(point)
        return min(screened, key=self._failures.risk, default=None)

    def _one_of_all(self, rng: random.Random, is_refused: Callable[[Point], bool]) -> Point | None:
        """A point of a finite space that is not refused, all being equally likely; one pass, nothing held in memory."""
        chosen, num_free = None, 0
        for point in self._draw_space.points():
            if not is_refused(point):
                num_free += 1
                chosen = point if rng.randrange(num_free) == 0 else chosen
        return chosen

    @abstractmethod
    def _propose(self, number: int, draw: int) -> Point | None:
        """A proposal for a trial; None if there is nothing left to propose.

        It has the parameters that are active by its values; `ask` checks the constraints. It must not change anything
        that a later proposal depends on: after a restart it isn't made again.

        Args:
            number: The trial's number, from 1.
            draw: 0 for the first proposal for this trial; one more each time that `ask` refused one.
        """

    def _avoid(self, points: tuple[Point, ...]) -> None:  # noqa: B027
        """Count these points, instead of those of the call before, as trials that have just failed.

        A point that is likely to fail is never tried, and a model prefers regions without trials: without these points
        it would propose the same region again and again.
        """

    def _learn_prior(self, prior: Outcome) -> None:
        """Learn from a prior, whose number is 0 or less."""
        self._begin(prior.number, prior.point)
        self._learn(prior)

    def _begin(self, number: int, point: Point) -> None:  # noqa: B027 - a method that learns nothing needs none of these
        """Learn that trial `number` runs `point`, for example to keep other proposals away from it."""

    def _learn(self, outcome: Outcome) -> None:  # noqa: B027
        """Learn from a trial that has ended or is paused; again, with a longer curve, if it was promoted."""

    def _forget(self, number: int) -> None:  # noqa: B027
        """Learn that trial `number` no longer runs and has no outcome."""


def _finite(outcome: Outcome) -> Outcome:
    """The outcome without losses that are not finite; infeasible if that leaves none."""
    if outcome.losses and all(map(math.isfinite, outcome.losses.values())):
        return outcome
    losses = {epoch: loss for epoch, loss in outcome.losses.items() if math.isfinite(loss)}
    return replace(outcome, state=outcome.state if losses else "infeasible", losses=losses)
