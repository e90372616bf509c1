"""Search methods, one file for each; `make_searcher` is the only way in and imports the method's library alone."""

from __future__ import annotations

from hpsearch.errors import Problem, SpecError
from hpsearch.search.contract import Outcome, Searcher
from hpsearch.sweep import SAMPLERS, Sweep

__all__ = ["Outcome", "Searcher", "make_searcher"]


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


def _make(sweep: Sweep) -> Searcher:
    space, seed = sweep.space, sweep.seed
    sampler = sweep.sampler or next(iter(SAMPLERS[sweep.method]), "")
    if sweep.method == "grid":
        from hpsearch.search.grid import GridSearcher

        return GridSearcher(space=space, seed=seed)
    if sweep.method == "optuna" and sampler == "qmc":
        from hpsearch.search.qmc_search import QmcSearcher

        return QmcSearcher(space=space, seed=seed)
    if sweep.method == "optuna":
        from hpsearch.search.optuna_search import OptunaSearcher

        return OptunaSearcher(space=space, seed=seed, sampler=sampler)
    if sweep.method == "hyperopt":
        from hpsearch.search.hyperopt_search import HyperoptSearcher

        return HyperoptSearcher(space=space, seed=seed, sampler=sampler)
    from hpsearch.search.random_search import RandomSearcher

    return RandomSearcher(space=space, seed=seed)
