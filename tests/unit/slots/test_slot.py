"""A slot between two assignments: whatever a rank answers, the slot is ready for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from ray.exceptions import RayTaskError

from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_group import RankGroup, RankLost, RanksTimedOut
from hpsearch.slots.slot import Slot
from tests.support.slot_settings import settings_of


class FailingRanks:
    """Ranks that can't end a trial."""

    alive = True

    def __init__(self, error: Exception) -> None:
        self._error = error

    def call(self, method: str, *args: object, **options: object) -> list[Any]:
        raise self._error

    def kill(self) -> None:
        self.alive = False


DEFECT = RayTaskError("finish", "a defect in the rank", ValueError("no storage"))


@pytest.mark.parametrize("error", [RankLost(0, 7), RanksTimedOut([0]), DEFECT], ids=["lost", "late", "defect"])
def test_ranks_that_do_not_end_a_trial_are_replaced_and_the_log_says_why(tmp_path: Path, error: Exception):
    ranks = FailingRanks(error)
    slot = Slot(settings_of(sweep_dir=str(tmp_path)), cast(RankGroup, ranks))
    first, second = (Assignment(number=each, attempt=1, config={}, seed=0, max_epochs=1) for each in (1, 2))
    slot.assign(first)
    slot.assign(second)
    assert not ranks.alive
    assert "the ranks are replaced: " in (tmp_path / "trials" / "0001" / "log.txt").read_text()
