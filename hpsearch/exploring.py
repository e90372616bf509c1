"""Which trials of a sweep with a model explore: the searcher draws them at random, the rule compares them apart.

A model that has found a good place proposes its neighbours, which are as good at every rung and take all the places
there: of 649 trials of one sweep, 223 were random, and none of these was trained in full. Measured in
docs/decisions/0045.
"""

from __future__ import annotations

import math
import random

from hpsearch.sweep import SAMPLERS, Sweep

RANDOM_SHARE = 1 / 2
"""Of the trials, once a model has begun."""


def explores(sweep_seed: int, number: int) -> bool:
    """Whether trial `number` is one of them: the same for everybody, and after a restart."""
    return random.Random(f"{sweep_seed}/{number}/explores").random() < RANDOM_SHARE


def has_explorers(sweep: Sweep) -> bool:
    """Whether some trials explore: under a rule that compares trials at rungs, amid the proposals of Optuna's tpe."""
    sampler = sweep.sampler or next(iter(SAMPLERS[sweep.method]), "")
    return (sweep.method, sampler) == ("optuna", "tpe") and sweep.early_terminate.type in ("asha", "asha_stop")


def at_most(num_trials: int) -> int:
    """So many of a sweep's trials explore at most, and so many do not, but for one sweep in a thousand."""
    return min(math.ceil(num_trials * RANDOM_SHARE + 1.6 * math.sqrt(num_trials)), num_trials)
