"""HyperOpt's algorithms (`sampler: tpe` and `sampler: anneal`).

HyperOpt keeps trials as dicts ("docs"), which are written here; `suggest` gets a seed each time, so that a proposal
leaves no state behind. A running trial has no loss yet, which both algorithms count as infinite: a region
where many trials run is avoided. A stopped trial is reported with its best loss, an infeasible one with the worst loss
known.

A conditional parameter has a value only in the docs of the trials where it was active, as with `hp.choice`: both
algorithms learn about it from these alone. HyperOpt proposes values for all parameters; those of inactive ones are
ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import log
from typing import Any, final

from hyperopt import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_RUNNING,
    STATUS_NEW,
    STATUS_OK,
    Domain,
    Trials,
    anneal,
    hp,
    rand,
    tpe,
)

from hpsearch.search.coding import Codes, Coding, num_codes
from hpsearch.search.outcome_buffer import InfeasibleBuffer
from hpsearch.search.searcher import NEVER_RAN, Outcome, Searcher
from hpsearch.space.space import Choice, Integer, Point, Searched, Shaped, Space

SAMPLERS: Mapping[str, Callable[..., list[dict[str, Any]]]] = {
    "tpe": partial(tpe.suggest, verbose=False, n_startup_jobs=10),
    "anneal": anneal.suggest,
}
"""Name to HyperOpt's function that suggests the next trial."""


def _node(name: str, domain: Searched) -> Any:
    """A parameter as HyperOpt's expression; half a unit on each side gives both ends of a range their full share."""
    size = num_codes(domain)
    if isinstance(domain, Choice):
        return hp.randint(name, domain.size)
    if size is not None:
        return hp.quniform(name, -0.5, size - 0.5, 1)
    if isinstance(domain, Shaped):
        return hp.uniform(name, 0, 1)
    margin = 0.5 if isinstance(domain, Integer) else 0.0
    if domain.log:
        return hp.loguniform(name, log(domain.min - margin), log(domain.max + margin))
    return hp.uniform(name, domain.min, domain.max)


@final
class HyperoptSearcher(Searcher):
    """HyperOpt's trials in memory, and one of its algorithms.

    Source:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4, for tpe; for anneal,
        the module `hyperopt.anneal`.
    """

    def __init__(self, *, space: Space, seed: int, sampler: str, initial: Sequence[Point] = ()) -> None:
        """Make a searcher without trials.

        Args:
            space: As for every searcher.
            seed: As for every searcher.
            sampler: A key of SAMPLERS.
            initial: As for every searcher.
        """
        super().__init__(space=space, seed=seed, initial=initial)
        self._sampler = sampler
        self._suggest = SAMPLERS[sampler]
        self._coding = Coding(space)
        nodes = {name: _node(name, domain) for name, domain in self._coding.domains.items()}
        self._domain = Domain(None, nodes) if nodes else None  # HyperOpt can't hold a space without parameters
        self._trials = Trials()
        self._docs: dict[int, dict[str, Any]] = {}
        self._buffer = InfeasibleBuffer()
        self._avoided: tuple[Point, ...] = ()

    def _propose(self, number: int, draw: int) -> Point:
        if self._domain is None:
            return self._coding.decode({})
        suggest = self._suggest if self._buffer.any_success else rand.suggest  # all infinite: nothing to learn
        (doc,) = suggest([number], self._domain, self._trials, self.rng(number, draw).getrandbits(31))
        return self._coding.decode({name: values[0] for name, values in doc["misc"]["vals"].items()})

    def _begin(self, number: int, point: Point) -> None:
        codes = self._coding.encode(point)
        if not codes:
            return
        (doc,) = self._trials.new_trial_docs(
            [number], [None], [{"status": STATUS_NEW}], [_misc(number, codes, self._coding.domains)]
        )
        doc["state"] = JOB_STATE_RUNNING
        self._trials.insert_trial_doc(doc)
        self._trials.refresh()
        self._docs[number] = self._trials.trials[-1]  # with bson installed, HyperOpt keeps a copy

    def _learn(self, outcome: Outcome) -> None:
        for ready, loss in self._buffer.release(outcome):
            if ready.number in self._docs:
                doc = self._docs[ready.number]
                doc["state"] = JOB_STATE_DONE
                doc["result"] = {"status": STATUS_OK, "loss": loss}

    def _avoid(self, points: tuple[Point, ...]) -> None:
        if self._sampler != "tpe" or self._domain is None:
            return
        docs = self._trials._dynamic_trials
        if points is not self._avoided:
            docs[: len(self._avoided)] = [self._failed(n, point) for n, point in enumerate(points, start=NEVER_RAN)]
            self._avoided = points
            self._trials.refresh()
        for doc in docs[: len(points)]:
            doc["result"]["loss"] = self._buffer.worst

    def _failed(self, number: int, point: Point) -> dict[str, Any]:
        misc = _misc(number, self._coding.encode(point) or {}, self._coding.domains)
        (doc,) = self._trials.new_trial_docs([number], [None], [{"status": STATUS_OK}], [misc])
        return {**doc, "state": JOB_STATE_DONE}

    def _forget(self, number: int) -> None:
        if number in self._docs:
            self._docs.pop(number)["state"] = JOB_STATE_ERROR
            self._trials.refresh()


def _misc(number: int, codes: Codes, names: Iterable[str]) -> dict[str, Any]:
    """The part of a doc that has the values: for each parameter lists of one entry, empty if it is inactive."""
    return {
        "tid": number,
        "cmd": None,
        "workdir": None,
        "idxs": {name: [number] if name in codes else [] for name in names},
        "vals": {name: [codes[name]] if name in codes else [] for name in names},
    }
