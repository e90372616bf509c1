"""The trial store: what is committed, what is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hpsearch.errors import LedgerError, SweepExists, UnknownSweep
from hpsearch.ledger.records import TrialState, best_of
from hpsearch.ledger.store import Ledger

SPEC = {"metric": {"name": "loss", "goal": "minimize"}, "method": "random"}


def test_what_is_written_is_read_back_by_another_process(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("a", SPEC)
        row = ledger.add_trial(sweep, 1, point={"lr": 0.1, "layers": [1, 2], "flag": True}, seed=3)
        ledger.add_report(row, epoch=1, metrics={"loss": 0.5}, elapsed_s=1.5)
        ledger.update_trial(row, state="done", best_value=0.5, best_epoch=1, last_metrics={"loss": 0.5})
    with Ledger(home) as ledger:
        (trial,), (report,) = ledger.trials(ledger.sweep("a")), ledger.reports(ledger.sweep("a"))
    assert (trial.point, trial.state, trial.seed, trial.last_metrics) == (
        {"lr": 0.1, "layers": [1, 2], "flag": True},
        "done",
        3,
        {"loss": 0.5},
    )
    assert (report.number, report.epoch, report.metrics, report.elapsed_s) == (1, 1, {"loss": 0.5}, 1.5)


def test_a_state_change_commits_waiting_reports_too(home: Path):
    with Ledger(home, create=True, clock=lambda: 0.0) as ledger, Ledger(home) as other:
        sweep = ledger.add_sweep("a", SPEC)
        row = ledger.add_trial(sweep, 1, point={}, seed=0)
        ledger.add_report(row, epoch=1, metrics={}, elapsed_s=0.0)
        assert other.reports(sweep) == []
        ledger.update_trial(row, state="stopped")
        assert len(other.reports(sweep)) == 1
        assert other.trials(sweep)[0].state == "stopped"


def test_reports_stay_pending_when_a_commit_fails(home: Path):
    with Ledger(home, create=True, clock=lambda: 0.0) as ledger:
        sweep = ledger.add_sweep("a", SPEC)
        row = ledger.add_trial(sweep, 1, point={}, seed=0)
        ledger.add_report(row, epoch=1, metrics={}, elapsed_s=0.0)
        with pytest.raises(LedgerError):
            ledger.update_trial(row, no_such_column=1)  # type: ignore[call-arg]
        ledger.flush()
        assert len(ledger.reports(sweep)) == 1


def test_reports_stay_pending_when_their_line_of_the_journal_can_not_be_written(home: Path, monkeypatch):
    def full(file: int, line: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Ledger(home, create=True, clock=lambda: 0.0) as ledger:
        sweep = ledger.add_sweep("a", SPEC)
        row = ledger.add_trial(sweep, 1, point={}, seed=0)
        ledger.add_report(row, epoch=1, metrics={}, elapsed_s=0.0)
        with monkeypatch.context() as patched, pytest.raises(LedgerError, match="No space left"):
            patched.setattr("os.write", full)
            ledger.flush()
        assert ledger.reports(sweep) == []
        ledger.flush()
        assert len(ledger.reports(sweep)) == 1


@pytest.mark.parametrize("is_new", [True, False])
def test_a_commit_is_forced_to_the_disk_before_it_returns(home: Path, is_new: bool):
    """SQLite's `synchronous` says so: 2 is FULL; with 1 a power cut loses commits of a write-ahead log."""
    if not is_new:
        Ledger(home, create=True).close()
    with Ledger(home, create=is_new) as ledger, ledger.transaction() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]
    assert settings == [2, "wal"]


