"""A rebuilt ledger has never less than any of its sources, whatever happened to them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.errors import LedgerError
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.journal import read_journal
from hpsearch.ledger.rebuild import Rebuilt, rebuild
from hpsearch.ledger.records import FINISHED_STATES
from hpsearch.ledger.salvage import salvage
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_copy import SweepCopy, usable
from hpsearch.paths import history_path, journal_path, ledger_path, trials_parquet_path
from tests.support.ledger_histories import damage, live


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


@pytest.mark.parametrize("seed", range(5))
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


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kinds", [["journal"], ["journal", "tables"]], ids=" and ".join)
def test_a_whole_ledger_loses_nothing_to_damaged_journals(tmp_path: Path, seed: int, kinds: list[str]):
    home, dice = tmp_path / "home", random.Random(seed)
    live(home, dice)
    before = content(home)
    damage_some(home, dice, kinds)
    done = rebuilt(home)
    after = content(home)
    assert after.keys() == before.keys()
    for name, (_, trials, reports, failures) in before.items():
        assert after[name][2:] == (reports, failures)
        for number, trial in trials.items():
            is_continued = trial["state"] not in FINISHED_STATES and after[name][1][number]["ended_at"]
            assert is_continued or after[name][1][number] == trial
    check_is_sound(home, done)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("kinds", [["ledger"], ["ledger", "tables"]], ids=" and ".join)
def test_whole_journals_lose_nothing_to_a_damaged_ledger(tmp_path: Path, seed: int, kinds: list[str]):
    home, dice = tmp_path / "home", random.Random(seed)
    live(home, dice)
    before = content(home)
    damage_some(home, dice, kinds)
    done = rebuilt(home)
    after = content(home)
    assert after.keys() == before.keys()
    for name, (_, trials, reports, failures) in before.items():
        assert after[name][1:] == (trials, reports, failures)
    check_is_sound(home, done)


@pytest.mark.parametrize("seed", range(40))
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
        assert not is_end or (row["state"], row["epochs_trained"]) == (known["state"], known["epochs_trained"])
        assert ours.reports.get(number, {}).keys() >= source.reports.get(number, {}).keys()
        assert len(ours.failures.get(number, ())) >= len(source.failures.get(number, ()))


def readable(home: Path, name: str) -> list[SweepCopy]:
    """What journal and ledger have of a sweep, each read alone."""
    transactions, _ = read_journal(home / name)
    journal = usable(SweepCopy().apply(transactions, folder=home / name))
    ledger = salvage(ledger_path(home)).sweeps.get(name, SweepCopy())
    return [journal, ledger]
