"""A rebuilt ledger has never less than any of its sources, whatever happened to them."""

from __future__ import annotations

import random
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.driver.write_results import write_tables_of
from hpsearch.errors import LedgerError
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.event_order import event_order
from hpsearch.ledger.journal import Journal, line_of, read_journal
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.rebuilt_files import Rebuilt
from hpsearch.ledger.records import FINISHED_STATES, FailureRecord, TrialState
from hpsearch.ledger.salvage import salvage
from hpsearch.ledger.schema import SCHEMA_VERSION
from hpsearch.ledger.store import Ledger, now
from hpsearch.ledger.sweep_copy import SweepCopy, usable
from hpsearch.paths import history_path, journal_path, ledger_path, trials_parquet_path
from hpsearch.spec.yaml_writer import dump_yaml
from tests.support.ledger_histories import SPEC, damage, live


def rebuilt(home: Path) -> Rebuilt:
    return rebuild(home, read_tables=copy_of_tables)


def content(home: Path) -> dict[str, Any]:
    """Everything that the ledger has, without its keys."""
    with Ledger(home) as ledger:
        return {
            sweep.name: (
                {**vars(sweep), "id": 0},
                {trial.number: {**vars(trial), "id": 0} for trial in ledger.trials(sweep)},
                ledger.reports(sweep),
                ledger.failures(sweep),
            )
            for sweep in ledger.sweeps()
        }


def check_is_sound(home: Path, done: Rebuilt) -> None:
    """It agrees with its journals, and there is nothing left to rebuild."""
    with Ledger(home) as ledger:
        for sweep in ledger.sweeps():
            check_agrees(home / sweep.name, ledger.trials(sweep), ledger.reports(sweep))
    before = content(home)
    again = rebuilt(home)
    assert not again.new_ledger and not again.new_journals and not again.kept
    assert (again.trials, again.reports) == (done.trials, done.reports)
    assert content(home) == before


def files(home: Path) -> dict[str, list[Path]]:
    return {
        "ledger": [ledger_path(home), *home.glob("ledger.db-wal")],
        "journal": [journal_path(home / name) for name in "ab"],
        "tables": [path for name in "ab" for path in (trials_parquet_path(home / name), history_path(home / name))],
    }


def damage_some(home: Path, dice: random.Random, kinds: list[str]) -> None:
    for kind in kinds:
        paths = [path for path in files(home)[kind] if path.exists()]
        for path in dice.sample(paths, min(len(paths), dice.choice([1, 1, 2]))):
            damage(path, dice)


