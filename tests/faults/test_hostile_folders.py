"""A home folder that someone else made, or in which a folder was replaced by a link: nothing outside of it changes.

In each test a link takes the place of one file or folder of a finished sweep, then a verb of the command line runs.
Real ledger, files and command line; the slots of `resume` are simulated, and no Ray is started.
"""

from __future__ import annotations

import py_compile
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpsearch.cli import app
from hpsearch.errors import HpsearchError, LedgerError, LinkRefused, SpecError
from hpsearch.ledger.store import Ledger
from tests.support.simulated import BROKEN, FINE, KILLED, Scenario, live

SCENARIO = Scenario(trials=3, epochs=2, seed=1)
MORE = Scenario(trials=4, epochs=2, seed=1)
"""The same sweep with a trial more, so that something is left to train."""
FOLDERS = ("victim", "victim/trials", "victim/trials/0002", "victim/trials/0002/checkpoint", "victim/code")
FILES = (
    "ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", ".ledger.db.lock",
    "victim/lock", "victim/journal.jsonl", "victim/runs.jsonl", "victim/prior.json", "victim/driver.log",
    "victim/trials/0002/log.txt",
)  # fmt: skip
REPLACED = ("sweep.yaml", "trials.csv", "trials.parquet", "history.parquet", "report.html", "outputs.json")
"""Files of the sweep's folder that are written beside and renamed, so that a link in their place is replaced."""
OF_THE_LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal")
READING = (["list"], ["show", "victim"], ["show", "--trial", "2"], ["best"], ["report", "-o", "-"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with a finished sweep."""
    folder = tmp_path_factory.mktemp("project") / "mine"
    assert live(folder, SCENARIO)[0] == FINE
    (folder / "sweeps" / "victim" / "trials" / "0002" / "log.txt").write_text("epoch 1")
    (folder / "sweeps" / "victim" / "code" / "abc").mkdir(parents=True)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project that the test may change; the working directory."""
    monkeypatch.chdir(Path(shutil.copytree(finished, tmp_path / "project")))
    return Path.cwd()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of files that must stay as they are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious.txt").write_text("precious")
    return folder


def link(project: Path, name: str, outside: Path) -> Path:
    """Put a link in the place of a file or folder of the home, to the same content outside of it."""
    path, target = project / "sweeps" / name, outside / "target"
    if path.exists():
        path.rename(target)
    elif Path(name).suffix:
        target.write_text("mine")
    else:
        target.mkdir()
    path.symlink_to(target)
    return path


def content(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def run(*words: str) -> Result:
    """What a verb prints; an error of ours is raised as the command line's starter gets it."""
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, HpsearchError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def limit_checkpoints(project: Path) -> None:
    """Let `clean` find something: of the three trials, whose checkpoints are there, it keeps those of one."""
    with sqlite3.connect(project / "sweeps" / "ledger.db") as connection:
        connection.execute("UPDATE sweeps SET spec = json_set(spec, '$.limits.checkpoints', 1)")
    connection.close()


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
@pytest.mark.parametrize("verb", ["clean", "resume"])
def test_a_verb_that_writes_refuses_a_link_and_changes_nothing(project: Path, outside: Path, name: str, verb: str):
    limit_checkpoints(project)
    path = link(project, name, outside)
    before = content(outside)
    if verb == "clean":
        with pytest.raises(LinkRefused) as caught:
            run("clean", "victim")
        message = str(caught.value)
    else:
        assert live(project, MORE)[0] == BROKEN
        message = (project / "broken.txt").read_text()
    assert f"{path.relative_to(project)}: this is a symbolic link to {outside}/target. hpsearch follows" in message
    assert content(outside) == before


def test_clean_removes_what_is_no_link(project: Path):
    limit_checkpoints(project)
    assert "freed" in run("clean", "victim").stdout
    assert sum(path.exists() for path in (project / "sweeps").glob("victim/trials/*/checkpoint")) == 1


@pytest.mark.parametrize("name", [*FOLDERS, *(name for name in FILES if name not in OF_THE_LEDGER)])
def test_a_link_does_not_keep_the_verbs_that_read_from_working(project: Path, outside: Path, name: str):
    listed = run("list").stdout
    link(project, name, outside)
    before = content(outside)
    assert run("list").stdout == listed
    assert all(run(*words).exit_code == 0 for words in READING)
    assert content(outside) == before


@pytest.mark.parametrize("name", OF_THE_LEDGER)
def test_a_ledger_that_is_a_link_is_not_even_read(project: Path, outside: Path, name: str):
    link(project, name, outside)
    before = content(outside)
    for words in READING:
        with pytest.raises(LinkRefused):
            run(*words)
    assert "symbolic link" in CliRunner().invoke(app, ["doctor"]).stdout
    assert content(outside) == before, "SQLite would make files beside it"


@pytest.mark.parametrize("name", REPLACED)
def test_a_link_in_the_place_of_a_file_that_is_written_as_a_whole_is_replaced(project: Path, outside: Path, name: str):
    path = link(project, f"victim/{name}", outside)
    before = content(outside)
    assert live(project, MORE)[0] == FINE
    assert content(outside) == before
    assert path.is_file() and not path.is_symlink()


@pytest.mark.parametrize(
    "words", [["report"], ["export"], ["export", "--to", "parquet"], ["export", "--to", "optuna"],
              ["export", "--to", "tensorboard"]],
)  # fmt: skip
def test_nothing_is_exported_into_a_folder_that_is_a_link(project: Path, outside: Path, words: list[str]):
    link(project, "victim", outside)
    before = content(outside)
    with pytest.raises(LinkRefused):
        run(*words)
    assert content(outside) == before


def test_no_run_is_exported_for_tensorboard_through_a_link(project: Path, outside: Path):
    (project / "sweeps" / "victim" / "tensorboard").mkdir()
    link(project, "victim/tensorboard/trial-0002", outside)
    before = content(outside)
    with pytest.raises(LinkRefused):
        run("export", "--to", "tensorboard")
    assert content(outside) == before


@pytest.mark.parametrize("name", ["victim/trials/0002", "victim/trials/0002/log.txt"])
def test_the_log_of_a_trial_is_not_read_through_a_link(project: Path, outside: Path, name: str):
    link(project, name, outside)
    with pytest.raises(LinkRefused):
        run("logs", "2")
    assert run("logs", "1").exit_code == 0


def test_the_home_itself_may_be_a_link(project: Path, tmp_path: Path):
    limit_checkpoints(project)
    (project / "sweeps").rename(tmp_path / "scratch")
    (project / "sweeps").symlink_to(tmp_path / "scratch")
    assert live(project, MORE)[0] == FINE
    assert "freed" in run("clean", "victim").stdout
    assert all(run(*words).exit_code == 0 for words in READING)


def edit_ledger(project: Path, statement: str, *values: object) -> None:
    """Change the ledger as someone could who sends it; without a journal nothing contradicts it."""
    with sqlite3.connect(project / "sweeps" / "ledger.db") as connection:
        connection.execute(statement, values)
    connection.close()
    (project / "sweeps" / "victim" / "journal.jsonl").unlink()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", "..", ".", "", "a\0b", b"a"])
def test_a_ledger_that_names_another_folder_is_refused(project: Path, outside: Path, name: object):
    edit_ledger(project, "UPDATE sweeps SET name = ?, folder = ?", name, name)
    before = content(outside)
    for words in (["list"], ["clean"], ["report"], ["export"]):
        with pytest.raises(LedgerError, match="this ledger was edited"):
            run(*words)
    assert content(outside) == before


@pytest.mark.parametrize("number", ["../../../outside", b"\0", 2.5])
def test_a_trial_whose_number_is_none_is_refused(project: Path, outside: Path, number: object):
    edit_ledger(project, "UPDATE trials SET number = ? WHERE number = 2", number)
    before = content(outside)
    for words in (["show", "victim"], ["clean"], ["report"]):
        with pytest.raises(LedgerError, match="this ledger was edited"):
            run(*words)
    assert content(outside) == before


PLANTED = "open('planted.txt', 'w')\n\ndef train(config):\n    open('planted.txt', 'w')\n    yield {'loss': 1.0}\n"
HIDING_PLACES = {
    "absolute path": ("sweeps/victim/train.py", "{project}/sweeps/victim/train.py:train", None, None),
    "relative path": ("sweeps/train.py", "sweeps/train.py:train", None, None),
    "path by a link and dots": ("sweeps/train.py", "link/../train.py:train", None, None),
    "script": ("sweeps/victim/train.py", "sweeps/victim/train.py", None, None),
    "module": ("sweeps/victim/evil.py", "sweeps.victim.evil:train", None, None),
    "the home is a package": ("sweeps/__init__.py", "sweeps:train", None, None),
    "compiled module": ("sweeps/victim/evil.pyc", "sweeps.victim.evil:train", None, None),
    "folder of the spec": ("sweeps/victim/there.py", "there.py:train", "{project}/sweeps/victim", None),
    "folder of the spec, a link": ("sweeps/victim/there.py", "there.py:train", "{project}/link", None),
    "folder of the spec, relative": ("sweeps/victim/there.py", "there.py:train", None, "victim"),
    "folder of the spec, by a detour": ("sweeps/victim/there.py", "there.py:train", None, "../sweeps/victim"),
    "folder of the spec, above": ("sweeps/victim/there.py", "sweeps/victim/there.py:train", None, ".."),
}  # fmt: skip
"""Where code lies among the sweeps, and how the ledger names it: file, trainable, spec_dir, spec_from_home."""


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_resume_runs_no_code_that_lies_among_the_sweeps(project: Path, place: str):
    file, trainable, *folders = HIDING_PLACES[place]
    (project / "link").symlink_to("sweeps/victim")
    (project / "planted.py").write_text(PLANTED)
    if file.endswith(".pyc"):
        py_compile.compile(str(project / "planted.py"), str(project / file))
    else:
        shutil.copy(project / "planted.py", project / file)
    names = [None if name is None else name.format(project=project) for name in (trainable, *folders)]
    edit_ledger(
        project,
        "UPDATE sweeps SET spec = json_set(spec, '$.trainable', ?), spec_dir = ?, spec_from_home = ?, code = NULL",
        *names,
    )
    with pytest.raises(SpecError, match=r"runs no code|there is no file there\.py"):
        run("resume", "victim", "-n", "5", "--accept-changes")
    assert not (project / "planted.txt").exists()


@pytest.mark.parametrize("inside", [".", "victim"])
def test_resume_does_not_run_where_the_working_directory_lies_among_the_sweeps(
    project: Path, monkeypatch: pytest.MonkeyPatch, inside: str
):
    monkeypatch.chdir(project / "sweeps" / inside)
    with pytest.raises(SpecError, match=r"the working directory .* is in the home folder"):
        run("resume", "victim", "-n", "5", "--home", str(project / "sweeps"))


def test_the_resolved_spec_of_a_sweep_finds_no_code_beside_it(project: Path, monkeypatch: pytest.MonkeyPatch):
    (project / "sweeps" / "victim" / "train.py").write_text(PLANTED)
    (project / "train.py").unlink()
    for words in (["sweep"], ["validate"], ["trial"]):
        with pytest.raises(SpecError, match=r"there is no file train\.py"):
            run(*words, "sweeps/victim/sweep.yaml")
    assert not (project / "planted.txt").exists()


def test_a_checkpoint_is_not_reused_from_a_trial_whose_folder_is_a_link(project: Path, outside: Path):
    link(project, "victim/trials/0002", outside)
    longer = Scenario(trials=3, epochs=4, seed=1)
    assert live(project, longer, name="second")[0] == FINE
    with Ledger(project / "sweeps") as ledger:
        assert all(trial.epochs_trained == 4 for trial in ledger.trials(ledger.sweep("second")))
    shared = {path: path.stat().st_nlink for path in outside.rglob("*") if path.is_file()}
    assert all(count == 1 for count in shared.values())


def test_a_sweep_that_was_killed_refuses_a_link_and_continues_without_it(tmp_path: Path):
    folder = tmp_path / "project"
    assert live(folder, SCENARIO, dies_at=25)[0] == KILLED
    trials = folder / "sweeps" / "victim" / "trials"
    trials.rename(tmp_path / "moved")
    trials.symlink_to(tmp_path / "moved")
    before = content(tmp_path / "moved")
    assert live(folder, SCENARIO, resumes=True)[0] == BROKEN
    assert content(tmp_path / "moved") == before
    trials.unlink()
    (tmp_path / "moved").rename(trials)
    assert live(folder, SCENARIO, resumes=True)[0] == FINE


def test_a_rebuild_reads_no_journal_through_a_link(project: Path, outside: Path):
    link(project, "victim", outside)
    before = content(outside)
    with pytest.raises(LedgerError):
        run("resume", "--rebuild")
    assert content(outside) == before
    assert "victim" in run("list").stdout, "the ledger is as it was"
