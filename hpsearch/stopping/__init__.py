"""Stopping rules, one file for each: whether a trial continues, pauses or stops after a report.

`make_stopping_rule` makes the rule of a sweep. The interface that rules implement is in `rule.py`.
"""

from __future__ import annotations

from hpsearch.spec.sweep import Sweep
from hpsearch.stopping.asha import Asha, AshaStop
from hpsearch.stopping.fallback import FallbackRule, SafeRule
from hpsearch.stopping.hyperband import Hyperband
from hpsearch.stopping.median import Median
from hpsearch.stopping.rule import Decision, NoStopping, StoppingRule
from hpsearch.stopping.rungs import IsRandom, never_random

__all__ = [
    "Asha",
    "AshaStop",
    "Decision",
    "FallbackRule",
    "Hyperband",
    "Median",
    "NoStopping",
    "SafeRule",
    "StoppingRule",
    "interleaves_random",
    "make_stopping_rule",
]


def make_stopping_rule(sweep: Sweep, *, can_pause: bool = False, is_random: IsRandom = never_random) -> StoppingRule:
    """Make the stopping rule of a sweep, without any report yet.

    Args:
        sweep: The sweep; its `early_terminate` and its number of epochs determine the rule.
        can_pause: Whether PAUSE can be obeyed; if not, `asha` and `hyperband` stop the trials that they would pause.
        is_random: `Searcher.is_random` of the sweep's searcher; not needed for a rule that gets no reports.
    """
    rule, last = sweep.early_terminate, sweep.max_epochs
    if rule.type == "none":
        return NoStopping()
    if rule.type == "median":
        return Median(min_epochs=rule.min_iter, min_trials=rule.min_trials)
    if rule.type == "hyperband":
        assert last is not None, "a sweep without a last epoch is refused"
        return Hyperband(
            min_epochs=rule.min_iter, max_epochs=last, eta=rule.eta, brackets=rule.brackets, can_pause=can_pause
        )
    make = Asha if rule.type == "asha" and can_pause else AshaStop
    ranked_apart = is_random if interleaves_random(sweep) else never_random
    return make(min_epochs=rule.min_iter, max_epochs=last, eta=rule.eta, is_random=ranked_apart)


def interleaves_random(sweep: Sweep) -> bool:
    """Whether random trials and those of a model are ranked apart: under `asha` and `asha_stop` with Optuna's tpe."""
    is_bayes = (sweep.method, sweep.resolved_sampler) == ("optuna", "tpe")
    return is_bayes and sweep.early_terminate.type in ("asha", "asha_stop")