def before_and_after(home: Path, seed: int, kinds: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the ledger has of a random history, and what it has when it was damaged and rebuilt."""
    dice = random.Random(seed)
    live(home, dice)
    before = content(home)
    damage_some(home, dice, kinds)
    done = rebuilt(home)
    check_is_sound(home, done)
    after = content(home)
    assert after.keys() == before.keys()
    return before, after


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_home_loses_nothing_and_nothing_is_written(tmp_path: Path, seed: int):
    home = tmp_path / "home"
    live(home, random.Random(seed))
    before = content(home)
    stats = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    done = rebuilt(home)
    assert not done.new_ledger and not done.new_journals and not done.kept and not done.left_out
    assert done.damage is None
    assert content(home) == before
    assert [sweep.name for sweep in done.sweeps] == ["a", "b"]
    assert all(path.read_bytes() == old for path, old in stats.items() if not path.name.startswith("ledger.db"))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kinds", [["journal"], ["journal", "tables"]], ids=" and ".join)
def test_a_whole_ledger_loses_nothing_to_damaged_journals(tmp_path: Path, seed: int, kinds: list[str]):
    before, after = before_and_after(tmp_path / "home", seed, kinds)
    for name, (_, trials, reports, failures) in before.items():
        assert after[name][2:] == (reports, failures)
        for number, trial in trials.items():
            ours = after[name][1][number]
            was_continued = trial["state"] not in FINISHED_STATES and ours["state"] in FINISHED_STATES
            assert was_continued or ours == trial  # that it was continued may be the line that is lost


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kinds", [["ledger"], ["ledger", "tables"]], ids=" and ".join)
def test_whole_journals_lose_nothing_to_a_damaged_ledger(tmp_path: Path, seed: int, kinds: list[str]):
    before, after = before_and_after(tmp_path / "home", seed, kinds)
    for name, (_, trials, reports, failures) in before.items():
        assert after[name][1:] == (trials, reports, failures)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_rebuilt_has_never_less_than_any_source(tmp_path: Path, seed: int):
    home, dice = tmp_path / "home", random.Random(seed)
    live(home, dice)
    before = content(home)
    damage_some(home, dice, ["ledger", "journal"] + ["tables"] * dice.randrange(2))
    sources = {name: readable(home, name) for name in "ab"}
    try:
        done = rebuilt(home)
    except LedgerError:
        assert not any("spec" in copy.sweep for copies in sources.values() for copy in copies)
        return
    for sweep in done.sweeps:
        for copy in sources[sweep.name]:
            check_has_no_less(sweep.copy, copy, before[sweep.name][1])
    known = {name for name, copies in sources.items() if any("spec" in copy.sweep for copy in copies)}
    assert known <= {sweep.name for sweep in done.sweeps}
    check_is_sound(home, done)


def check_has_no_less(ours: SweepCopy, source: SweepCopy, truth: dict[int, Any]) -> None:
    """The union has each trial, report and failure of a source, and the ends of trials that it has right."""
    for number in (number for number, row in source.trials.items() if "point" in row and number in truth):
        row, known = ours.trials[number], source.trials[number]
        is_end = known.get("state") in FINISHED_STATES and known.get("ended_at") == truth[number]["ended_at"]
        assert not is_end or (row["state"], row["epochs_trained"]) == (
            known["state"],
            known.get("epochs_trained", row["epochs_trained"]),
        )
        assert ours.reports.get(number, {}).keys() >= source.reports.get(number, {}).keys()
        assert len(ours.failures.get(number, ())) >= len(source.failures.get(number, ()))


def readable(home: Path, name: str) -> list[SweepCopy]:
    """What journal and ledger have of a sweep, each read alone."""
    transactions, _ = read_journal(home / name)
    journal = usable(SweepCopy().apply(transactions, folder=home / name))
    ledger = salvage(ledger_path(home)).sweeps.get(name, SweepCopy())
    return [journal, ledger]


@pytest.fixture
def home(home: Path) -> Path:
    """Two sweeps: `s` with two finished trials and a third that failed, was retried and runs, and `other`."""
    with Ledger(home, create=True) as ledger:
        for name in ("s", "other"):
            sweep = ledger.add_sweep(name, SPEC)
            for number in (1, 2, 3):
                row = ledger.add_trial(sweep, number, point={"x": number / 7, "depth": 20, "seed": 3}, seed=0)
                ledger.add_report(row, epoch=1, metrics={"loss": number / 3}, elapsed_s=0.1)
                if number < 3:
                    end(ledger, row, "done", number / 3)
            failure = FailureRecord(number=3, attempt=1, cause="killed", evidence="gone", place=None, was_retried=False)
            end(ledger, row, "failed", 1.0, failure=failure, cause="killed", evidence="gone")
            ledger.reset_failures([row])
            ledger.update_trial(row, state="running", attempts=2, cause=None, evidence=None, ended_at=None)
    return home


def end(ledger: Ledger, row: int, state: TrialState, loss: float, **more: Any) -> None:
    ledger.update_trial(
        row,
        state=state,
        epochs_trained=1,
        best_value=loss,
        best_epoch=1,
        last_metrics={"loss": loss},
        ended_at=now(),
        duration_s=loss,
        **more,
    )


def edit(home: Path, statement: str) -> None:
    """Change the ledger as a flipped bit does: behind the back of the journal."""
    with closing(sqlite3.connect(ledger_path(home))) as connection, connection:
        connection.execute(statement)


def lines_of(home: Path, name: str = "s") -> list[bytes]:
    return journal_path(home / name).read_bytes().splitlines(keepends=True)


def spoil(home: Path, which: int, name: str = "s") -> None:
    lines = lines_of(home, name)
    lines[which] = b"0" * 30 + b"\n"
    journal_path(home / name).write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET best_value = 0.34 WHERE id = 1",
        "UPDATE trials SET epochs_trained = 9 WHERE id = 1",
        "UPDATE trials SET attempts = 3 WHERE id = 1",
        "UPDATE trials SET state = 'dome' WHERE id = 1",
        "UPDATE trials SET number = 9 WHERE id = 1",
        "UPDATE trials SET point = '{' WHERE id = 1",
        "UPDATE trials SET started_at = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE trials SET sweep_id = 9 WHERE id = 1",
        "UPDATE reports SET epoch = 3 WHERE id = 1",
        "UPDATE reports SET metrics = replace(metrics, '3', '4') WHERE id = 1",
        "UPDATE reports SET metrics = replace(metrics, 'loss', 'lass') WHERE id = 1",
        "UPDATE reports SET trial_id = 77 WHERE id = 1",
        "UPDATE failures SET attempt = 5",
        "UPDATE failures SET failed_at = replace(failed_at, '20', '21')",
        "UPDATE sweeps SET name = 'r' WHERE id = 1",
        "UPDATE sweeps SET folder = 'r' WHERE id = 1",
        "UPDATE sweeps SET state = 'rumming' WHERE id = 1",
        "UPDATE sweeps SET spec = replace(spec, 'minimize', 'minimizf') WHERE id = 1",
        f"UPDATE about SET value = '{SCHEMA_VERSION + 1}'",
        "UPDATE about SET value = 'x'",
        "DELETE FROM reports",
        "DELETE FROM sweeps",
    ],
)
def test_what_is_wrong_in_the_ledger_alone_is_put_right_from_the_journal(home: Path, statement: str):
    before = content(home)
    edit(home, statement)
    done = rebuilt(home)
    assert done.new_ledger and not done.left_out
    assert content(home) == before
    check_is_sound(home, done)


@pytest.mark.parametrize("which", range(9))
def test_a_damaged_line_of_the_journal_is_filled_in_from_the_ledger_and_written_again(home: Path, which: int):
    before = content(home)
    spoil(home, which)
    done = rebuilt(home)
    assert (done.new_ledger, done.new_journals) == (False, ("s",))
    assert content(home) == before
    ledger_path(home).unlink()
    rebuilt(home)
    assert content(home) == before, "the new journal holds all by itself"


def test_what_only_tables_have_comes_back_with_the_types_of_the_space(tmp_path: Path):
    home = tmp_path / "home"
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("s", SPEC)
        row = ledger.add_trial(sweep, 1, point={"x": 0.1, "depth": 44, "seed": 3}, seed=7)
        ledger.add_report(row, epoch=1, metrics={"loss": 1 / 3, "epoch": 2.5}, elapsed_s=0.25)
        end(ledger, row, "done", 1 / 3)
    write_tables_of(home, "s")
    (home / "s" / "sweep.yaml").write_text(dump_yaml(SPEC))
    _, trials, reports, _ = content(home)["s"]
    before = trials[1]
    ledger_path(home).unlink()
    journal_path(home / "s").unlink()
    done = rebuilt(home)
    _, trials, again, _ = content(home)["s"]
    assert trials[1] == {**before, "ended_at": None}
    assert type(trials[1]["point"]["depth"]) is int and again == reports
    assert done.sweeps[0].trials_from == {"tables": 1}


def test_a_sweep_that_cannot_be_rebuilt_is_named_and_the_others_are_rebuilt(home: Path):
    before = content(home)
    ledger_path(home).unlink()
    spoil(home, 0)
    done = rebuilt(home)
    assert list(done.left_out) == ["s"] and "its spec can't be read" in done.left_out["s"]
    assert content(home) == {"other": before["other"]}
    assert journal_path(home / "s").exists()


def test_a_home_of_which_nothing_can_be_read_is_an_error_of_the_ledger(tmp_path: Path):
    for content in (None, b"", b"x" * 5000):
        if content is not None:
            ledger_path(tmp_path).write_bytes(content)
        with pytest.raises(LedgerError, match="nothing can be rebuilt"):
            rebuilt(tmp_path)
    with pytest.raises(LedgerError, match="nothing can be rebuilt"):
        rebuilt(tmp_path / "missing")


def test_a_sweep_that_was_forgotten_stays_so_though_an_old_ledger_and_tables_have_it(home: Path, tmp_path: Path):
    old = tmp_path / "old.db"
    with Ledger(home, create=True) as ledger:
        never = ledger.add_sweep("never", SPEC)
        ledger.add_trial(never, 1, point={"x": 0.5, "depth": 20, "seed": 3}, seed=0)
    write_tables_of(home, "never")
    shutil.copyfile(ledger_path(home), old)
    with Ledger(home, create=True) as ledger:
        ledger.forget_sweep(ledger.sweep("never"))
    assert not trials_parquet_path(home / "never").exists()
    before = content(home)
    shutil.copyfile(old, ledger_path(home))  # as if the log with the removal was lost
    done = rebuilt(home)
    assert content(home) == before and not done.left_out
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("never", SPEC)
    assert "never" in content(home)
    assert not rebuilt(home).new_ledger


def test_tables_of_another_sweep_that_had_the_name_are_not_taken(home: Path, tmp_path: Path):
    write_tables_of(home, "s")
    with Ledger(tmp_path / "again", create=True) as ledger:
        sweep = ledger.add_sweep("s", SPEC)
        ledger.add_trial(sweep, 1, point={"x": 0.5, "depth": 20, "seed": 3}, seed=0)
    shutil.copyfile(trials_parquet_path(home / "s"), trials_parquet_path(tmp_path / "again" / "s"))
    ledger_path(tmp_path / "again").unlink()
    assert rebuilt(tmp_path / "again").trials == 1


def test_what_was_forgiven_or_continued_stays_so_though_ledger_and_tables_are_older(home: Path, tmp_path: Path):
    old = tmp_path / "old.db"
    with Ledger(home, create=True) as ledger:
        sweep = ledger.sweep("s")
        row = ledger.trials(sweep)[2].id
        failure = FailureRecord(number=3, attempt=2, cause="killed", evidence="gone", place=None, was_retried=False)
        end(ledger, row, "failed", 1.0, failure=failure, cause="killed", evidence="gone")
    write_tables_of(home, "s")
    shutil.copyfile(ledger_path(home), old)
    with Ledger(home, create=True) as ledger:
        ledger.reset_failures([row])
        ledger.update_trial(row, state="queued", cause=None, ended_at=None)
        ledger.update_trial(ledger.trials(sweep)[0].id, state="running", ended_at=None)
    before = content(home)
    shutil.copyfile(old, ledger_path(home))
    rebuilt(home)
    assert content(home) == before


def test_old_files_are_kept_also_by_two_rebuilds_within_a_second(home: Path):
    for _ in range(2):
        edit(home, "UPDATE trials SET attempts = attempts + 1 WHERE number = 1")
        spoil(home, -1)
        spoil(home, -1, "other")
        old = {path: path.read_bytes() for path in (ledger_path(home), journal_path(home / "s"))}
        kept = rebuilt(home).kept
        assert {each.name.split(".damaged-")[0] for each in kept} == {"ledger.db", "journal.jsonl"}
        assert sorted(old.values()) == sorted(each.read_bytes() for each in kept if each.parent.name != "other")
    assert len(list(home.rglob("*.damaged-*"))) == 6


def test_a_rebuild_that_is_killed_before_the_ledger_is_written_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    before = content(home)
    edit(home, "DELETE FROM trials WHERE id = 1")
    spoil(home, 5)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hpsearch.ledger.rebuilt_files._put_aside", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuilt(home)
    ledger_path(home).unlink()
    rebuilt(home)
    assert content(home) == before


def test_nothing_is_read_or_written_through_a_link(home: Path, tmp_path: Path):
    before = content(home)
    outside = tmp_path / "outside"
    (home / "s").rename(outside)
    (home / "s").symlink_to(outside)
    edit(home, "UPDATE trials SET attempts = 3 WHERE sweep_id = 2")
    files = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    done = rebuilt(home)
    assert content(home) == before and done.new_ledger
    assert files == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    ledger_path(home).unlink()
    done = rebuilt(home)
    assert "symbolic link" in done.left_out["s"] and content(home) == {"other": before["other"]}


def test_a_removal_that_was_not_committed_is_undone_when_the_sweep_resumes(home: Path):
    with Ledger(home) as ledger:
        sweep = ledger.sweep("s")
        journal = Journal(home)
        journal.append("s", "forgotten", sweep.started_at)
        journal.write()
        journal.close()
        check_agrees(home / "s", ledger.trials(sweep), ledger.reports(sweep))
    assert not rebuilt(home).new_ledger
    assert "s" in content(home)


def test_a_rebuilt_journal_has_the_order_of_events_and_the_limits_of_their_time(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.sweep("s")
        trials = ledger.trials(sweep)
        ledger.reopen_sweep(sweep, SPEC | {"limits": SPEC["limits"] | {"epochs": 27}})
        for number in (2, 1):
            ledger.update_trial(trials[number - 1].id, state="running", ended_at=None)
        end(ledger, trials[1].id, "done", 0.5)
        ledger.add_report(trials[2].id, epoch=2, metrics={"loss": 0.5}, elapsed_s=0.2)
        ledger.flush()
        end(ledger, trials[2].id, "done", 0.5)
    before = event_order(home / "s")
    spoil(home, -2)
    assert rebuilt(home).new_journals == ("s",)
    after = event_order(home / "s")
    assert after.limits[3] == before.limits[3] == 27
    assert after.limits[2] == before.limits[2] == 27
    for mine, others in ((after.began, before.began), (after.ended, before.ended)):
        assert sorted(mine, key=mine.__getitem__) == sorted(others, key=others.__getitem__)


def test_a_trial_that_ended_under_an_earlier_limit_still_has_it_in_a_rebuilt_journal(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.sweep("s")
        ledger.reopen_sweep(sweep, SPEC | {"limits": SPEC["limits"] | {"epochs": 27}})
        ledger.disable_pausing(sweep)
    spoil(home, -1)
    rebuilt(home)
    assert event_order(home / "s").limits == {1: 9, 2: 9}
    assert not rebuilt(home).new_journals


def test_a_home_in_which_every_sweep_was_removed_gets_an_empty_ledger(tmp_path: Path):
    with Ledger(tmp_path, create=True) as ledger:
        ledger.forget_sweep(ledger.add_sweep("s", SPEC))
    ledger_path(tmp_path).unlink()
    assert rebuilt(tmp_path).sweeps == ()
    assert content(tmp_path) == {}


def test_a_flipped_name_of_a_column_is_damage(home: Path):
    before, path = content(home), ledger_path(home)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes().replace(b"\treused_from TEXT", b"\treused_grom TEXT"))
    with pytest.raises(LedgerError, match="damaged"):
        content(home)
    done = rebuilt(home)
    assert done.damage == "it has an unknown column trials.reused_grom" and content(home) == before


def test_a_ledger_of_a_newer_version_is_refused_and_nothing_is_changed(home: Path):
    edit(home, "ALTER TABLE trials ADD COLUMN novel TEXT")
    edit(home, f"UPDATE about SET value = '{SCHEMA_VERSION + 1}'")
    spoil(home, 1)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(LedgerError, match=r"newer version of hpsearch.*Upgrade"):
        rebuilt(home)
    assert all(path.read_bytes() == old for path, old in before.items())


def test_a_journal_that_hpsearch_did_not_write_is_read_as_far_as_it_makes_sense(home: Path):
    before = content(home)
    entries: list[list[Any]] = [["trial"], ["trial", "x", {}], ["trial", 1, None], ["trial", -1, {}], ["sweep", 5]]
    entries.append(["report", [], 1, 2, 3])
    with journal_path(home / "s").open("ab") as file:
        for entry in entries:
            file.write(line_of([entry]))
        text = b"{"
        file.write(b"%08x %s\n" % (zlib.crc32(text), text))
    rebuilt(home)
    assert content(home) == before
