"""Fault 27: the ledger, or its write-ahead log, is cut or flipped. Nothing starts over in silence."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpsearch.cli import app
from hpsearch.driver.request import StoredSweep, make_run
from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.errors import LedgerError, SpecError
from hpsearch.ledger.rebuild import rebuild
from tests.faults.checker import Row, Watch
from tests.support.real import ROOT

LIVES = """
import sys
from pathlib import Path
from tests.support.simulated import Scenario, live
folder = Path(sys.argv[1])
finished = live(folder / "finished", Scenario(method="random", stopping="asha", trials=7, failing=True))
killed = live(folder / "killed", Scenario(method="random", trials=7), dies_at=100)
sys.exit(finished[0] != 0 or killed[0] != -9)
"""


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that has ended, and one whose driver was killed, so that its newest commits are in the log alone."""
    folder = tmp_path_factory.mktemp("lives")
    subprocess.run([sys.executable, "-c", LIVES, str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep whose damage was not noticed fails the test at once, instead of training on."""

    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("the damage was not noticed")

    monkeypatch.setattr("hpsearch.driver.driver.Session", train)


@pytest.fixture
def finished(lives: Path, tmp_path: Path) -> Watch:
    return copy_of(lives / "finished", tmp_path / "copy")


@pytest.fixture
def killed(lives: Path, tmp_path: Path) -> Watch:
    return copy_of(lives / "killed", tmp_path / "copy")


def copy_of(source: Path, target: Path) -> Watch:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return Watch(target / "sweeps", "victim", target / "diary.txt")


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def everything(watch: Watch) -> tuple[list[Row], Any]:
    return watch.rows(), watch.reports()


def test_a_cut_ledger_is_refused_with_what_to_do_and_stays_as_it_is(finished):
    path = finished.home / "ledger.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = path.read_bytes()
    spec = [str(finished.home / "victim/sweep.yaml"), "--set", f"trainable={finished.home.parent}/train.py:train"]
    for arguments in (["list"], ["show"], ["best"], ["resume"], ["sweep", *spec]):
        with pytest.raises(LedgerError, match="resume --rebuild") as caught:
            app([*arguments, "--home", str(finished.home)], standalone_mode=False)
        assert caught.value.exit_code == 5 and str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_an_empty_ledger_is_damaged_and_not_new(finished):
    (finished.home / "ledger.db").write_bytes(b"")
    with pytest.raises(LedgerError, match="damaged"):
        make_run(StoredSweep(), overrides={}, home=finished.home).start()


def test_a_rebuilt_ledger_has_every_number_of_the_old_one(finished):
    before = everything(finished)
    path = finished.home / "ledger.db"
    path.write_bytes(b"nothing of it is left")
    done = subprocess.run(
        [sys.executable, "-m", "hpsearch", "resume", "--rebuild", "--home", str(finished.home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Rebuilt the ledger: 1 sweep, 7 trials, " in done.stdout and "Ray" not in done.stdout
    assert everything(finished) == before
    (kept,) = finished.home.glob("ledger.db.damaged-*")
    assert kept.read_bytes() == b"nothing of it is left"


def resume_rebuild(home: Path) -> str:
    """What `resume --rebuild` prints on a sweep that has ended; Ray does not start."""
    command = [sys.executable, "-m", "hpsearch", "resume", "victim", "--rebuild", "--home", str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ray" not in done.stdout
    return done.stdout


def cut(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:5000])


def flip_in_the_middle(journal: Path) -> None:
    flip(journal, journal.read_bytes().index(b'["report"', journal.stat().st_size // 2) + 15)


def flip_in_the_first_line(journal: Path) -> None:
    flip(journal, 100)


@pytest.mark.parametrize("harm", [cut, flip_in_the_middle, flip_in_the_first_line, Path.unlink])
def test_a_whole_ledger_beside_a_damaged_journal_loses_nothing_and_the_journal_is_whole_again(finished, harm):
    before, journal = everything(finished), finished.home / "victim" / "journal.jsonl"
    harm(journal)
    damaged = journal.read_bytes() if journal.exists() else None
    said = resume_rebuild(finished.home)
    assert everything(finished) == before
    assert said.startswith("Rebuilt the journal of victim: 1 sweep, 7 trials, ")
    if damaged is not None:
        (kept,) = journal.parent.glob("journal.jsonl.damaged-*")
        assert kept.read_bytes() == damaged and f"The old files are kept: {kept}" in said
    (finished.home / "ledger.db").unlink()
    assert "victim: 7 trials (7 from the journal)" in resume_rebuild(finished.home)
    assert everything(finished) == before


def test_a_rebuild_of_a_healthy_home_says_that_nothing_is_damaged_and_writes_nothing(finished):
    before = {path: path.read_bytes() for path in finished.home.rglob("*") if path.is_file()}
    said = resume_rebuild(finished.home)
    assert said.startswith("Nothing is damaged: ledger and journals agree (1 sweep, 7 trials, ")
    after = {path: path.read_bytes() for path in finished.home.rglob("*") if path.is_file()}
    names = {path.name for path in before.keys() ^ after.keys() if not path.name.startswith("ledger.db-")}
    assert not names
    assert all(after[path] == before[path] for path in before.keys() & after.keys() if path.name != "ledger.db-shm")


def test_a_cut_ledger_is_read_as_far_as_it_goes_and_said_to_be_damaged(finished):
    before, path = everything(finished), finished.home / "ledger.db"
    path.write_bytes(path.read_bytes()[:-8192])
    cut(finished.home / "victim" / "journal.jsonl")
    said = resume_rebuild(finished.home)
    assert "What was wrong with the ledger: " in said
    assert [row.numbers for row in everything(finished)[0]] == [row.numbers for row in before[0]]


def test_a_killed_sweep_is_rebuilt_with_all_that_was_acknowledged(killed):
    rows, reports = everything(killed)
    assert any(row.state == "done" for row in rows) and any(row.state == "running" for row in rows)
    (killed.home / "ledger.db").unlink()
    rebuild(killed.home, read_tables=copy_of_tables)
    again = {row.number: row for row in killed.rows()}
    for row in rows:
        assert row.state == "running" or again[row.number] == row
        found = dict(killed.reports().get(row.number, []))
        assert dict(reports.get(row.number, [])).items() <= found.items(), (
            "at most the reports of the last instant more"
        )


def test_a_lost_write_ahead_log_is_noticed(killed, lives, tmp_path):
    log = killed.home / "ledger.db-wal"
    whole = copy_of(lives / "killed", tmp_path / "whole").rows()
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 3])
    with closing(sqlite3.connect(killed.home / "ledger.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "SQLite itself sees nothing"
    assert killed.rows() != whole
    with pytest.raises(LedgerError, match="the ledger is damaged: sweep 'victim'"):
        make_run(StoredSweep(), overrides={}, home=killed.home).start()


def test_a_flipped_digit_is_noticed_when_the_sweep_goes_on(finished):
    with closing(sqlite3.connect(finished.home / "ledger.db")) as connection, connection:
        connection.execute("UPDATE reports SET metrics = replace(metrics, '5', '6') WHERE id = 9")
    with pytest.raises(LedgerError, match="is missing or has other values"):
        make_run(StoredSweep(), overrides={}, home=finished.home).start()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 0', '"sead": 0'),
        ('"trainable"', '"tqainable"'),
        ('"minimize"', '"minimmze"'),
        ('"trials"', '"triaks"'),
    ],
)
def test_a_spec_that_a_flip_has_made_invalid_is_damage_and_no_mistake_of_the_user(finished, old, new):
    change(finished, "UPDATE sweeps SET spec = replace(spec, ?, ?)", old, new)
    with pytest.raises(LedgerError, match=r"its spec has other values than in its journal.*resume --rebuild"):
        make_run(StoredSweep(), overrides={}, home=finished.home).start()


@pytest.mark.parametrize(("old", "new"), [('"seed": 0', '"seed": 1'), ('"max": 1.0', '"max": 3.0')])
def test_a_flipped_digit_in_the_spec_is_noticed_when_the_sweep_resumes(killed, old, new):
    change(killed, "UPDATE sweeps SET spec = replace(spec, ?, ?)", old, new)
    with pytest.raises(LedgerError, match="its spec has other values than in its journal"):
        make_run(StoredSweep(), overrides={}, home=killed.home).start()


def test_bytes_in_the_place_of_a_text_are_damage(finished):
    change(finished, "UPDATE reports SET metrics = CAST(metrics AS BLOB) WHERE id = 9")
    with pytest.raises(LedgerError, match="damaged: a column of text has another type"):
        make_run(StoredSweep(), overrides={}, home=finished.home).start()


def test_damage_in_a_part_of_the_file_that_nothing_reads_is_noticed(finished):
    """The number of free pages in the head of the file: it would spoil the next page that is allocated."""
    path = finished.home / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    flip(path, 39)
    before = everything(finished)
    with pytest.raises(LedgerError, match=r"the ledger is damaged: .*freelist"):
        make_run(StoredSweep(), overrides={}, home=finished.home).start()
    assert everything(finished) == before


def test_a_wrong_option_of_resume_is_still_the_users_mistake(finished):
    with pytest.raises(SpecError, match=r"limits\.trials"):
        make_run(StoredSweep(), overrides={"limits": {"trials": -1}}, home=finished.home)


def change(watch: Watch, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(watch.home / "ledger.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def test_no_flip_at_a_random_place_changes_a_table_unnoticed(lives, tmp_path):
    dice, noticed = random.Random(0), 0
    for number in range(100):  # about one flip in ten is noticed; the file differs from run to run
        watch = copy_of(lives / "finished", tmp_path / f"{number}")
        before, path = everything(watch), watch.home / "ledger.db"
        flip(path, dice.randrange(path.stat().st_size), dice.randrange(8))
        try:
            make_run(StoredSweep(), overrides={}, home=watch.home).start()
        except LedgerError:  # any other error is not one about the ledger: the user is blamed, or sees a traceback
            noticed += 1
            continue
        assert everything(watch) == before
    assert noticed > 3


def test_damaged_lines_of_a_journal_are_left_out_and_counted(finished):
    before = finished.rows()
    journal = finished.home / "victim" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    last = next(place for place, line in enumerate(lines) if '"report"' in line and '"trial"' not in line)
    flip(journal, sum(map(len, lines[:last])) + 20)
    with journal.open("a") as file:
        file.write("torn")
    assert rebuild(finished.home, read_tables=copy_of_tables).damaged_lines == 2
    assert finished.rows() == before


def test_a_rebuild_is_refused_while_a_sweep_runs(finished):
    from hpsearch.errors import SweepInUse
    from hpsearch.ledger.lock import writer_lock

    with writer_lock(finished.home / "victim", "victim"), pytest.raises(SweepInUse):
        rebuild(finished.home, read_tables=copy_of_tables)
    assert (finished.home / "ledger.db").exists()
