"""Random interleaving, as in BOHB: a model proposes some of the points of a sweep, and the others are drawn at random.

A model that has found a good region proposes its neighbours, which are as good at every rung and take all the
promotions: of 649 trials of one sweep, 223 were random, and none of these was trained in full. So the stopping rule
ranks random trials among themselves. Measured in docs/decisions/0045. How many trials are random depends on which
group has the best trial at the highest rung: docs/decisions/0046.

Which trials are random is not stored: it follows from a trial's point (`Searcher.is_random`), after a restart too.
"""

from __future__ import annotations

import random

USUAL_SHARE, LEADING_SHARE = 1 / 2, 7 / 8
"""Share of random trials once a model proposes points: usually, and while the best random trial is ahead."""


def shall_be_random(sweep_seed: int, number: int, *, random_is_ahead: bool) -> bool:
    """Whether the point of trial `number`, which is about to begin, is to be drawn at random.

    Args:
        sweep_seed: The sweep's seed; the answer follows from it, the number and `random_is_ahead` alone.
        number: The trial's number, from 1.
        random_is_ahead: Whether random trials do as well as the model's proposals, or better.

    Source:
        Falkner, Klein and Hutter, "BOHB", arXiv:1807.01774, section 3.2, for a fixed share of random configurations.
    """
    share = LEADING_SHARE if random_is_ahead else USUAL_SHARE
    return random.Random(f"{sweep_seed}/{number}/explores").random() < share
