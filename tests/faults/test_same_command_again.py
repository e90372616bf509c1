"""The same `sweep` command on a sweep that is finished: its table at once, and nothing else happens.

Real command line, ledger, tables and files; the trials were simulated, and no Ray was ever started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.api.results import Results
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.paths import journal_path, outputs_path
from hpsearch.results.files import are_up_to_date, output_paths, record_outputs
from hpsearch.spec.file import dump_yaml
from tests.support.simulated import FINE, Scenario, live

COMMAND = """
import runpy, sys
sys.argv = ["hpsearch", "sweep", "victim.yaml", "--home", "sweeps"]
try:
    runpy.run_module("hpsearch", run_name="__main__")
finally:
    print(*sorted(sys.modules), sep=",", file=sys.stderr)
"""
HEAVY = {"ray", "torch", "optuna", "hyperopt", "pandas", "numpy", "pyarrow", "alembic"}
"""Each takes a fifth of a second to several."""


@pytest.fixture(params=["random", "optuna"])
def finished(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a project with a finished sweep."""
    scenario = Scenario(method=request.param, stopping="asha", trials=4, epochs=9)
    assert live(tmp_path, scenario)[0] == FINE, (tmp_path / "broken.txt").read_text()
    (tmp_path / "victim.yaml").write_text(dump_yaml(scenario.tree("victim")))
    return tmp_path


def again(folder: Path) -> tuple[list[str], set[str]]:
    """(What is printed, which modules were loaded by the end)."""
    done = subprocess.run([sys.executable, "-c", COMMAND], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), set(done.stderr.splitlines()[-1].split(","))


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What lies in the sweep's folder, with the times at which it was written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_it_prints_the_table_imports_nothing_heavy_and_writes_nothing(finished: Path):
    before, trained = files(finished / "sweeps" / "victim"), (finished / "diary.txt").read_text()
    printed, modules = again(finished)
    assert any(line.startswith("victim: done") for line in printed)
    assert modules & HEAVY == set()
    assert files(finished / "sweeps" / "victim") == before
    assert (finished / "diary.txt").read_text() == trained, "nothing was trained"


