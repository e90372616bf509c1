"""What `forget` and `rename` say and ask, and what other verbs say about a sweep whose files were removed by hand."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.driver.write_results import write_results
from hpsearch.errors import LedgerError, SpecError, SweepExists, SweepInUse, UnknownSweep
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.store import Ledger, now
from hpsearch.paths import checkpoint_dir
from hpsearch.spec.sweep import Sweep
from tests.support.checkpoints import write_checkpoint
from tests.support.small_project import TREE, enter_project


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the sweep `net`, and `net-2` that has reused its trials; no Ray starts."""
    enter_project(tmp_path, monkeypatch)
    add_sweep("net")
    add_sweep("net-2", reused_from="net")
    return tmp_path


def add_sweep(name: str, *, reused_from: str | None = None) -> None:
    with Ledger(Path("sweeps"), create=True) as ledger:
        sweep = ledger.add_sweep(name, Sweep.from_dict({**TREE, "name": name}).to_dict(), spec_dir=Path())
        for number in (1, 2):
            row = ledger.add_trial(sweep, number, point={"x": 0.25 * number}, seed=0)
            ledger.add_report(row, epoch=1, metrics={"loss": 0.25 * number}, elapsed_s=1.0)
            write_checkpoint(checkpoint_dir(Path("sweeps") / name, number), 1, b"w" * 1000)
            ledger.update_trial(
                row,
                state="reused" if reused_from else "done",
                reused_from=None if reused_from is None else f"{reused_from}/{number}",
                epochs_trained=1,
                best_value=0.25 * number,
                best_epoch=1,
                last_metrics={"loss": 0.25 * number},
                ended_at=now(),
                checkpoint_epoch=1,
            )
        ledger.end_sweep(sweep, "done")


def run(*words: str, answer: str | None = None) -> Result:
    """Run a verb; `answer` is typed at a terminal, None has no terminal."""
    with pytest.MonkeyPatch.context() as patched:
        if answer is not None:
            patched.setattr("hpsearch.cli.forget_and_rename._has_terminal", lambda: True)
        result = CliRunner().invoke(app, list(words), input=None if answer is None else f"{answer}\n")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def names() -> list[str]:
    return [row["name"] for row in json.loads(run("list", "--json").stdout)]


def test_forget_says_what_is_lost_asks_and_removes():
    size = sum(path.stat().st_size for path in Path("sweeps/net").rglob("*") if path.is_file())
    result = run("forget", "net", answer="y")
    assert result.stdout.splitlines() == [
        f"net: 2 trials, best loss 0.25; {size / 1024:.1f} KiB in sweeps/net.",
        "  Trials that were reused from it keep their epochs and checkpoints: 2 of net-2.",
        "Remove it? [y/N]: y",
        f"net is removed, and {size / 1024:.1f} KiB are free.",
    ]
    assert names() == ["net-2"] and not Path("sweeps/net").exists()


@pytest.mark.parametrize("answer", ["n", ""])
def test_every_other_answer_removes_nothing(answer: str):
    result = run("forget", "net", "net-2", answer=answer)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2:] == [f"Remove these 2 sweeps? [y/N]: {answer}", "Nothing was removed."]
    assert names() == ["net", "net-2"]


def test_without_a_terminal_nothing_is_removed_and_the_command_that_does_is_printed():
    result = run("forget", "net", "net-2")
    assert result.exit_code == 2 and names() == ["net", "net-2"]
    command = "python -m hpsearch forget net net-2 --yes"
    assert result.stderr == f"Error: nothing was removed: there is no terminal to ask at. To answer yes: {command}\n"
    result = run(*command.split()[3:])
    assert (result.exit_code, names()) == (0, [])


def test_a_name_that_is_wrong_leaves_all_of_them():
    with pytest.raises(UnknownSweep, match="Did you mean 'net-2'"):
        run("forget", "net", "net2", "--yes")
    assert names() == ["net", "net-2"]


def test_the_sweep_that_reused_trials_is_as_it_was_and_says_what_became_of_their_source():
    before = Results("sweeps", "net-2").trials
    best = Results("sweeps", "net-2").best
    run("forget", "net", "--yes")
    after = Results("sweeps", "net-2")
    assert after.trials.equals(before) and after.best == best
    assert best is not None and best.checkpoint is not None and Path(best.checkpoint).is_file()
    lines = run("show", "net-2").stdout.splitlines()
    assert lines[1] == "reused_from: sweep 'net' was removed or renamed since; the 2 trials reused from it stay."
    assert lines[3].endswith("net/1")


