"""The same `sweep` command on a sweep that is finished: its table at once, and nothing else happens.

Real command line, ledger, tables and files; the trials were simulated, and no Ray was ever started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpsearch.ledger.store import Ledger
from hpsearch.results.files import output_paths
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


def tell_the_ledger_something(folder: Path) -> None:
    with Ledger(folder.parent, create=True) as ledger:
        ledger.add_note(ledger.sweep("victim"), "a word from the ledger")


@pytest.mark.parametrize("finished", ["random"], indirect=True)
@pytest.mark.parametrize("harm", [remove, tell_the_ledger_something])
def test_tables_that_are_not_there_or_older_than_the_ledger_are_written(finished: Path, harm: Callable[[Path], None]):
    folder = finished / "sweeps" / "victim"
    before = files(folder)
    harm(folder)
    again(finished)
    after = files(folder)
    assert all(after[str(path)][0] > before[str(path)][0] for path in output_paths(folder))