@pytest.mark.parametrize("finished", ["random"], indirect=True)
def test_its_exit_code_is_the_sweeps_own_also_where_the_reader_of_its_pipe_has_left(finished: Path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", COMMAND]
    done = subprocess.run(command, cwd=finished, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 0, done.stderr


def remove(folder: Path) -> None:
    (folder / "history.parquet").unlink()


def cut(folder: Path) -> None:
    os.truncate(folder / "trials.parquet", 100)


def edit(folder: Path) -> None:
    path = folder / "trials.csv"
    path.write_text(path.read_text().replace("done", "gone", 1))


def link(folder: Path) -> None:
    (folder / "report.html").rename(folder / "elsewhere.html")
    (folder / "report.html").symlink_to("elsewhere.html")


def tell_the_ledger_something(folder: Path) -> None:
    with Ledger(folder.parent, create=True) as ledger:
        ledger.add_note(ledger.sweep("victim"), "a word from the ledger")


def forget_what_they_show(folder: Path) -> None:
    outputs_path(folder).unlink()


def die_between_a_table_and_its_record(folder: Path) -> None:
    tell_the_ledger_something(folder)
    recorded = outputs_path(folder).read_bytes()
    Results(folder.parent, "victim").write()
    outputs_path(folder).write_bytes(recorded)


def set_times(folder: Path, *, tables_s: float, journal_s: float) -> None:
    """Date the tables and the journal by so many seconds from now, as a clock that was moved in between does."""
    now = time.time()
    for path in filter(Path.exists, output_paths(folder)):
        os.utime(path, (now + tables_s, now + tables_s))
    os.utime(journal_path(folder), (now + journal_s, now + journal_s))


@pytest.mark.parametrize("finished", ["random"], indirect=True)
@pytest.mark.parametrize("tables_s", [3600.0, -3600.0])
@pytest.mark.parametrize(
    "harm",
    [remove, cut, edit, link, tell_the_ledger_something, forget_what_they_show, die_between_a_table_and_its_record],
)
def test_files_that_do_not_show_the_ledger_are_written_whatever_their_times(
    finished: Path, harm: Callable[[Path], None], tables_s: float
):
    folder = finished / "sweeps" / "victim"
    harm(folder)
    set_times(folder, tables_s=tables_s, journal_s=0.0)
    before = files(folder)
    again(finished)
    after = files(folder)
    assert all(after[str(path)][0] != before.get(str(path), (None,))[0] for path in output_paths(folder))
    assert are_up_to_date(folder)
    assert len(pd.read_csv(folder / "trials.csv")) == len(pd.read_parquet(folder / "trials.parquet")) == 4


@pytest.mark.parametrize("finished", ["random"], indirect=True)
@pytest.mark.parametrize("tables_s", [3600.0, -3600.0])
def test_times_of_files_alone_make_no_table_out_of_date(finished: Path, tables_s: float):
    folder = finished / "sweeps" / "victim"
    set_times(folder, tables_s=tables_s, journal_s=0.0)
    before = files(folder)
    again(finished)
    assert files(folder) == before


@pytest.mark.parametrize("finished", ["random"], indirect=True)
def test_a_copy_of_the_home_has_tables_that_are_up_to_date(finished: Path):
    shutil.copytree(finished / "sweeps", finished / "copied", copy_function=shutil.copyfile)
    before = files(finished / "copied" / "victim")
    shutil.rmtree(finished / "sweeps")
    (finished / "copied").rename(finished / "sweeps")
    again(finished)
    assert {
        path.replace("sweeps", "copied"): known for path, known in files(finished / "sweeps" / "victim").items()
    } == before


@pytest.mark.parametrize("finished", ["random"], indirect=True)
def test_a_report_that_the_user_wrote_with_other_options_is_kept(finished: Path):
    folder = finished / "sweeps" / "victim"
    Results(folder.parent, "victim").report(static=True)
    before = files(folder)
    again(finished)
    assert files(folder) == before


@pytest.mark.parametrize("finished", ["random"], indirect=True)
def test_a_report_that_was_begun_while_the_sweep_ran_is_replaced(finished: Path):
    folder = finished / "sweeps" / "victim"
    with writer_lock(folder, "victim"):
        Results(folder.parent, "victim").report(static=True)  # its reader can't know what is about to be committed
    assert not are_up_to_date(folder)
    again(finished)
    assert are_up_to_date(folder)


@pytest.mark.parametrize("finished", ["random"], indirect=True)
def test_an_older_report_that_takes_the_place_of_the_newest_is_not_taken_for_it(
    finished: Path, monkeypatch: pytest.MonkeyPatch
):
    """A reader that was slow replaces the file after the driver has written it, and before it has recorded that."""
    folder = finished / "sweeps" / "victim"
    older = (folder / "report.html").read_bytes()
    tell_the_ledger_something(folder)

    def late(*arguments: Any, **named: Any) -> None:
        (folder / "report.html").write_bytes(older)
        record_outputs(*arguments, **named)

    results = Results(folder.parent, "victim")
    results.write()
    monkeypatch.setattr("hpsearch.results.report.write.record_outputs", late)
    results.report()
    assert not are_up_to_date(folder)
    again(finished)
    assert are_up_to_date(folder)


@pytest.mark.parametrize("hours", [1, -1])
def test_more_trials_are_in_the_tables_after_the_clock_was_moved(tmp_path: Path, hours: int):
    scenario = Scenario(trials=2)
    assert live(tmp_path, scenario)[0] == FINE, (tmp_path / "broken.txt").read_text()
    folder = tmp_path / "sweeps" / "victim"
    set_times(folder, tables_s=-3600.0 * hours, journal_s=-3600.0 * hours)
    assert live(tmp_path, replace(scenario, trials=5))[0] == FINE, (tmp_path / "broken.txt").read_text()
    assert len(pd.read_csv(folder / "trials.csv")) == len(pd.read_parquet(folder / "trials.parquet")) == 5
    assert "5 trials" in (folder / "report.html").read_text()
