"""Search methods, one file for each; the interface that they implement is in `searcher.py`.

`make_searcher` makes the searcher of a sweep and imports only the library of its method.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.errors import Problem, SpecError
from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep

__all__ = ["Outcome", "Searcher", "first_points", "make_searcher"]


def make_searcher(sweep: Sweep) -> Searcher:
    """Make the searcher of a sweep, without any trials.

    Raises:
        SpecError: The method's library isn't installed; the message names it.
    """
    try:
        return _make(sweep)
    except ModuleNotFoundError as error:
        missing = f"{sweep.method} needs the package '{error.name}', which isn't installed."
        message = f"{missing} Write: pip install {error.name}, or method: random."
        raise SpecError([Problem(where=("method",), message=message)]) from error


def first_points(sweep: Sweep, count: int, *, prior: Sequence[Outcome] = ()) -> list[Point]:
    """The points that a sweep's first trials get if they all start before any outcome is known.

    Args:
        sweep: The sweep, which is not started.
        count: How many points; fewer are returned if the sweep has fewer trials.
        prior: Outcomes that the search starts with.

    Raises:
        SpecError: The method's library isn't installed.
    """
    searcher = make_searcher(sweep)
    searcher.learn_prior(prior)
    asked = (searcher.ask(number) for number in range(1, min(count, sweep.max_trials) + 1))
    return [point for point in asked if point is not None]


def _make(sweep: Sweep) -> Searcher:
    if sweep.method == "optuna":
        return _make_of_optuna(sweep)
    space, seed, initial = sweep.space, sweep.seed, sweep.first_points
    if sweep.method == "grid":
        from hpsearch.search.grid import GridSearcher

        return GridSearcher(space=space, seed=seed, initial=initial)
    if sweep.method == "hyperopt":
        from hpsearch.search.hyperopt_search import HyperoptSearcher

        assert sweep.resolved_sampler is not None, "hyperopt has a default sampler"
        return HyperoptSearcher(space=space, seed=seed, sampler=sweep.resolved_sampler, initial=initial)
    if sweep.method == "controller" and sweep.resolved_sampler == "evolution":
        from hpsearch.search.evolution import EvolutionSearcher

        return EvolutionSearcher(space=space, seed=seed, initial=initial)
    if sweep.method == "controller":
        from hpsearch.search.controller import ControllerSearcher

        return ControllerSearcher(space=space, seed=seed, initial=initial)
    from hpsearch.search.random_search import RandomSearcher

    return RandomSearcher(space=space, seed=seed, initial=initial)


def _make_of_optuna(sweep: Sweep) -> Searcher:
    space, seed, initial = sweep.space, sweep.seed, sweep.first_points
    if sweep.resolved_sampler == "qmc":
        from hpsearch.search.optuna_qmc import QmcSearcher

        return QmcSearcher(space=space, seed=seed, initial=initial)
    if sweep.resolved_sampler == "gp":
        from hpsearch.search.optuna_gp import GpSearcher

        return GpSearcher(space=space, seed=seed, initial=initial)
    if sweep.resolved_sampler == "cmaes":
        from hpsearch.search.optuna_cmaes import CmaEsSearcher

        return CmaEsSearcher(space=space, seed=seed, initial=initial)
    from hpsearch.search.optuna_tpe import TpeSearcher

    return TpeSearcher(space=space, seed=seed, initial=initial)