def test_a_name_is_unique(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("a", SPEC)
        with pytest.raises(SweepExists, match="--name"):
            ledger.add_sweep("a", SPEC)
        assert len(ledger.sweeps()) == 1


def test_a_sweep_that_was_forgotten_leaves_its_name_free(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("a", SPEC)
        ledger.add_trial(sweep, 1, point={}, seed=0)
        ledger.forget_sweep(sweep)
        assert ledger.trials(ledger.add_sweep("a", SPEC)) == []


def test_nothing_of_a_forgotten_sweep_is_left_for_the_next_one(home: Path):
    """SQLite gives the id of a removed trial to the next one."""
    with Ledger(home, create=True) as ledger:
        for name in ("gone", "next"):
            record = ledger.add_sweep(name, SPEC)
            row = ledger.add_trial(record, 1, point={}, seed=0)
            ledger.add_report(row, epoch=1, metrics={"loss": 1.0}, elapsed_s=0.1)
            if name == "gone":
                ledger.forget_sweep(record)
        ledger.flush()
        assert [report.epoch for report in ledger.reports(record)] == [1]


def test_without_a_name_the_newest_sweep_is_meant(home: Path):
    with Ledger(home, create=True) as ledger:
        for name in ("a", "b"):
            ledger.add_sweep(name, SPEC)
        assert ledger.sweep().name == "b"


def test_an_unknown_name_is_answered_with_the_nearest(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("resnet", SPEC)
        with pytest.raises(UnknownSweep, match="Did you mean 'resnet'"):
            ledger.sweep("resnt")


def test_reading_makes_no_ledger(home: Path):
    with pytest.raises(UnknownSweep, match="no ledger here"):
        Ledger(home)
    assert not home.exists()


def test_a_file_that_is_no_ledger_is_refused(home: Path):
    home.mkdir()
    (home / "ledger.db").write_bytes(b"not a database, but long enough to look like a file with content" * 20)
    with pytest.raises(LedgerError, match="damaged: file is not a database"):
        Ledger(home)


def test_a_folder_whose_name_is_no_unicode_does_not_make_the_ledger_a_damaged_one(home: Path):
    with Ledger(home, create=True) as ledger, pytest.raises(LedgerError, match=r"caf\\udce9' is not UTF-8"):
        ledger.add_sweep("a", SPEC, spec_dir=Path("/caf\udce9"))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError):
        Ledger(tmp_path / "file" / "sweeps", create=True)


@pytest.mark.parametrize(("sign", "best"), [(1, 2), (-1, 1)])
def test_the_best_trial_follows_the_goal_and_leaves_failures_out(home: Path, sign, best):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("a", SPEC)
        ends: list[tuple[TrialState, float | None]] = [
            ("done", 3.0),
            ("stopped", 1.0),
            ("failed", 0.0),
            ("failed", 9.0),
            ("done", None),
        ]
        for number, (state, value) in enumerate(ends, 1):
            ledger.update_trial(ledger.add_trial(sweep, number, point={}, seed=0), state=state, best_value=value)
        found = best_of(ledger.trials(sweep), sign=sign)
    assert found is not None and found.number == best


def test_an_edited_ledger_leads_to_no_other_folder(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("a", SPEC)
    connection = sqlite3.connect(home / "ledger.db")
    connection.execute("UPDATE sweeps SET folder = '../..'")
    connection.commit()
    connection.close()
    with Ledger(home) as ledger, pytest.raises(LedgerError, match="edited"):
        ledger.sweeps()


def test_processes_that_open_a_fresh_home_together_all_succeed(home: Path):
    code = "import sys, pathlib; from hpsearch.ledger.store import *; Ledger(pathlib.Path(sys.argv[1]), create=True)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(home)]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6


def test_a_reader_finds_no_ledger_or_a_whole_one_while_it_is_made(home: Path):
    code = "import sys, pathlib; from hpsearch.ledger.store import *; Ledger(pathlib.Path(sys.argv[1]), create=True)"
    with subprocess.Popen([sys.executable, "-c", code, str(home)]) as process:
        looks = 0
        while process.poll() is None:
            looks += 1
            try:
                Ledger(home).close()
            except UnknownSweep:
                continue
    assert process.returncode == 0 and looks
    Ledger(home).close()
