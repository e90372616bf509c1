"""Stopping rules, one file for each: which trial goes on after a report, which waits, which is over."""

from __future__ import annotations

from hpsearch.spec.sweep import Sweep
from hpsearch.stopping.asha import Asha, AshaStop
from hpsearch.stopping.fallback import FallbackRule, SafeRule
from hpsearch.stopping.hyperband import Hyperband
from hpsearch.stopping.median import Median
from hpsearch.stopping.rule import Decision, NoStopping, StoppingRule
from hpsearch.stopping.rungs import IsRandom, never_random, rung_epochs

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
    "rung_epochs",
]


def make_stopping_rule(sweep: Sweep, *, can_pause: bool = False, is_random: IsRandom = never_random) -> StoppingRule:
    """The stopping rule of a sweep, which has heard no report yet.

    Args:
        sweep: Its `early_terminate` and its number of epochs.
        can_pause: Whether PAUSE can be obeyed; if not, `asha` and `hyperband` stop what they would pause.
        explores: That of the sweep's searcher; needed where trials are reported.
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
    apart = is_random if interleaves_random(sweep) else never_random
    return make(min_epochs=rule.min_iter, max_epochs=last, eta=rule.eta, is_random=apart)


def interleaves_random(sweep: Sweep) -> bool:
    """Whether those that explore are compared apart: by asha and asha_stop, amid the proposals of Optuna's tpe."""
    return (sweep.method, sweep.resolved_sampler) == ("optuna", "tpe") and sweep.early_terminate.type in (
        "asha",
        "asha_stop",
    )
