"""A slot whose ranks can't begin a trial, or can't start: it says so, and replaces ranks that fail twice in a row."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, cast

import pytest
from ray.exceptions import RayTaskError

from hpsearch.slots import slot as slot_module
from hpsearch.slots.not_begun import could_not_begin
from hpsearch.slots.protocol import Assignment, Failed, Report
from hpsearch.slots.rank_group import RankGroup
from hpsearch.slots.rank_losses import PeersTimedOut, RankLost, RanksTimedOut
from hpsearch.slots.replies import Reply
from hpsearch.slots.slot import START_ATTEMPTS, Slot
from tests.support.slot_settings import settings_of

NO_FILES = OSError(errno.EMFILE, "Too many open files")
REMOTE = cast(Exception, RayTaskError("begin", "a long traceback", NO_FILES).as_instanceof_cause())
TRAINED = Reply(epoch=1, metrics={"loss": 0.5})
SET_UP = could_not_begin(NO_FILES, during="set-up of the trial's process")


class Ranks:
    """Ranks that begin, start and train as the test has set, and count how often they were started."""

    members = ()

    def __init__(self) -> None:
        self.alive, self.num_starts = False, 0
        self.at_start: Exception | None = None
        self.at_begin: Exception | None = None
        self.replies: list[Reply] | Exception = [TRAINED]

    def start(self) -> None:
        self.num_starts += 1
        if self.at_start is not None:
            raise self.at_start
        self.alive = True

    def begin(self, assignment: Assignment) -> None:
        if self.at_begin is not None:
            raise self.at_begin

    def call(self, method: str, *args: object, **options: object) -> list[Any]:
        if method != "step":
            return []
        if isinstance(self.replies, Exception):
            raise self.replies
        return self.replies

    def kill(self) -> None:
        self.alive = False

    hold_shared_data = end = lambda self: None


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    monkeypatch.setattr(slot_module, "MAX_BEGIN_PAUSE_S", 0.0)
    return Ranks()


@pytest.fixture
def slot(ranks: Ranks, tmp_path: Path) -> Slot:
    return Slot(settings_of(sweep_dir=str(tmp_path)), cast(RankGroup, ranks))


def event_of(slot: Slot, number: int) -> Any:
    slot.assign(Assignment(number=number, attempt=1, config={}, seed=0, max_epochs=9))
    return slot.next_event()


def test_what_a_rank_raises_before_the_users_code_is_the_machines_fault_in_one_sentence(ranks: Ranks, slot: Slot):
    ranks.at_begin = REMOTE
    event = event_of(slot, 1)
    assert isinstance(event, Failed)
    assert (event.cause, event.has_begun, event.place, event.elapsed_s) == ("node_lost", False, None, 0.0)
    assert event.evidence == "could not begin: OSError: [Errno 24] Too many open files (start of the trial)"


def test_two_trials_in_a_row_that_could_not_begin_replace_the_ranks_and_the_log_says_so(
    ranks: Ranks, slot: Slot, tmp_path: Path
):
    ranks.at_begin = REMOTE
    for number, starts in ((1, 1), (2, 1), (3, 2), (4, 2)):
        event_of(slot, number)
        assert ranks.num_starts == starts
    ranks.at_begin = None
    assert isinstance(event_of(slot, 5), Report) and ranks.num_starts == 3
    ranks.at_begin = REMOTE
    event_of(slot, 6)
    assert ranks.alive, "the one before has begun"
    assert (tmp_path / "trials" / "0002" / "log.txt").read_text().splitlines() == [
        "hpsearch: could not begin: OSError: [Errno 24] Too many open files (start of the trial)",
        "hpsearch: the ranks are replaced: 2 trials in a row could not begin",
    ]


@pytest.mark.parametrize("replies", [[TRAINED, Reply(failure=SET_UP)], PeersTimedOut({1: Reply(failure=SET_UP)}, [0])])
def test_a_process_that_is_not_set_up_counts_as_well_whatever_the_other_ranks_say(
    ranks: Ranks, slot: Slot, replies: Any
):
    ranks.replies = replies
    for number in (1, 2):
        assert event_of(slot, number) == SET_UP
    assert not ranks.alive


def test_a_rank_that_could_not_begin_counts_before_what_other_ranks_raise_because_of_it(ranks: Ranks, slot: Slot):
    ranks.replies = [Reply(failure=Failed(cause="user_error", evidence="no peer")), Reply(failure=SET_UP)]
    assert event_of(slot, 1) == SET_UP


@pytest.mark.parametrize("error", [RankLost(0, 7), RanksTimedOut([0])], ids=["lost", "late"])
def test_ranks_that_are_lost_while_a_trial_begins_are_replaced_at_once_and_no_trial_is_killed(
    ranks: Ranks, slot: Slot, error: Exception
):
    ranks.at_begin = error
    event = event_of(slot, 1)
    assert (event.cause, event.has_begun, ranks.alive) == ("node_lost", False, False)


@pytest.mark.parametrize("error", [RankLost(0, 7, "FileNotFoundError: 'work'"), REMOTE], ids=["lost", "raised"])
def test_ranks_that_do_not_start_are_no_failure_of_the_trial(ranks: Ranks, slot: Slot, error: Exception):
    ranks.at_start = error
    event = event_of(slot, 1)
    assert (event.cause, event.has_begun, ranks.num_starts) == ("node_lost", False, START_ATTEMPTS)
    assert event.evidence.startswith("could not begin: ") and event.evidence.endswith(" (start of the ranks)")


def test_a_full_disk_keeps_its_cause_so_that_the_sweep_waits_for_space():
    failure = could_not_begin(OSError(errno.ENOSPC, "No space left on device"), during="start of the trial")
    assert (failure.cause, failure.has_begun) == ("disk_full", False)
