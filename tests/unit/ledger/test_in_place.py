"""Files that are removed, moved or replaced while a process writes them: noticed before more results are lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.errors import LedgerError, UnknownSweep
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.transactions import CHECK_S
from tests.support.clock import Clock

SPEC = {"metric": {"name": "loss", "goal": "minimize"}, "limits": {"epochs": 3}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(home: Path, clock: Clock) -> Iterator[Ledger]:
    """A sweep with one running trial."""
    with Ledger(home, create=True, clock=clock) as ledger:
        ledger.add_trial(ledger.add_sweep("s", SPEC), 1, point={"x": 1}, seed=0)
        yield ledger


def make_again(home: Path) -> None:
    shutil.rmtree(home)
    (home / "s" / "trials").mkdir(parents=True)


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "the home is removed": (shutil.rmtree, "sweeps: was removed or moved .*--home FOLDER"),
    "the home is moved": (lambda home: home.rename(home.with_name("other")), "sweeps: was removed or moved"),
    "the home is made again": (
        make_again,
        "sweeps: was replaced",
    ),
    "the ledger is removed": (
        lambda home: (home / "ledger.db").unlink(),
        r"ledger\.db: was removed or moved .* resume --rebuild --home ",
    ),
    "the ledger is replaced": (lambda home: replace(home / "ledger.db"), r"ledger\.db: was replaced .*--rebuild"),
    "the log is removed": (lambda home: (home / "ledger.db-wal").unlink(), "ledger.db-wal: was removed"),
    "the log's index is removed": (lambda home: (home / "ledger.db-shm").unlink(), "ledger.db-shm: was removed"),
    "the journal is removed": (
        lambda home: (home / "s" / "journal.jsonl").unlink(),
        r"journal\.jsonl: was removed .*The ledger has what was recorded so far: python -m hpsearch resume --home ",
    ),
    "the sweep's folder is removed": (lambda home: shutil.rmtree(home / "s"), r"journal\.jsonl: was removed"),
}


@pytest.mark.parametrize(("harm", "says"), DAMAGE.values(), ids=DAMAGE.keys())
def test_nothing_is_committed_once_a_file_is_not_in_its_place(ledger: Ledger, harm, says):
    harm(ledger.home)
    with pytest.raises(LedgerError, match=says):
        ledger.update_trial(1, state="done")
    assert ledger.trials(ledger.sweep("s"))[0].state == "running"


@pytest.mark.parametrize(("harm", "says"), DAMAGE.values(), ids=DAMAGE.keys())
def test_it_is_noticed_within_a_second_while_nothing_is_committed(ledger: Ledger, clock: Clock, harm, says):
    harm(ledger.home)
    clock.now += CHECK_S
    with pytest.raises(LedgerError, match=says):
        ledger.tick()


def test_what_sqlite_has_in_a_removed_log_is_moved_into_the_ledger(ledger: Ledger, home: Path):
    (home / "ledger.db-wal").unlink()
    with pytest.raises(LedgerError):
        ledger.update_trial(1, state="done")
    with Ledger(home) as other:
        assert [trial.number for trial in other.trials(other.sweep("s"))] == [1]


def test_a_removed_ledger_is_rebuilt_with_what_was_committed(ledger: Ledger, home: Path):
    (home / "ledger.db").unlink()
    with pytest.raises(LedgerError, match="--rebuild"):
        ledger.update_trial(1, state="done")
    ledger.close()
    for create in (False, True):
        with pytest.raises(LedgerError, match=r"ledger\.db: the ledger is gone, but not its sweeps\. .*--rebuild"):
            Ledger(home, create=create)
    rebuild(home, read_tables=copy_of_tables)
    with Ledger(home) as other:
        assert [(trial.number, trial.state) for trial in other.trials(other.sweep("s"))] == [(1, "running")]


def test_the_log_of_a_removed_ledger_is_not_added_to_a_new_one(ledger: Ledger, home: Path):
    """As a killed driver leaves it."""
    left = home.with_name("left")
    left.mkdir()
    shutil.copy(home / "ledger.db-wal", left)
    with pytest.raises(LedgerError, match="the ledger is gone"):
        Ledger(left, create=True)


def test_a_home_without_sweeps_has_no_ledger_to_lose(home: Path):
    (home / "not-a-sweep").mkdir(parents=True)
    with pytest.raises(UnknownSweep):
        Ledger(home)
    Ledger(home, create=True).close()


def test_a_sweep_that_this_process_removes_itself_is_not_missed(ledger: Ledger):
    ledger.forget_sweep(ledger.sweep("s"))
    ledger.check_in_place()


def test_a_folder_that_may_not_be_read_is_an_error_of_the_storage(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Root may read every folder, so the error is made."""

    def stat(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(LedgerError, match=r"Permission denied.*correct the folder's permissions"):
        ledger.update_trial(1, state="done")


def test_a_report_within_a_transaction_is_part_of_it(ledger: Ledger):
    with ledger.transaction():
        ledger.add_report(1, epoch=1, metrics={"loss": 0.5}, elapsed_s=1.0)
        ledger.flush()
        ledger.update_trial(1, state="done", epochs_trained=1)
    assert [report.epoch for report in ledger.reports(ledger.sweep("s"))] == [1]


def test_a_report_within_a_transaction_that_fails_is_not_recorded_and_those_before_it_are(ledger: Ledger):
    ledger.add_report(1, epoch=1, metrics={"loss": 0.5}, elapsed_s=1.0)
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        ledger.add_report(1, epoch=2, metrics={"loss": 0.4}, elapsed_s=2.0)
        raise ZeroDivisionError
    ledger.add_report(1, epoch=2, metrics={"loss": 0.3}, elapsed_s=2.0)
    ledger.flush()
    found = ledger.reports(ledger.sweep("s"))
    assert [(report.epoch, report.metrics) for report in found] == [(1, {"loss": 0.5}), (2, {"loss": 0.3})]
