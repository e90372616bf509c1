"""Which trials of a sweep with a model explore: the searcher draws them at random, the rule compares them apart.

A model that has found a good place proposes its neighbours, which are as good at every rung and take all the places
there: of 649 trials of one sweep, 223 were random, and none of these was trained in full. Measured in
docs/decisions/0045. How many explore depends on who leads at the highest rung: docs/decisions/0046.

Nobody remembers who explores: it follows from a trial's point (`Searcher.is_random`), after a restart too.
"""

from __future__ import annotations

import random

USUAL_SHARE, LEADING_SHARE = 1 / 2, 7 / 8
"""Of the trials, once a model has begun: so many explore, and so many while what explores leads at the highest rung."""


def shall_be_random(sweep_seed: int, number: int, *, random_is_ahead: bool) -> bool:
    """Whether trial `number`, which is about to begin, will be one of them."""
    share = LEADING_SHARE if random_is_ahead else USUAL_SHARE
    return random.Random(f"{sweep_seed}/{number}/explores").random() < share