def test_files_that_a_killed_removal_left_are_removed_by_the_same_command():
    with Ledger(Path("sweeps"), create=True) as ledger:
        ledger.forget_sweep(ledger.sweep("net"))
    lines = run("forget", "net", "--yes").stdout.splitlines()
    assert lines[0].startswith("net is not in the ledger any more; ") and lines[0].endswith(
        "KiB in sweeps/net are left of it."
    )
    assert not Path("sweeps/net").exists()


def test_rename_says_where_the_sweep_is_now_and_writes_what_has_its_name_again():
    with Ledger(Path("sweeps"), create=True) as ledger:
        write_results(ledger, "net")
    result = run("rename", "net", "wide")
    assert result.stdout == "net is now wide, in sweeps/wide.\n"
    assert names() == ["wide", "net-2"]
    assert ",wide/trials/0001/checkpoint/" in Path("sweeps/wide/trials.csv").read_text()
    assert "<title>wide: report" in Path("sweeps/wide/report.html").read_text()


def test_the_folder_of_a_sweep_that_never_had_a_trial_is_not_in_the_way_of_a_new_name():
    with Ledger(Path("sweeps"), create=True) as ledger:
        ledger.forget_sweep(ledger.add_sweep("wide", Sweep.from_dict({**TREE, "name": "wide"}).to_dict()))
    assert Path("sweeps/wide/journal.jsonl").exists()
    assert run("rename", "net", "wide").exit_code == 0
    assert names() == ["wide", "net-2"] and not Path("sweeps/net").exists()


def test_a_renamed_sweep_resumes_under_its_new_name_and_not_under_the_old_one():
    run("rename", "net", "wide")
    assert run("sweep", "net.yaml", "--name", "wide").exit_code == 0
    assert run("resume", "wide").exit_code == 0
    with pytest.raises(UnknownSweep):
        run("resume", "net")


