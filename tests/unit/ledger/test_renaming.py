"""A sweep that is renamed: its row, its folder and its files; and the same after a death at every step."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.driver.write_results import write_report_of, write_tables_of
from hpsearch.errors import LedgerError, SpecError, SweepExists, SweepInUse
from hpsearch.ledger import lock, renaming
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.lock import is_held, writer_lock
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.store import Ledger, now
from hpsearch.paths import checkpoint_dir, journal_path, ledger_path, replace_file, resolved_spec_path
from hpsearch.results.files import are_up_to_date
from hpsearch.spec.file import dump_yaml
from tests.support.kills import KilledError
from tests.support.ledger_histories import SPEC

NAMED = {**SPEC, "name": "old"}


@pytest.fixture
def home(home: Path) -> Path:
    """A sweep `old` of two trials, one with a checkpoint, and another sweep."""
    with Ledger(home, create=True) as ledger:
        for name in ("old", "other"):
            sweep = ledger.add_sweep(name, {**SPEC, "name": name})
            for number in (1, 2):
                point = {"x": 0.25 * number, "depth": 20, "seed": 3}
                row = ledger.add_trial(sweep, number, point=point, seed=number, fingerprint=f"{name}{number}")
                ledger.add_report(row, epoch=1, metrics={"loss": 1.0 / number}, elapsed_s=0.5)
                values: dict[str, Any] = {"epochs_trained": 1, "best_value": 1.0 / number, "best_epoch": 1}
                last = {"loss": 1.0 / number}
                ledger.update_trial(row, state="done", duration_s=0.5, ended_at=now(), last_metrics=last, **values)
            ledger.end_sweep(sweep, "done")
            replace_file(resolved_spec_path(home / name), dump_yaml(dict(sweep.spec)))
    checkpoint_dir(home / "old", 1).mkdir(parents=True)
    (checkpoint_dir(home / "old", 1) / "weights").write_text("weights")
    write_tables_of(home, "old")
    return home


def rename(home: Path, name: str = "old", to: str = "new") -> None:
    with Ledger(home, create=True) as ledger, writer_lock(home / name, name):
        ledger.rename_sweep(ledger.sweep(name), to)


def content(home: Path) -> dict[str, Any]:
    """Each sweep by its name: what the ledger has, without names and keys, and whether its checkpoint is found."""
    with Ledger(home) as ledger:
        return {
            sweep.name: (
                {**vars(sweep), "id": 0, "name": "", "folder": "", "spec": {**sweep.spec, "name": ""}},
                [{**vars(trial), "id": 0} for trial in ledger.trials(sweep)],
                ledger.reports(sweep),
                (checkpoint_dir(home / sweep.folder, 1) / "weights").is_file(),
            )
            for sweep in ledger.sweeps()
        }


def check_is_whole(home: Path, name: str, before: dict[str, Any]) -> None:
    """Ledger and folder have the sweep under this one name, they agree, and so does a ledger that is rebuilt."""
    expected = {name if each == "old" else each: values for each, values in before.items()}
    assert content(home) == expected
    with Ledger(home) as ledger:
        sweep = ledger.sweep(name)
        assert (sweep.folder, sweep.spec["name"]) == (name, name)
        check_agrees(home / name, ledger.trials(sweep), ledger.reports(sweep), spec=sweep.spec)
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == sorted(expected)
    assert not rebuild(home, read_tables=copy_of_tables).new_ledger
    ledger_path(home).unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert content(home) == expected


def check_spec_file(home: Path, name: str) -> None:
    assert f"name: {name}" in resolved_spec_path(home / name).read_text().splitlines()


def test_a_renamed_sweep_has_its_rows_its_folder_and_its_files_under_the_new_name(home: Path):
    before = content(home)
    rename(home)
    check_spec_file(home, "new")
    check_is_whole(home, "new", before)


def test_the_record_that_is_returned_has_the_new_name_and_the_lock_is_held_in_the_new_folder(home: Path):
    with Ledger(home, create=True) as ledger, writer_lock(home / "old", "old"):
        record = ledger.rename_sweep(ledger.sweep("old"), "old~1")
        assert (record.name, record.folder, record.spec["name"]) == ("old~1", "old~1", "old~1")
        assert is_held(home / "old~1")
    assert not is_held(home / "old~1")


def test_the_old_name_is_free_for_another_sweep_of_the_same_process(home: Path):
    with Ledger(home, create=True) as ledger:
        with writer_lock(home / "old", "old"):
            earlier = ledger.rename_sweep(ledger.sweep("old"), "old~1")
        sweep = ledger.add_sweep("old", NAMED)
        with writer_lock(home / "old", "old"):
            ledger.add_trial(sweep, 1, point={"x": 0.5, "depth": 20, "seed": 3}, seed=0)
            ledger.add_note(earlier, "an earlier one")
        ledger.check_in_place()
    assert [len(trials) for _, trials, _, _ in content(home).values()] == [2, 2, 1]
    assert b"an earlier one" in journal_path(home / "old~1").read_bytes()
    ledger_path(home).unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert {name: len(values[1]) for name, values in content(home).items()} == {"old~1": 2, "other": 2, "old": 1}


def test_tables_that_were_written_before_are_out_of_date(home: Path):
    write_report_of(home, "old")
    assert are_up_to_date(home / "old")
    rename(home)
    assert not are_up_to_date(home / "new")


@pytest.mark.parametrize("name", ["", "a/b", "..", "../new", "new sweep", "~1", "new~0", "ledger.db", "n" * 65])
def test_a_name_that_no_sweep_may_have_is_refused(home: Path, name: str):
    before = content(home)
    with pytest.raises(SpecError, match="name: "):
        rename(home, to=name)
    check_is_whole(home, "old", before)


def test_a_name_that_another_sweep_or_folder_has_is_refused(home: Path):
    (home / "taken").mkdir()
    (home / "link").symlink_to("nowhere")
    before = content(home)
    for name in ("other", "taken", "link", "old"):
        with pytest.raises(SweepExists, match=f"{name} is there already. Choose another name"):
            rename(home, to=name)
    shutil.rmtree(home / "other")
    with pytest.raises(SweepExists, match="a sweep named 'other' is in"):
        rename(home, to="other")
    assert content(home) == before


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> list[str]:
    """Die before or after a step: 0 before the first, 1 after it, 2 before the second; returns the steps that ran."""
    ran: list[str] = []
    deaths = iter(range(100))

    def point() -> None:
        if next(deaths) == step:
            raise KilledError

    transaction = ledger._transactions.transaction

    @contextmanager
    def written() -> Iterator[Any]:
        point()
        with transaction() as connection:
            yield connection
        ran.append("commit")
        point()

    def around(name: str, target: str, real: Callable[..., Any]) -> None:
        def called(*args: Any, **options: Any) -> None:
            point()
            real(*args, **options)
            ran.append(name)
            point()

        monkeypatch.setattr(target, called)

    monkeypatch.setattr(ledger._transactions, "transaction", written)
    around("move", "hpsearch.ledger.renaming._move_folder", renaming._move_folder)
    around("spec", "hpsearch.ledger.renaming.replace_file", replace_file)
    return ran


def killed_while_renaming(home: Path, step: int) -> list[str]:
    """The steps that a process took before it died."""
    with pytest.MonkeyPatch.context() as patched, Ledger(home, create=True) as ledger:
        sweep = ledger.sweep("old")
        with writer_lock(home / "old", "old"), pytest.raises(KilledError):
            ran = die_at(step, patched, ledger)
            ledger.rename_sweep(sweep, "new")
    return ran


STEPS = ("commit", "move", "spec", "commit")
DEATHS = range(2 * len(STEPS))


@pytest.mark.parametrize("step", DEATHS)
def test_a_death_at_any_step_leaves_a_whole_sweep_under_one_name_and_the_next_writer_finishes(home: Path, step: int):
    before = content(home)
    ran = killed_while_renaming(home, step)
    assert tuple(ran) == STEPS[: (step + 1) // 2]
    name = "new" if ran else "old"
    assert content(home) == {name if each == "old" else each: values for each, values in before.items()}, "to readers"
    Ledger(home, create=True).close()
    check_spec_file(home, name)
    check_is_whole(home, name, before)


@pytest.mark.parametrize("step", DEATHS)
def test_a_ledger_that_is_lost_after_a_death_at_any_step_is_rebuilt_with_the_name_of_the_folder(home: Path, step: int):
    before = content(home)
    killed_while_renaming(home, step)
    name = next(each for each in ("old", "new") if (home / each).is_dir())
    ledger_path(home).unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert content(home) == {name if each == "old" else each: values for each, values in before.items()}
    with Ledger(home) as ledger:
        assert ledger.sweep(name).spec["name"] == name


@pytest.mark.parametrize("step", DEATHS)
def test_a_rebuild_right_after_a_death_leaves_a_whole_sweep(home: Path, step: int):
    before = content(home)
    killed_while_renaming(home, step)
    rebuild(home, read_tables=copy_of_tables)
    name = next(each for each in ("old", "new") if (home / each).is_dir())
    check_is_whole(home, name, before)


@pytest.mark.parametrize("step", DEATHS)
def test_renaming_again_after_a_death_at_any_step_is_all_that_is_needed(home: Path, step: int):
    before = content(home)
    ran = killed_while_renaming(home, step)
    if ran:
        with Ledger(home, create=True) as ledger:
            assert ledger.find_sweep("old") is None
    else:
        rename(home)
    check_is_whole(home, "new", before)


def test_a_new_folder_that_another_process_made_after_a_death_undoes_the_rename(home: Path):
    before = content(home)
    killed_while_renaming(home, 1)
    (home / "new").mkdir()
    (home / "new" / "driver.log").write_text("")
    Ledger(home, create=True).close()
    shutil.rmtree(home / "new")
    check_is_whole(home, "old", before)


def test_a_folder_that_can_not_be_moved_leaves_the_old_name(home: Path, monkeypatch: pytest.MonkeyPatch):
    before = content(home)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched, pytest.raises(LedgerError, match="Permission denied"):
        patched.setattr("os.rename", refuse)
        rename(home)
    check_is_whole(home, "old", before)


def test_a_newer_sweep_of_the_old_name_keeps_its_folder_when_the_rename_is_finished(home: Path):
    """The process died between the move and its commit; another one has begun a sweep of the old name since."""
    killed_while_renaming(home, 6)
    with closing(sqlite3.connect(ledger_path(home))) as connection, connection:
        spec = json.dumps(NAMED)
        values = "'old', 'done', ?, 'old', '2026-01-01T00:00:00.000000+00:00'"
        connection.execute(f"INSERT INTO sweeps (name, state, spec, folder, started_at) VALUES ({values})", (spec,))
    (home / "old").mkdir()
    Ledger(home, create=True).close()
    with Ledger(home) as ledger:
        assert [(sweep.name, sweep.folder) for sweep in ledger.sweeps()] == [
            ("new", "new"),
            ("other", "other"),
            ("old", "old"),
        ]
    assert (home / "old").is_dir() and (home / "new").is_dir()


def test_a_rename_that_another_process_is_in_the_middle_of_is_left_to_it(home: Path):
    killed_while_renaming(home, 1)
    with writer_lock(home / "old", "new"):
        Ledger(home, create=True).close()
        assert (home / "old").is_dir()
    Ledger(home, create=True).close()
    assert not (home / "old").exists()


def test_a_rename_that_can_not_be_finished_is_in_no_other_sweeps_way(home: Path):
    before = content(home)
    killed_while_renaming(home, 1)
    (home / "old" / "prior.json").symlink_to("nowhere")
    with Ledger(home, create=True) as ledger, writer_lock(home / "other", "other"):
        ledger.add_note(ledger.sweep("other"), "a note")
        assert ledger.sweep("new").folder == "old"
    (home / "old" / "prior.json").unlink()
    Ledger(home, create=True).close()
    check_is_whole(home, "new", {**before, "other": content(home)["other"]})


def test_a_lock_whose_folder_was_renamed_meanwhile_is_not_taken_for_one_of_the_old_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two processes open the same lock; the first renames the sweep and ends, then the second gets the lock."""
    locked = lock._locked

    def renamed_first(file: Any) -> bool:
        (home / "old").rename(home / "new")
        return locked(file)

    monkeypatch.setattr(lock, "_locked", renamed_first)
    with pytest.raises(SweepInUse, match="was renamed or removed by another"), writer_lock(home / "old", "old"):
        pass
    with pytest.raises(SweepInUse, match="was renamed or removed"), writer_lock(home / "gone", "gone"):
        pass
