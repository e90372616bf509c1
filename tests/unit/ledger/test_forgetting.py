"""A sweep that is removed for good, also by a process that dies at any step of it; and what others reused from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.compatibility import check_folder_is_free
from hpsearch.driver.rename import rename
from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.driver.write_results import write_tables_of
from hpsearch.errors import LedgerError, LinkRefused, SweepInUse, UnknownSweep
from hpsearch.ledger import sweep_files
from hpsearch.ledger.cleaning import clean
from hpsearch.ledger.forgetting import find_losses, forget
from hpsearch.ledger.journal import Journal
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.sources import lost_sources, reused_by
from hpsearch.ledger.store import Ledger, now
from hpsearch.ledger.sweep_copy import SweepCopy
from hpsearch.ledger.sweep_files import are_gone, was_forgotten
from hpsearch.paths import checkpoint_dir, ledger_path, lock_path
from tests.support.kills import KilledError
from tests.support.ledger_histories import SPEC


def add_sweep(ledger: Ledger, name: str, *, reused_from: str | None = None) -> None:
    sweep = ledger.add_sweep(name, {**SPEC, "name": name})
    for number in (1, 2):
        row = ledger.add_trial(sweep, number, point={"x": 0.25 * number, "depth": 20, "seed": 3}, seed=0)
        ledger.add_report(row, epoch=1, metrics={"loss": 1.0 / number}, elapsed_s=0.5)
        ledger.update_trial(
            row,
            state="done" if reused_from is None else "reused",
            epochs_trained=1,
            best_value=1.0 / number,
            best_epoch=1,
            last_metrics={"loss": 1.0 / number},
            ended_at=now(),
            reused_from=None if reused_from is None else f"{reused_from}/{number}",
        )
    ledger.end_sweep(sweep, "done")
    folder = checkpoint_dir(ledger.home / name, 1)
    folder.mkdir(parents=True)
    if reused_from is None:
        (folder / "weights").write_bytes(b"w" * 1000)
    else:
        os.link(checkpoint_dir(ledger.home / reused_from, 1) / "weights", folder / "weights")
    (folder / "own").write_bytes(b"o" * 100)


@pytest.fixture
def home(home: Path) -> Path:
    """A sweep `source`, of which `user` reused both trials, and one that has nothing to do with them."""
    with Ledger(home, create=True) as ledger:
        add_sweep(ledger, "source")
        add_sweep(ledger, "user", reused_from="source")
        add_sweep(ledger, "source-2")
    write_tables_of(home, "source")
    return home


def content(home: Path) -> dict[str, Any]:
    with Ledger(home) as ledger:
        return {
            sweep.name: (
                [{**vars(trial), "id": 0} for trial in ledger.trials(sweep)],
                ledger.reports(sweep),
                sorted(path.name for path in checkpoint_dir(home / sweep.name, 1).iterdir()),
            )
            for sweep in ledger.sweeps()
        }


def check_is_forgotten(home: Path, before: dict[str, Any]) -> None:
    """All of it is gone, the others are as they were, and no rebuild brings it back."""
    expected = {name: values for name, values in before.items() if name != "source"}
    assert content(home) == expected
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == sorted(expected)
    assert not rebuild(home, read_tables=copy_of_tables).new_ledger
    ledger_path(home).unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert content(home) == expected


def test_a_sweep_that_is_forgotten_is_gone_from_the_ledger_and_the_disk(home: Path):
    before = content(home)
    loss = forget(home, "source")
    assert (loss.sweep, loss.num_trials, loss.metric, loss.best_value) == ("source", 2, "loss", 0.5)
    check_is_forgotten(home, before)


def test_what_will_be_lost_is_known_before_and_nothing_is_changed_by_asking(home: Path):
    before = content(home)
    source, user = find_losses(home, ["source", "user", "source"])
    assert source.reused_by == {"user": 2} and user.reused_by == {}
    assert (source.in_ledger, source.has_files, source.folder) == (True, True, home / "source")
    files = [path for path in (home / "source").rglob("*") if path.is_file() and path.name != "weights"]
    assert source.freed_bytes == sum(path.stat().st_size for path in files), "the weights are the other sweep's too"
    assert content(home) == before


def test_trials_that_were_reused_say_where_they_came_from(home: Path):
    with Ledger(home) as ledger:
        assert lost_sources(ledger, ledger.sweep("user")) == {}
    forget(home, "source")
    with Ledger(home, create=True) as ledger:
        user = ledger.sweep("user")
        assert [trial.reused_from for trial in ledger.trials(user)] == ["source/1", "source/2"]
        assert lost_sources(ledger, user) == {"source": 2}
        add_sweep(ledger, "source")
        assert lost_sources(ledger, user) == {"source": 2}, "a later sweep of that name is not where they came from"
        assert reused_by(ledger, ledger.sweep("source")) == {}


def test_a_sweep_whose_folder_was_removed_by_hand_is_forgotten_too(home: Path):
    before = content(home)
    shutil.rmtree(home / "source")
    (loss,) = find_losses(home, ["source"])
    assert (loss.has_files, loss.freed_bytes, loss.num_trials) == (False, 0, 2)
    forget(home, "source")
    check_is_forgotten(home, before)


def test_a_sweep_that_runs_is_not_forgotten_and_the_message_says_how_to_stop_it(home: Path):
    before = content(home)
    with writer_lock(home / "source", "source"):
        for call in (lambda: forget(home, "source"), lambda: find_losses(home, ["user", "source"])):
            with pytest.raises(SweepInUse) as caught:
                call()
            assert f"sweep 'source' is in use by pid {os.getpid()} on " in str(caught.value)
            command = "python -m hpsearch {} source --home " + str(home)
            assert f"{command.format('stop')} && {command.format('forget')}" in str(caught.value)
    assert content(home) == before


@pytest.mark.parametrize("name", ["sourc", "", ".", "..", "ledger.db", "a/b", "source/trials"])
def test_what_is_no_sweep_is_not_removed(home: Path, name: str):
    before = content(home)
    for call in (lambda: forget(home, name), lambda: find_losses(home, [name])):
        with pytest.raises(UnknownSweep, match="there is no sweep"):
            call()
    assert content(home) == before


def test_files_of_a_sweep_that_the_ledger_does_not_know_are_not_removed(home: Path):
    """They are of a sweep that a rebuild brings back."""
    (home / "source").rename(home / "moved")
    with pytest.raises(UnknownSweep):
        forget(home, "moved")
    assert checkpoint_dir(home / "moved", 1).is_dir()


def test_a_link_in_the_folder_is_removed_and_what_it_leads_to_stays(home: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    (home / "source" / "mine").symlink_to(outside)
    (checkpoint_dir(home / "source", 1) / "mine.txt").symlink_to(outside / "precious.txt")
    before = content(home)
    forget(home, "source")
    assert (outside / "precious.txt").read_text() == "precious"
    check_is_forgotten(home, before)


@pytest.mark.parametrize("name", ["source", "source/trials", "source/trials/0001", "source/journal.jsonl"])
def test_a_sweep_behind_a_link_is_refused(home: Path, tmp_path: Path, name: str):
    (home / name).rename(tmp_path / "elsewhere")
    (home / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LinkRefused):
        forget(home, "source")
    with Ledger(home) as ledger:
        assert ledger.find_sweep("source") is not None
    assert (tmp_path / "elsewhere").exists()


def test_what_can_not_be_removed_is_an_error_that_says_how_to_finish(home: Path, monkeypatch: pytest.MonkeyPatch):
    before = content(home)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched, pytest.raises(LedgerError) as caught:
        patched.setattr("shutil.rmtree", refuse)
        forget(home, "source")
    assert str(caught.value).startswith(f"{home / 'source'}: not everything could be removed: [Errno 13]")
    assert str(caught.value).endswith(f"then: python -m hpsearch forget source --home {home}")
    (loss,) = find_losses(home, ["source"])
    assert not loss.in_ledger and loss.has_files
    forget(home, "source")
    check_is_forgotten(home, before)


def test_a_file_beside_a_sweep_that_never_had_a_trial_is_not_removed_when_it_starts(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.forget_sweep(ledger.add_sweep("never", SPEC))
    (home / "never" / "mine.txt").write_text("mine")
    check_folder_is_free(home / "never")
    assert (home / "never" / "mine.txt").exists()


def die_at(step: int, patched: pytest.MonkeyPatch) -> None:
    """Die before or after a step of a removal: 0 before the first, 1 after it, 2 before the second."""
    points = iter(range(1000))

    def point() -> None:
        if next(points) == step:
            raise KilledError

    def around(target: str, real: Callable[..., Any]) -> None:
        def called(*args: Any, **options: Any) -> Any:
            point()
            found = real(*args, **options)
            point()
            return found

        patched.setattr(target, called)

    real = Ledger.transaction

    @contextmanager
    def written(ledger: Ledger) -> Iterator[Any]:
        point()
        with real(ledger) as connection:
            yield connection
        point()

    patched.setattr(Ledger, "transaction", written)
    around("hpsearch.ledger.sweep_files._remove_entry", sweep_files._remove_entry)
    around("os.rmdir", os.rmdir)


NUM_STEPS = 18
"""Before and after the commit, each entry of the folder, each folder below it and the folder itself."""


@pytest.mark.parametrize("step", range(NUM_STEPS))
@pytest.mark.parametrize("then", ["forget", "sweep", "list", "rebuild"])
def test_after_a_death_at_any_step_the_sweep_is_whole_or_its_removal_is_finished(home: Path, step: int, then: str):
    before = content(home)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KilledError):
        die_at(step, patched)
        forget(home, "source")
    with Ledger(home) as ledger:
        is_known = ledger.find_sweep("source") is not None
    assert is_known == (step == 0)
    if is_known:
        assert content(home) == before
        forget(home, "source")
    elif (home / "source").is_dir():
        finish(home, then, is_left=not are_gone(home / "source"))
    check_is_forgotten(home, before)


def finish(home: Path, then: str, *, is_left: bool) -> None:
    """What each verb makes of the files of a sweep whose rows are gone."""
    if then == "sweep":
        had_trials = any((home / "source" / "trials").glob("*"))
        with writer_lock(home / "source", "source"):
            check_folder_is_free(home / "source")
        left = {path.name for path in (home / "source").iterdir()}
        assert left <= {"lock", "journal.jsonl"} or not had_trials
    elif then == "list":
        assert "source" not in content(home)
    elif then == "rebuild":
        ledger_path(home).unlink()
        rebuild(home, read_tables=copy_of_tables)
        assert "source" not in content(home)
    if is_left:
        assert was_forgotten(home / "source")
        forget(home, "source")
    elif (home / "source").is_dir():  # an empty folder, or a lock alone
        lock_path(home / "source").unlink(missing_ok=True)
        (home / "source").rmdir()


@pytest.mark.parametrize("verb", ["rename", "clean"])
def test_a_removal_that_died_before_its_commit_is_undone_by_verbs_that_write(home: Path, verb: str):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.sweep("source")
        ledger.reopen_sweep(sweep, {**sweep.spec, "limits": {**sweep.spec["limits"], "checkpoints": 1}})
        ledger.end_sweep(sweep, "done")
    checkpoint_dir(home / "source", 2).mkdir(parents=True)
    journal = Journal(home)
    journal.append("source", "forgotten", sweep.started_at)
    journal.write()
    journal.close()
    if verb == "rename":
        rename(home, "source", "new")
    else:
        assert clean(home, "source").trials == (1,)
    ledger_path(home).unlink()
    rebuild(home, read_tables=lambda folder, spec: SweepCopy())
    with Ledger(home) as ledger:
        assert len(ledger.trials(ledger.sweep("new" if verb == "rename" else "source"))) == 2