def test_verbs_that_read_know_the_name_that_hpsearch_gives_an_earlier_sweep():
    run("rename", "net", "net~1")
    for verb in (["show"], ["best"], ["show", "--trial", "1"], ["export"], ["report"], ["resume"], ["clean"]):
        assert run(verb[0], "net~1", *verb[1:]).exit_code == 0
    best = run("best", "net~1").stdout
    assert "net~1/sweep.yaml" in best and "\nname: net-1-best\n" in best, "a name that a new sweep may have"


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["net", "net-2"], SweepExists, "a sweep named 'net-2' is in sweeps/ledger.db already. Choose another name."),
        (["net", "net"], SweepExists, "a sweep named 'net' is in sweeps/ledger.db already. Choose another name."),
        (["net", "a b"], SpecError, "name: expected letters, digits, .*, got the text 'a b'."),
        (["nett", "b"], UnknownSweep, "there is no sweep 'nett'. Did you mean 'net'?"),
    ],
)
def test_rename_refuses_what_is_no_free_name(words: list[str], error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        run("rename", *words)
    assert names() == ["net", "net-2"]


IN_USE = {
    "sweep net.yaml": "Wait for it, choose another name, or stop it: python -m hpsearch stop net",
    "resume net": "Wait for it, or stop it: python -m hpsearch stop net",
    "clean net": "Stop it, then clean it: python -m hpsearch stop net && python -m hpsearch clean net",
    "forget net": "Stop it, then remove it: python -m hpsearch stop net && python -m hpsearch forget net",
    "rename net b": "Stop it, then rename it: python -m hpsearch stop net && python -m hpsearch rename net NEW",
    "resume --rebuild": "Stop it, then rebuild: python -m hpsearch stop net && python -m hpsearch resume --rebuild",
}
"""Command to what it advises where another process runs the sweep."""


@pytest.mark.parametrize("command", IN_USE)
def test_a_verb_that_needs_a_running_sweep_names_its_process_and_what_to_do(command: str):
    with writer_lock(Path("sweeps/net"), "net"), pytest.raises(SweepInUse) as caught:
        run(*command.split())
    assert caught.value.exit_code == 6
    text = str(caught.value)
    assert text.startswith("sweep 'net' is in use by pid ") and f" on {socket.gethostname()} since " in text
    assert text.endswith(f". {IN_USE[command]}")


GONE = (
    "net: its files are gone from sweeps/net. Put the folder back, or remove the sweep from the ledger too:"
    " python -m hpsearch forget net"
)


@pytest.fixture
def removed() -> None:
    """The folder of `net` was removed by hand."""
    shutil.rmtree("sweeps/net")


@pytest.mark.usefixtures("removed")
def test_list_and_show_say_that_the_files_were_removed():
    lines = run("list").stdout.splitlines()
    assert lines[1].split()[:3] == ["net", "files", "removed"] and lines[2].split()[:2] == ["net-2", "done"]
    assert lines[3:] == [GONE]
    assert json.loads(run("list", "--json").stdout)[0]["state"] == "files removed"
    assert run("show", "net").stdout.splitlines()[1] == GONE


def test_a_folder_that_was_emptied_or_moved_is_noticed_too_and_is_fine_when_it_is_back():
    Path("sweeps/net").rename("sweeps/elsewhere")
    assert "files removed" in run("list").stdout
    Path("sweeps/net").mkdir()
    assert "files removed" in run("list").stdout
    Path("sweeps/net").rmdir()
    Path("sweeps/elsewhere").rename("sweeps/net")
    assert "files removed" not in run("list").stdout


@pytest.mark.usefixtures("removed")
def test_every_verb_that_reads_works_without_the_files():
    rows = json.loads(run("show", "net", "--json").stdout)
    assert [row["checkpoint"] for row in rows] == [None, None]
    best = run("best", "net").stdout
    assert "x: 0.25" in best and "by hand" not in best, "the spec that it would be trained with is gone"
    for words in (["show", "net", "--trial", "1"], ["show", "net", "--failures"], ["export", "net", "-o", "t.csv"]):
        assert run(*words).exit_code == 0
    assert run("report", "net", "-o", "report.html").exit_code == 0
    assert (found := Results("sweeps", "net").best) is not None and found.checkpoint is None
    assert not Path("sweeps/net").exists()


@pytest.mark.usefixtures("removed")
@pytest.mark.parametrize("words", [["clean", "net"], ["rename", "net", "b"], ["logs", "net", "1"]])
def test_what_needs_the_files_says_that_they_are_gone(words: list[str]):
    with pytest.raises(LedgerError) as caught:
        run(*words)
    assert str(caught.value) == GONE and not Path("sweeps/net").exists()


@pytest.mark.usefixtures("removed")
def test_the_same_sweep_again_says_how_to_resume_it_and_how_to_begin_again():
    with pytest.raises(SweepExists) as caught:
        run("sweep", "net.yaml")
    resume = "python -m hpsearch resume net"
    again = "python -m hpsearch forget net && python -m hpsearch sweep net.yaml --name net"
    assert str(caught.value).splitlines() == [
        "the files of sweep 'net' are gone from sweeps/net, and the ledger still has its 2 trials.",
        f"To resume it with these, without checkpoints: {resume}",
        f"To remove these too and begin again: {again}",
    ]
    assert not Path("sweeps/net").exists() and names() == ["net", "net-2"]
    before = Results("sweeps", "net").history
    assert run(*resume.split()[3:]).exit_code == 0
    assert "files removed" not in run("list").stdout
    Path("sweeps/ledger.db").unlink()
    assert run("resume", "net", "--rebuild").exit_code == 0
    assert Results("sweeps", "net").history.equals(before), "its journal was written again, too"


def test_a_folder_that_was_moved_is_found_and_the_command_that_renames_the_sweep_is_printed():
    Path("sweeps/net").rename("sweeps/wide")
    back, rename = "mv sweeps/wide sweeps/net", "python -m hpsearch rename net wide"
    text = f"net: its files were moved to sweeps/wide. To rename the sweep, move them back first: {back} && {rename}"
    assert run("list").stdout.splitlines()[3:] == [text]
    with pytest.raises(SweepExists) as caught:
        run("sweep", "net.yaml")
    assert str(caught.value) == text
    Path("sweeps/wide").rename("sweeps/net")
    assert run(*rename.split()[3:]).exit_code == 0
    assert names() == ["wide", "net-2"] and "files" not in run("list").stdout


def test_a_rebuild_gives_a_sweep_the_name_of_the_folder_that_it_was_moved_to():
    before = Results("sweeps", "net").history
    Path("sweeps/net").rename("sweeps/wide")
    run("resume", "wide", "--rebuild")
    assert sorted(names()) == ["net-2", "wide"]
    assert Results("sweeps", "wide").history.equals(before)


@pytest.mark.usefixtures("removed")
def test_python_is_offered_what_can_be_called_there():
    import hpsearch

    with pytest.raises(SweepExists) as caught:
        hpsearch.run("net.yaml")
    assert "checkpoints: hpsearch.load('net').resume()\n" in str(caught.value)
    assert str(caught.value).endswith("the same call after this command: python -m hpsearch forget net")


@pytest.mark.usefixtures("removed")
def test_a_sweep_without_files_is_forgotten():
    lines = run("forget", "net", "--yes").stdout.splitlines()
    assert (lines[0], lines[-1]) == ("net: 2 trials, best loss 0.25; no files.", "net is removed.")
    assert names() == ["net-2"] and not Path("sweeps/net").exists()
