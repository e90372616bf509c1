"""Search methods, one file for each; `make_searcher` is the only way in and imports the method's library alone."""

from __future__ import annotations

from hpsearch.errors import Problem, SpecError
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

__all__ = ["Outcome", "Searcher", "first_points", "make_searcher"]


def make_searcher(sweep: Sweep) -> Searcher:
    """The searcher of a sweep, which knows no trial yet.

    Raises:
        SpecError: The method's library isn't installed; the message names it.
    """
    try:
        return _make(sweep)
    except ModuleNotFoundError as error:
        missing = f"{sweep.method} needs the package '{error.name}', which isn't installed."
        message = f"{missing} Write: pip install {error.name}, or method: random."
        raise SpecError([Problem(where=("method",), message=message)]) from error


def first_points(sweep: Sweep, count: int) -> list[Point]:
    """What a sweep's first trials would try if all of them ran at once; fewer than `count` if it has fewer.

    Raises:
        SpecError: The method's library isn't installed.
    """
    searcher = make_searcher(sweep)
    asked = (searcher.ask(number) for number in range(1, min(count, sweep.max_trials) + 1))
    return [point for point in asked if point is not None]


def _make(sweep: Sweep) -> Searcher:
    space, seed, initial = sweep.space, sweep.seed, sweep.first_points
    sampler = sweep.resolved_sampler or ""
    if sweep.method == "grid":
        from hpsearch.search.grid import GridSearcher

        return GridSearcher(space=space, seed=seed, initial=initial)
    if sweep.method == "optuna" and sampler == "qmc":
        from hpsearch.search.qmc_search import QmcSearcher

        return QmcSearcher(space=space, seed=seed, initial=initial)
    if sweep.method == "optuna":
        from hpsearch.search.optuna_search import OptunaSearcher

        return OptunaSearcher(space=space, seed=seed, sampler=sampler, initial=initial)
    if sweep.method == "hyperopt":
        from hpsearch.search.hyperopt_search import HyperoptSearcher

        return HyperoptSearcher(space=space, seed=seed, sampler=sampler, initial=initial)
    if sweep.method == "controller" and sampler == "evolution":
        from hpsearch.search.evolution import EvolutionSearcher

        return EvolutionSearcher(space=space, seed=seed, initial=initial)
    if sweep.method == "controller":
        from hpsearch.search.controller import ControllerSearcher

        return ControllerSearcher(space=space, seed=seed, initial=initial)
    from hpsearch.search.random_search import RandomSearcher

    return RandomSearcher(space=space, seed=seed, initial=initial)
