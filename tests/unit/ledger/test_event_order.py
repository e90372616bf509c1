"""In which order trials began and ended, whatever the clock said."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.ledger.event_order import EventOrder, event_order
from hpsearch.ledger.store import Ledger, now
from hpsearch.paths import journal_path
from tests.support.clock import TimeOfDay


@pytest.fixture
def time_of_day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    moved = TimeOfDay()
    monkeypatch.setattr("hpsearch.time_of_day.time", moved)
    return moved


def add(ledger: Ledger, number: int) -> int:
    return ledger.add_trial(ledger.sweep("s"), number, point={"x": number}, seed=0)


def ranked(order: EventOrder) -> list[tuple[str, int]]:
    events = [("began", number, at) for number, at in order.began.items()]
    events += [("ended", number, at) for number, at in order.ended.items()]
    return [(what, number) for what, number, at in sorted(events, key=lambda event: event[2])]


@pytest.mark.parametrize("hours", [-1, 1])
def test_it_is_the_order_of_the_journal_when_the_clock_is_moved(home: Path, time_of_day: TimeOfDay, hours: int):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("s", {})
        first, second = add(ledger, 1), add(ledger, 2)
        ledger.update_trial(second, state="done", ended_at=now())
        time_of_day.move(hours, files_below=home)
        third = add(ledger, 3)
        ledger.update_trial(first, state="done", ended_at=now())
        time_of_day.move(-hours, files_below=home)
        ledger.update_trial(third, state="done", ended_at=now())
        ledger.update_trial(second, state="running", ended_at=None)
    order = [("began", 1), ("began", 2), ("began", 3), ("ended", 1), ("ended", 3)]
    assert ranked(event_order(home / "s")) == order


def test_without_a_journal_it_is_unknown_and_what_is_no_trial_is_skipped(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("s", {})
        add(ledger, 1)
    assert ranked(event_order(home / "s")) == [("began", 1)]
    journal_path(home / "s").write_bytes(b"")
    assert ranked(event_order(home / "s")) == []
    journal_path(home / "s").unlink()
    assert ranked(event_order(home / "s")) == []
