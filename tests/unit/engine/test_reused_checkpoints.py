"""Checkpoints, epochs and code that the ledger names are those that ran, where two sweeps reuse each other's trials."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpsearch.api.results import Results
from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.engine.engine import Engine, EngineParts, Idle
from hpsearch.engine.replay import Past
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.checkpoints import complete_epochs, remove_checkpoints
from hpsearch.ledger.cleaning import clean
from hpsearch.ledger.fingerprint import Code
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.records import TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.paths import checkpoint_dir
from hpsearch.results.rows import trial_rows
from hpsearch.results.summaries import trial_details
from hpsearch.slots.protocol import Assignment, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import Decision
from tests.support.checkpoints import epochs_in, write_checkpoint
from tests.support.scripted import RecordingSearcher, ScriptedRule

CODE: Code = {"train.py": "1"}
LOSSES = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6, 5: 0.5, 6: 0.4, 7: 0.3, 8: 0.2, 9: 0.1}


class Driver:
    """One life of a sweep's driver; every trial has the same configuration in every sweep of the ledger."""

    def __init__(
        self,
        home: Path,
        name: str,
        *,
        code: Code = CODE,
        epochs: int = 9,
        paused_at: int | None = None,
        again: bool = False,
    ) -> None:
        limits = {"epochs": epochs, "trials": 1}
        tree = {"name": name, "trainable": "a:b", "metric": {"name": "loss", "goal": "minimize"}, "limits": limits}
        self.sweep = Sweep.from_dict({**tree, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
        self.home, self.name, self.rule = home, name, ScriptedRule()
        if paused_at is not None:
            self.rule.decisions[1, paused_at] = Decision.PAUSE
        self.ledger = Ledger(home, create=True)
        known = self.ledger.find_sweep(name)
        self.record = known or self.ledger.add_sweep(name, self.sweep.to_dict())
        parts = EngineParts(
            sweep=self.sweep,
            searcher=RecordingSearcher(),
            rule=self.rule,
            ledger=self.ledger,
            record=self.record,
            cache=TrialCache(self.ledger, self.sweep, self.record, code=code, again=again),
            concurrent=2,
        )
        if known is None:
            self.engine = Engine.new(parts)
        else:
            self.engine = Engine.resumed(parts, Past.read(self.ledger, known))

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ledger.close()

    def train(
        self, assignment: Assignment | Idle, *, to: int = 9, begin: int = 0, losses: Mapping[int, float] = LOSSES
    ) -> Verdict:
        """The epochs after `begin`, each with a checkpoint, until the engine ends the trial or `to` is reached."""
        assert isinstance(assignment, Assignment)
        verdict = Verdict.CONTINUE
        for epoch in range(begin + 1, to + 1):
            write_checkpoint(self.folder(assignment.number), epoch, f"{self.name} {epoch}".encode(), previous=epoch - 1)
            report = Report(epoch=epoch, metrics={"loss": losses[epoch]}, elapsed_s=1.0 * epoch, checkpoint_epoch=epoch)
            verdict = self.engine.on_event(assignment.number, report)
            if verdict is not Verdict.CONTINUE:
                break
        return verdict

    def stop(self) -> None:
        """The driver is interrupted before the trial is done."""
        self.engine.stop("interrupted", "a signal")
        self.engine.finish()

    def folder(self, number: int = 1) -> Path:
        return checkpoint_dir(self.home / self.name, number)


def paused(home: Path, name: str = "wine", *, losses: Mapping[int, float] = LOSSES) -> None:
    """A sweep whose trial is paused at the rung of epoch 3."""
    with Driver(home, name, paused_at=3, again=True) as driver:
        driver.train(driver.engine.next_assignment(), losses=losses)
        driver.stop()


def finished(home: Path, name: str, *, epochs: int = 9, losses: Mapping[int, float] = LOSSES) -> None:
    """A sweep whose trial has reached its last epoch."""
    with Driver(home, name, epochs=epochs, again=True) as driver:
        driver.train(driver.engine.next_assignment(), losses=losses)
        driver.engine.finish()


def promoted(home: Path, name: str = "wine", **keys: Any) -> Driver:
    """The sweep resumes, and its paused trial is the next."""
    driver = Driver(home, name, paused_at=3, **keys)
    driver.rule.promotions.append(1)
    return driver


def row_of(home: Path, name: str = "wine", number: int = 1) -> TrialRecord:
    with Ledger(home) as ledger:
        return ledger.trials(ledger.sweep(name))[number - 1]


@pytest.fixture(autouse=True)
def rows_are_true(home: Path) -> Iterator[None]:
    """After each test: the ledger names no checkpoint that is not on disk."""
    yield
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        query = "SELECT folder, number, checkpoint_epoch FROM trials JOIN sweeps ON sweeps.id = sweep_id"
        for folder, number, epoch in connection.execute(query):
            assert epoch is None or epoch in epochs_in(checkpoint_dir(home / folder, number)), (folder, number, epoch)


# -- the last epochs come by reuse -------------------------------------------------------------------------------------


def test_a_paused_trial_that_is_reused_to_its_end_has_the_checkpoint_of_that_epoch(home: Path):
    paused(home)
    finished(home, "wine-again")
    with promoted(home) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.engine.finish()
    row, best = row_of(home), Results(home, "wine").best
    assert (row.state, row.epochs_trained, row.checkpoint_epoch) == ("done", 9, 9)
    assert row.reused_from == "wine-again/1"
    assert best is not None and best.checkpoint is not None and best.epoch == 9
    assert Path(best.checkpoint).read_bytes() == b"wine-again 9"
    assert Path(best.checkpoint) == home / "wine/trials/0001/checkpoint/epoch-000009.rank-0.pt"


def test_the_tables_and_show_name_the_same_file(home: Path):
    finished(home, "wine")
    with Ledger(home) as ledger:
        sweep = ledger.sweep("wine")
        trials, reports = ledger.trials(sweep), ledger.reports(sweep)
    named = "wine/trials/0001/checkpoint/epoch-000009.rank-0.pt"
    assert [row["checkpoint"] for row in trial_rows(sweep, trials, home=home)] == [named]
    assert trial_details(sweep, trials, reports, 1, home=home)["checkpoint"] == named
    assert Results(home, "wine").trials["checkpoint"].tolist() == [named]


def test_the_best_epoch_may_be_the_one_before_the_newest_checkpoint_and_has_its_own(home: Path):
    finished(home, "wine", losses={**LOSSES, 9: 5.0})
    best = Results(home, "wine").best
    assert best is not None and best.epoch == 8
    assert best.checkpoint is not None and best.checkpoint.endswith("epoch-000008.rank-0.pt")


def test_a_best_epoch_without_a_checkpoint_says_so(home: Path):
    finished(home, "wine", losses={**LOSSES, 3: 0.0})
    best = Results(home, "wine").best
    assert best is not None and (best.epoch, best.checkpoint) == (3, None)
    assert row_of(home).checkpoint_epoch == 9


def test_where_the_lender_has_none_any_more_the_row_names_its_own_older_one(home: Path):
    paused(home)
    finished(home, "wine-again")
    remove_checkpoints(checkpoint_dir(home / "wine-again", 1))
    with Ledger(home, create=True) as ledger:
        ledger.clear_checkpoints([row_of(home, "wine-again").id])
    with promoted(home) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.engine.finish()
    row, best = row_of(home), Results(home, "wine").best
    assert (row.epochs_trained, row.checkpoint_epoch) == (9, 3)
    assert best is not None and (best.epoch, best.checkpoint) == (9, None)


def test_a_trial_that_pauses_on_reused_epochs_continues_from_what_is_on_disk(home: Path):
    finished(home, "wine-again", epochs=5)
    with Driver(home, "wine", paused_at=3) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.stop()
    assert (row_of(home).state, row_of(home).checkpoint_epoch) == ("paused", None), "the other has epochs 4 and 5"
    with promoted(home) as driver:
        assignment = driver.engine.next_assignment()
        assert isinstance(assignment, Assignment) and assignment.known_epochs == 5
        assert complete_epochs(driver.folder()) == [4, 5]
        assert row_of(home).checkpoint_epoch is None, "it runs"
        driver.train(assignment, begin=5)
        driver.engine.finish()
    row = row_of(home)
    assert (row.state, row.epochs_trained, row.checkpoint_epoch) == ("done", 9, 9)


def test_two_epochs_of_the_lender_count_only_up_to_the_rung_where_the_trial_pauses(home: Path):
    with Driver(home, "wine-again", paused_at=3) as driver:
        driver.train(driver.engine.next_assignment())
        driver.stop()
    with Driver(home, "wine", paused_at=3) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.stop()
    row = row_of(home)
    assert (row.state, row.epochs_trained, row.checkpoint_epoch) == ("paused", 3, 3)
    clean(home, "wine-again")
    assert epochs_in(checkpoint_dir(home / "wine", 1)) == [2, 3]


# -- what cannot be vouched for is not reused --------------------------------------------------------------------------


def test_the_epochs_of_another_training_are_not_those_that_come_next(home: Path):
    """Equal trials on a GPU may differ: the end of one is not the end of the other."""
    paused(home)
    finished(home, "wine-again", losses={epoch: loss + 0.01 for epoch, loss in LOSSES.items()})
    with promoted(home) as driver:
        assignment = driver.engine.next_assignment()
        assert isinstance(assignment, Assignment) and assignment.known_epochs == 3
        assert complete_epochs(driver.folder()) == [2, 3]
        driver.train(assignment, begin=3)
        driver.engine.finish()
    assert row_of(home).reused_from is None


def test_a_checkpoint_is_borrowed_only_of_an_epoch_that_was_the_same(home: Path):
    paused(home)
    remove_checkpoints(checkpoint_dir(home / "wine", 1))
    paused(home, "other", losses={**LOSSES, 3: 0.75})
    with promoted(home) as driver:
        assert isinstance(driver.engine.next_assignment(), Assignment)
        assert complete_epochs(driver.folder()) == [2], "that of epoch 3 is of another training"
        driver.stop()


def test_a_trial_that_continues_with_other_code_equals_no_other(home: Path):
    paused(home)
    assert row_of(home).fingerprint is not None
    changed: Code = {"train.py": "2"}
    with promoted(home, code=changed) as driver:
        driver.train(driver.engine.next_assignment(), begin=3)
        driver.engine.finish()
    assert row_of(home).fingerprint is None
    for code in (CODE, changed):
        with Driver(home, f"later-{code['train.py']}", code=code) as driver:
            assignment = driver.engine.next_assignment()
            assert isinstance(assignment, Assignment) and assignment.known_epochs == 0, "nothing is reused"
            driver.stop()


def test_a_trial_that_is_reused_under_the_code_that_it_began_with_keeps_its_fingerprint(home: Path):
    paused(home)
    finished(home, "wine-again")
    before = row_of(home).fingerprint
    with promoted(home, code={"train.py": "2"}) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.engine.finish()
    assert (row_of(home).state, row_of(home).fingerprint) == ("done", before)


def test_a_trial_without_an_epoch_is_one_of_the_code_that_trains_it(home: Path):
    with Driver(home, "wine") as driver:
        assert isinstance(driver.engine.next_assignment(), Assignment)
        driver.stop()
    changed: Code = {"train.py": "2"}
    with Driver(home, "wine", code=changed) as driver:
        driver.train(driver.engine.next_assignment())
        driver.engine.finish()
        assert driver.engine.trials[1].fingerprint == TrialCache(
            driver.ledger, driver.sweep, driver.record, code=changed
        ).fingerprint({"x": 0.01})
    row = row_of(home)
    with Driver(home, "other", code=changed) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED, "it is reused"
        driver.engine.finish()
    assert row.code_hash == row_of(home, "other").code_hash


# -- rows and files ----------------------------------------------------------------------------------------------------


def test_a_row_names_no_checkpoint_while_its_trial_trains(home: Path):
    paused(home)
    assert row_of(home).checkpoint_epoch == 3
    with promoted(home) as driver:
        driver.train(driver.engine.next_assignment(), begin=3, to=6)
        assert complete_epochs(driver.folder()) == [5, 6]
        assert row_of(home).checkpoint_epoch is None
        driver.stop()
    assert row_of(home).checkpoint_epoch == 6


def test_a_trial_that_fails_names_what_its_last_attempt_left_on_disk(home: Path):
    paused(home)
    with promoted(home) as driver:
        assert isinstance(driver.engine.next_assignment(), Assignment)
        remove_checkpoints(driver.folder())  # that of epoch 3 was damaged: the attempt began at 0, and saved
        write_checkpoint(driver.folder(), 1)
        driver.engine.on_event(1, Failed(cause="invalid_config", evidence="it broke"))
        driver.stop()
    assert (row_of(home).state, row_of(home).checkpoint_epoch) == ("failed", 1)


def test_a_checkpoint_whose_epoch_was_never_reported_is_removed_before_the_trial_continues(home: Path):
    paused(home)
    write_checkpoint(checkpoint_dir(home / "wine", 1), 4)
    finished(home, "wine-again")
    with promoted(home) as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.engine.finish()
    folder = checkpoint_dir(home / "wine", 1)
    assert complete_epochs(folder) == [8, 9]


def test_a_new_trial_does_not_find_the_checkpoints_of_one_that_the_ledger_lost(home: Path):
    with Driver(home, "wine") as driver:
        write_checkpoint(driver.folder(), 4, b"another configuration, before the power went")
        assert isinstance(driver.engine.next_assignment(), Assignment)
        assert complete_epochs(driver.folder()) == []
        driver.stop()


def test_a_row_that_names_a_missing_checkpoint_is_corrected_when_the_sweep_resumes(home: Path):
    finished(home, "wine")
    for path in checkpoint_dir(home / "wine", 1).glob("epoch-000009.*"):
        path.unlink()
    assert Results(home, "wine").trials["checkpoint"].isna().tolist() == [True], "even before"
    best = Results(home, "wine").best
    assert best is not None and best.checkpoint is None
    with Driver(home, "wine") as driver:
        assert driver.engine.next_assignment() is Idle.FINISHED
        driver.engine.finish()
    assert row_of(home).checkpoint_epoch == 8
    with Ledger(home) as ledger:
        sweep = ledger.sweep("wine")
        check_agrees(home / "wine", ledger.trials(sweep), ledger.reports(sweep))


def test_a_ledger_that_is_rebuilt_names_the_checkpoints_that_are_there(home: Path):
    finished(home, "wine")
    finished(home, "wine-again", losses={epoch: loss / 2 for epoch, loss in LOSSES.items()})
    remove_checkpoints(checkpoint_dir(home / "wine", 1))
    (home / "ledger.db").unlink()
    rebuild(home, read_tables=copy_of_tables)
    assert (row_of(home).checkpoint_epoch, row_of(home, "wine-again").checkpoint_epoch) == (None, 9)
    with Ledger(home) as ledger:
        sweep = ledger.sweep("wine")
        check_agrees(home / "wine", ledger.trials(sweep), ledger.reports(sweep))
    assert rebuild(home, read_tables=copy_of_tables).damaged_lines == 0
    assert json.loads(json.dumps(row_of(home).last_metrics)) == {"loss": LOSSES[9]}
