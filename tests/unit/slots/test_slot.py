"""A slot between two assignments: whatever a rank answers, the slot is ready for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from ray.exceptions import RayTaskError

from hpsearch.slots.protocol import Assignment, Failed, Report
from hpsearch.slots.rank_group import RankGroup
from hpsearch.slots.rank_losses import RankLost, RanksTimedOut
from hpsearch.slots.replies import Reply
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


class AnsweringRanks:
    """Two ranks, each of which answers every epoch with the same reply."""

    alive, members = True, ()

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self._replies = list(replies)

    def call(self, method: str, *args: object, **options: object) -> list[Any]:
        return self._replies if method == "step" else []

    def begin(self, assignment: Assignment) -> None:
        """Nothing is to be done."""

    hold_shared_data = end = kill = lambda self: None


NAN = Failed(cause="diverged", evidence="rank 1: loss is nan")


def slot_of(tmp_path: Path, *replies: Reply) -> Slot:
    slot = Slot(settings_of(sweep_dir=str(tmp_path)), cast(RankGroup, AnsweringRanks(replies)))
    slot.assign(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=9))
    return slot


def test_a_report_that_any_rank_can_not_use_fails_the_trial(tmp_path: Path):
    event = slot_of(tmp_path, Reply(epoch=1, metrics={"loss": 0.5}), Reply(epoch=1, failure=NAN)).next_event()
    assert isinstance(event, Failed) and (event.cause, event.evidence) == ("diverged", "rank 1: loss is nan")


def test_the_failure_of_the_rank_that_failed_first_counts_and_not_its_consequence_in_another(tmp_path: Path):
    consequence = Failed(cause="user_error", evidence="rank 0: connection closed by peer")
    event = slot_of(
        tmp_path, Reply(epoch=1, failure=consequence, is_secondary=True), Reply(epoch=1, failure=NAN)
    ).next_event()
    assert isinstance(event, Failed) and event.cause == "diverged"


def test_where_ranks_report_other_values_that_of_rank_0_counts_and_the_log_says_so(tmp_path: Path):
    slot = slot_of(tmp_path, *(Reply(epoch=1, metrics={"loss": loss}) for loss in (0.5, 0.25)))
    for _ in range(2):
        event = slot.next_event()
        assert isinstance(event, Report) and event.metrics == {"loss": 0.5}
    log = (tmp_path / "trials" / "0001" / "log.txt").read_text()
    assert log == "hpsearch: rank 1 reported loss 0.25 for epoch 1, rank 0 0.5: the value of rank 0 counts\n"
