"""Variants that were tried for `bayes` + `asha`: the production engine with one or two of its constants changed.

    python -m benchmarks.search --part searchers --tables taskset-0 lcbench-3945 --methods "tried: as it was"

Results are in docs/decisions/0045 and 0046. A run without `--methods` includes none of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, final
from unittest.mock import patch

from optuna.samplers import TPESampler

from benchmarks.search.simulator import Contestant, Job
from hpsearch import stopping
from hpsearch.search import equal_fidelity, interleaving, optuna_tpe

Change = Callable[[], AbstractContextManager[Any]]
"""Makes a context manager within which something is changed."""


@final
class Changed(Contestant):
    """A contestant whose methods run with some changes applied.

    Args:
        make: Makes the contestant.
        changes: The changes.
    """

    def __init__(self, make: Callable[[], Contestant], changes: Sequence[Change]) -> None:
        self._changes = changes
        with self._changed():
            self._contestant = make()

    def next_job(self) -> Job | None:
        """The next job of the contestant."""
        with self._changed():
            return self._contestant.next_job()

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Pass a report to the contestant."""
        with self._changed():
            return self._contestant.on_report(trial, epoch, loss)

    def _changed(self) -> ExitStack:
        stack = ExitStack()
        for change in self._changes:
            stack.enter_context(change())
        return stack


def share(usual: float, *, leading: float | None = None) -> Change:
    """Change the share of random trials, and the share while random trials are ahead (None for the same)."""
    return partial(patch.multiple, interleaving, USUAL_SHARE=usual, LEADING_SHARE=usual if leading is None else leading)


def compared(num_trials: int) -> Change:
    """Let the searcher use a budget once this number of trials has reached it."""
    return partial(patch.object, equal_fidelity, "MIN_COMPARED", num_trials)


def tpe(**settings: Any) -> Change:
    """Use other settings of Optuna's TPE."""
    return partial(patch.object, optuna_tpe, "TPESampler", partial(TPESampler, **settings))


def together() -> AbstractContextManager[Any]:
    """Compare random trials with all others at rungs."""
    return patch.object(stopping, "interleaves_random", lambda sweep: False)


def a_quarter(num_trials: int) -> int:
    """The number of trials that TPE takes for good ones: the best quarter."""
    return math.ceil(0.25 * num_trials)


def at_once() -> AbstractContextManager[Any]:
    """Let the model begin at the first rung."""
    return patch.object(equal_fidelity, "ENOUGH_AT_FIRST_RUNG", 0)


FORMER: Sequence[Change] = [share(1 / 3), together, at_once]
TRIED: Mapping[str, Sequence[Change]] = {
    "tried: as it was": FORMER,
    "tried: as it was, half random": [share(1 / 2), together, at_once],
    "tried: as it was, half random, 4 candidates": [share(1 / 2), together, at_once, tpe(n_ei_candidates=4)],
    "tried: at once": [share(1 / 2), at_once],
    "tried: together": [together],
    "tried: a third random": [share(1 / 3)],
    "tried: half random": [share(1 / 2)],
    "tried: half random, 4 candidates": [share(1 / 2), tpe(n_ei_candidates=4)],
    "tried: two thirds random": [share(2 / 3)],
    "tried: three quarters random": [share(3 / 4)],
    "tried: a quarter random, 7/8 while ahead": [share(1 / 4, leading=7 / 8)],
    "tried: 4 candidates": [tpe(n_ei_candidates=4)],
    "tried: 10 compared": [compared(10)],
    "tried: the best quarter": [tpe(gamma=a_quarter)],
    "tried: each parameter by itself": [tpe(multivariate=False)],
}
"""Name to the changes of `bayes` + `asha` as it is now."""
