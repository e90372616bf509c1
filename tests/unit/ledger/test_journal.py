"""The journal beside the ledger: which damage is found, and what is no damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.errors import LedgerError
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.journal import Journal, read_journal
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.records import FailureRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.spec.sweep import Sweep

SPEC = Sweep.from_dict(
    {
        "trainable": "train.py:train",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "limits": {"epochs": 3},
    }
).to_dict()


@pytest.fixture
def ledger(home: Path):
    """A sweep with a finished trial of two epochs and one that runs."""
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("s", SPEC)
        for number in (1, 2):
            row = ledger.add_trial(sweep, number, point={"x": number / 7}, seed=0)
            ledger.add_report(row, epoch=1, metrics={"loss": 1.0 / 3}, elapsed_s=0.1)
        ledger.update_trial(row - 1, state="done", epochs_trained=1, last_metrics={"loss": 1.0 / 3}, duration_s=0.1)
        yield ledger


def check(ledger: Ledger) -> None:
    sweep = ledger.sweep("s")
    check_agrees(ledger.home / "s", ledger.trials(sweep), ledger.reports(sweep))


def write_and_die(home: Path, *entries: tuple[Any, ...]) -> None:
    """What a driver leaves that is killed after it wrote the journal and before the ledger committed."""
    journal = Journal(home)
    for entry in entries:
        journal.append("s", *entry)
    journal.write()
    journal.close()


def test_ledger_and_journal_agree(ledger):
    check(ledger)


@pytest.mark.parametrize(
    "entry",
    [
        ("trial", 2, {"state": "done", "epochs_trained": 1, "duration_s": 9.0}),
        ("trial", 3, {"state": "running", "point": '{"x": 0.5}'}),
        ("report", 2, 2, '{"loss": 0.25}', 0.2),
    ],
)
def test_a_commit_that_a_kill_prevented_is_no_damage_now_or_after_another_restart(ledger, entry):
    write_and_die(ledger.home, entry)
    check(ledger)
    ledger.update_trial(2, state="running", attempts=2)
    check(ledger)
    ledger.update_trial(2, state="done", epochs_trained=1, last_metrics={"loss": 1.0 / 3})
    check(ledger)


def test_reports_beyond_the_epochs_of_a_trial_that_has_ended_were_never_committed(ledger):
    """Their mark as undone may be lost in a power cut, and the trial may then have ended earlier."""
    ledger.close()
    write_and_die(ledger.home, ("report", 2, 2, '{"loss": 0.25}', 0.2))
    write_and_die(ledger.home, ("trial", 2, {"state": "stopped", "epochs_trained": 1}))
    copy = SweepCopy().apply(read_journal(ledger.home / "s")[0], folder=ledger.home / "s")
    assert {number: list(reports) for number, reports in copy.reports.items()} == {1: [1], 2: [1]}


def test_what_never_happened_is_not_rebuilt(ledger):
    write_and_die(ledger.home, ("report", 2, 2, '{"loss": 0.25}', 0.2))
    check(ledger)
    before = ledger.trials(ledger.sweep("s")), ledger.reports(ledger.sweep("s"))
    ledger.close()
    rebuild(ledger.home, read_tables=copy_of_tables)
    with Ledger(ledger.home) as again:
        assert (again.trials(again.sweep("s")), again.reports(again.sweep("s"))) == before


def test_two_missing_commits_are_damage(ledger):
    write_and_die(ledger.home, ("report", 2, 2, '{"loss": 0.25}', 0.2))
    write_and_die(ledger.home, ("report", 2, 3, '{"loss": 0.2}', 0.3))
    with pytest.raises(LedgerError, match="epoch 2 of trial 2 is missing"):
        check(ledger)


def test_a_transaction_that_failed_is_rolled_back(ledger):
    class Full(Exception):
        pass

    transactions = len(read_journal(ledger.home / "s")[0])
    with pytest.raises(Full), ledger.transaction():
        ledger.update_trial(2, state="done", epochs_trained=1)
        ledger._transactions._journal.write()
        raise Full
    assert len(read_journal(ledger.home / "s")[0]) == transactions
    ledger.update_trial(2, state="failed", epochs_trained=1)
    check(ledger)


def test_a_journal_that_lost_its_end_in_a_power_cut_is_no_damage(ledger):
    path = ledger.home / "s" / "journal.jsonl"
    ledger.update_trial(2, state="done", epochs_trained=1, last_metrics={"loss": 1.0 / 3})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    check(ledger)


def test_a_torn_line_does_not_spoil_the_next(ledger):
    path = ledger.home / "s" / "journal.jsonl"
    transactions = len(read_journal(ledger.home / "s")[0])
    ledger.close()
    with path.open("a") as file:
        file.write("0000abcd [[")
    write_and_die(ledger.home, ("sweep", {"state": "done"}))
    assert (len(read_journal(ledger.home / "s")[0]), read_journal(ledger.home / "s")[1]) == (transactions + 1, 1)


def test_the_journal_is_forced_to_the_disk_within_a_second_and_at_the_end(home: Path, monkeypatch: pytest.MonkeyPatch):
    forced: list[float] = []
    now = 0.0
    monkeypatch.setattr("os.fdatasync", lambda file: forced.append(now))
    with Ledger(home, create=True, clock=lambda: now) as ledger:
        sweep = ledger.add_sweep("s", SPEC)
        row = ledger.add_trial(sweep, 1, point={"x": 0.5}, seed=0)
        for epoch in range(1, 26):
            now = epoch / 10
            ledger.add_report(row, epoch=epoch, metrics={"loss": 0.5}, elapsed_s=now)
        assert forced == [1.0, 2.1], "1 s after the first line that is not on the disk, not with each line"
        now = 9.0
        ledger.tick()
        ledger.tick()
        assert forced == [1.0, 2.1, 9.0], "nothing new, nothing to force"
        ledger.update_trial(row, state="done")
    assert forced == [1.0, 2.1, 9.0, 9.0]


def test_a_journal_that_cannot_be_forced_to_the_disk_is_an_error_of_the_storage(ledger, monkeypatch):
    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", fails)
        patched.setattr(ledger._transactions, "_clock", lambda: 1e9)
        patched.setattr(ledger._transactions._journal, "_clock", lambda: 1e9)
        with pytest.raises(LedgerError, match="Input/output error"):
            ledger.tick()
    ledger.tick()


def test_a_trial_whose_first_line_is_damaged_is_left_out_of_a_rebuilt_ledger_with_its_failures(ledger):
    failure = FailureRecord(number=2, attempt=1, cause="killed", evidence="gone", place=None, was_retried=True)
    ledger.update_trial(2, failure=failure, state="queued")
    ledger.close()
    ledger.path.unlink()
    path = ledger.home / "s" / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    first = next(at for at, line in enumerate(lines) if b'"trial", 2, ' in line)
    path.write_bytes(b"\n".join([*lines[:first], bytes(40), *lines[first + 1 :]]))  # as a power cut leaves it
    rebuilt = rebuild(ledger.home, read_tables=copy_of_tables)
    assert (rebuilt.trials, rebuilt.damaged_lines) == (1, 1)
    with Ledger(ledger.home) as again:
        sweep = again.sweep("s")
        assert [trial.number for trial in again.trials(sweep)] == [1]
        assert again.reports(sweep) == [], "that of trial 1 was in the same line"
        assert again.failures(sweep) == []


@pytest.mark.parametrize(
    "use", [check, lambda ledger: rebuild(ledger.home, read_tables=copy_of_tables)], ids=["resume", "rebuild"]
)
def test_an_entry_of_an_unknown_kind_is_refused_with_its_file_and_what_to_do(ledger, use):
    write_and_die(ledger.home, ("promoted", 1))
    with pytest.raises(LedgerError, match=r"s/journal\.jsonl: .* unknown kind 'promoted'.* Upgrade hpsearch"):
        use(ledger)


def start_over(home: Path) -> None:
    shutil.rmtree(home / "s")
    Ledger(home, create=True).close()


@pytest.mark.parametrize(
    "make",
    [start_over, lambda home: rebuild(home, read_tables=copy_of_tables)],
    ids=["a new ledger", "rebuild"],
)
def test_what_a_killed_process_left_of_a_half_made_ledger_is_removed_at_the_next_try(ledger, make):
    ledger.close()
    ledger.path.unlink()
    left = ledger.home / ".ledger.db.new-0a1b2c3d"
    left.mkdir()
    (left / "lock").touch()
    (left / "new.db").write_bytes(b"half")
    make(ledger.home)
    assert ledger.path.exists()
    assert not left.exists()
