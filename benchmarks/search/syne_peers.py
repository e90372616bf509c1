"""Syne Tune's schedulers, called as its tuner calls them.

A loss that is not finite is replaced by the worst one so far: its models do not accept NaN, and its rungs would sort
NaN to an arbitrary position.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, final

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

from benchmarks.search.simulator import Contestant, Job
from benchmarks.search.tables import Table


@final
class SynePeer(Contestant):
    """A scheduler, with `reduction_factor` 3 as in the whole benchmark.

    Args:
        table: The table that is searched.
        make: Class of the scheduler.
        seed: Seed of the global random generators.
    """

    def __init__(self, table: Table, *, make: Callable[..., TrialScheduler], seed: int) -> None:
        np.random.seed(seed)  # it draws from the global generators and ignores `random_seed`
        random.seed(seed)
        space = {name: _domain(**domain) for name, domain in table.parameters.items()}
        self._scheduler = make(
            space, metric="loss", time_attr="epoch", max_t=table.max_epochs, do_minimize=True, random_seed=seed
        )
        self._trials: dict[int, Trial] = {}
        self._max_epochs, self._worst = table.max_epochs, 1.0

    def next_job(self) -> Job | None:
        """A new trial; these schedulers never pause one."""
        suggestion = self._scheduler.suggest()
        if suggestion is None or suggestion.config is None:
            return None
        number = len(self._trials)
        self._trials[number] = Trial(trial_id=number, config=suggestion.config, creation_time=datetime.now())
        self._scheduler.on_trial_add(self._trials[number])
        return Job(trial=number, point=suggestion.config)

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """Pass one result to the scheduler."""
        self._worst = max(self._worst, loss) if math.isfinite(loss) else self._worst
        result = {"epoch": epoch, "loss": loss if math.isfinite(loss) else self._worst}
        decision = self._scheduler.on_trial_result(self._trials[trial], result)
        if decision == SchedulerDecision.CONTINUE:
            return True
        self._scheduler.on_trial_remove(self._trials[trial])
        return False


def _domain(values: list[Any] | None = None, min: float = 0, max: float = 0, log: bool = False) -> Any:
    if values is not None:
        return choice(values)
    if isinstance(min, int):
        return lograndint(min, int(max)) if log else randint(min, int(max))
    return loguniform(min, max) if log else uniform(min, max)
