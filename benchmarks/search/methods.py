"""All methods of the benchmark, by their names in its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.search.simulator import Contestant
from benchmarks.search.tables import Table
from benchmarks.search.tried import TRIED

Make = Callable[[Table, int, int], Contestant]
"""Called with the table, the seed and the number of workers."""
MAX_TRIALS = 1_000_000
ASHA = {"early_terminate": {"type": "asha", "eta": 3}}
ASHA_STOP = {"early_terminate": {"type": "asha_stop", "eta": 3}}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the benchmark."""

    make: Make
    """Makes the contestant."""
    settings: str
    """All settings of the method as text; cached results are only used if it is the same."""
    modules: tuple[str, ...]
    """Files beside this one that the method depends on."""
    packages: tuple[str, ...] = ()
    """Packages on whose versions its results depend."""
    is_ours: bool = False
    """Whether it depends on the code of hpsearch."""
    seeds: int = 20
    """Most seeds that it runs; fewer for methods that would take an hour alone."""
    trainings: int = 50
    """Largest budget that it runs, in full trainings; smaller for the same reason."""


def _ours(**spec: Any) -> Method:
    def make(table: Table, seed: int, workers: int) -> Contestant:
        from benchmarks.search.ours import Ours

        return Ours(table, seed=seed, workers=workers, trials=MAX_TRIALS, spec=spec)

    return Method(make=make, settings=repr(spec), modules=("ours.py",), packages=("optuna", "hyperopt"), is_ours=True)


def _tried(name: str) -> Method:
    production = _ours(method="bayes", **ASHA)

    def make(table: Table, seed: int, workers: int) -> Contestant:
        from benchmarks.search.tried import Changed

        return Changed(lambda: production.make(table, seed, workers), TRIED[name])

    return replace(production, make=make, settings=name, modules=("ours.py", "tried.py"))


def _optuna(pruner: str, *arguments: Any, **settings: Any) -> Method:
    def make(table: Table, seed: int, workers: int) -> Contestant:
        import optuna

        from benchmarks.search.optuna_peers import OptunaPeer

        given = {key: table.max_epochs if value == "max_epochs" else value for key, value in settings.items()}
        sampler = optuna.samplers.TPESampler(seed=seed)
        return OptunaPeer(
            table, sampler=sampler, pruner=getattr(optuna.pruners, pruner)(*arguments, **given), seed=seed
        )

    return Method(
        make=make, settings=repr((pruner, arguments, settings)), modules=("optuna_peers.py",), packages=("optuna",)
    )


def _hyperopt(table: Table, seed: int, workers: int) -> Contestant:
    from benchmarks.search.optuna_peers import HyperoptPeer

    return HyperoptPeer(table, seed=seed)


def _ray(search: str, **settings: Any) -> Method:
    def make(table: Table, seed: int, workers: int) -> Contestant:
        from benchmarks.search.ray_peers import RandomSearch, RayPeer, optuna_search

        chosen = RandomSearch(table.parameters, seed) if search == "random" else optuna_search(table, seed)
        return RayPeer(table, search=chosen, seed=seed, **settings)

    return Method(make=make, settings=repr((search, settings)), modules=("ray_peers.py",), packages=("ray", "optuna"))


def _syne(scheduler: str, **most: Any) -> Method:
    def make(table: Table, seed: int, workers: int) -> Contestant:
        from syne_tune.optimizer import baselines

        from benchmarks.search.syne_peers import SynePeer

        return SynePeer(table, make=getattr(baselines, scheduler), seed=seed)

    return Method(make=make, settings=scheduler, modules=("syne_peers.py",), packages=("syne-tune",), **most)


METHODS: Mapping[str, Method] = {
    "hpsearch bayes + asha": _ours(method="bayes", **ASHA),
    "hpsearch random + asha": _ours(method="random", **ASHA),
    "hpsearch random + asha_stop": _ours(method="random", **ASHA_STOP),
    "hpsearch random": _ours(method="random"),
    "hpsearch bayes": _ours(method="bayes"),
    **{name: _tried(name) for name in TRIED},
    "Ray OptunaSearch + ASHA": _ray("optuna"),
    "Ray random + ASHA": _ray("random"),
    "Ray random + ASHA, NaN as 1e9": _ray("random", nan_as=1e9),
    "Optuna TPE": _optuna("NopPruner"),
    "Optuna TPE + SuccessiveHalving": _optuna("SuccessiveHalvingPruner", min_resource=1, reduction_factor=3),
    "Optuna TPE + Hyperband": _optuna("HyperbandPruner", min_resource=1, max_resource="max_epochs", reduction_factor=3),
    "Optuna TPE + Median": _optuna("MedianPruner"),
    "HyperOpt TPE": Method(make=_hyperopt, settings="", modules=("optuna_peers.py",), packages=("hyperopt",)),
    "Syne Tune ASHA": _syne("ASHA"),
    "Syne Tune BOHB": _syne("BOHB", seeds=5, trainings=20),
}
