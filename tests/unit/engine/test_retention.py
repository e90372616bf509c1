"""Which checkpoints stay: on real folders, the trials played through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.errors import SweepInUse
from hpsearch.ledger.cleaning import clean
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.paths import checkpoint_dir
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from tests.support.checkpoints import epochs_in, write_checkpoint

TREE: dict[str, Any] = {
    "name": "s",
    "trainable": "a:b",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 12, "epochs": 9},
}
ASHA = {**TREE, "early_terminate": {"type": "asha"}}


class Play:
    """A sweep whose ranks write a file for each epoch and keep the newest two."""

    def __init__(self, home: Path, tree: dict[str, Any], *, bad: tuple[int, ...] = ()) -> None:
        self.folder = home / tree["name"]
        self.sweep, self.bad = Sweep.from_dict(tree), bad
        self.begun_at: dict[int, list[int]] = {}
        with Ledger(home, create=True) as ledger:
            self.folder.mkdir(exist_ok=True)
            known = ledger.find_sweep(tree["name"])
            record = known or ledger.add_sweep(tree["name"], self.sweep.to_dict())
            self.searcher = make_searcher(self.sweep)
            parts = EngineParts(
                sweep=self.sweep,
                searcher=self.searcher,
                rule=make_stopping_rule(self.sweep, can_pause=True, is_random=self.searcher.is_random),
                ledger=ledger,
                record=record,
                cache=TrialCache(ledger, self.sweep, record, code={"a.py": "1"}),
                retention=CheckpointRetention(self.sweep, self.folder, is_random=self.searcher.is_random),
                concurrent=2,
            )
            if known is None:
                engine = Engine.new(parts)
            else:
                engine = Engine.resumed(parts, Past.read(ledger, known))
                ledger.reopen_sweep(record, self.sweep.to_dict())
            assignments: dict[int, tuple[Assignment, int]] = {}
            while True:
                while isinstance(assignment := engine.next_assignment(), Assignment):
                    assignments[assignment.number] = (assignment, self.resume(assignment))
                if not assignments:
                    break
                for number, (assignment, epoch) in list(assignments.items()):
                    assignments[number] = (assignment, epoch + 1)
                    if self.step(engine, assignment, epoch + 1) is not Verdict.CONTINUE:
                        del assignments[number]
            engine.finish()
            self.trials = ledger.trials(record)
            self.reports = ledger.reports(record)

    def resume(self, assignment: Assignment) -> int:
        saved = epochs_in(checkpoint_dir(self.folder, assignment.number))
        begun_at = max((epoch for epoch in saved if epoch <= assignment.known_epochs), default=0)
        self.begun_at.setdefault(assignment.number, []).append(begun_at)
        return begun_at

    def step(self, engine: Engine, assignment: Assignment, epoch: int) -> Verdict:
        if assignment.number in self.bad:
            return engine.on_event(assignment.number, Failed(cause="diverged", evidence="nan"))
        write_checkpoint(checkpoint_dir(self.folder, assignment.number), epoch, b"x" * 1000, previous=epoch - 1)
        metrics = {"loss": assignment.config["x"] + 1 / epoch}
        return engine.on_event(
            assignment.number, Report(epoch=epoch, metrics=metrics, elapsed_s=1.0, checkpoint_epoch=epoch)
        )

    @property
    def on_disk(self) -> set[int]:
        return {trial.number for trial in self.trials if checkpoint_dir(self.folder, trial.number).exists()}

    @property
    def in_table(self) -> set[int]:
        return {trial.number for trial in self.trials if trial.checkpoint_epoch is not None}

    def best(self, count: int) -> set[int]:
        ranked = sorted(self.trials, key=lambda trial: (trial.best_value is None, trial.best_value))
        return {trial.number for trial in ranked[:count]}


def test_without_rungs_the_best_third_of_the_last_epoch_stays(home: Path):
    play = Play(home, TREE)
    assert play.on_disk == play.in_table == play.best(4)


def test_the_best_of_the_sweep_stay(home: Path):
    play = Play(home, {**TREE, "limits": {"trials": 12, "epochs": 9, "checkpoints": 7}})
    assert play.on_disk == play.in_table == play.best(7)


def test_a_trial_is_ranked_by_its_best_epoch_and_not_by_its_first_or_last(tmp_path: Path):
    sweep = Sweep.from_dict({**TREE, "limits": {"trials": 2, "epochs": 9, "checkpoints": 1}})
    retention = CheckpointRetention(sweep, tmp_path)
    assert retention.expired(1, {1: 0.9, 2: 0.1, 3: 0.8}) == []
    assert retention.expired(2, {1: 0.5, 2: 0.5, 3: 0.5}) == [2]
    assert retention.expired(3, {1: 0.7, 2: 0.6, 3: 0.05}) == [1]


def test_all_stay_when_the_user_wants_them(home: Path):
    play = Play(home, {**TREE, "limits": {"trials": 12, "epochs": 9, "checkpoints": "all"}})
    assert play.on_disk == play.in_table == set(range(1, 13))


def test_the_best_third_of_each_rung_stays(home: Path):
    play = Play(home, {**ASHA, "limits": {"trials": 27, "epochs": 9, "checkpoints": 1}})
    at = {(report.number, report.epoch): report.metrics["loss"] for report in play.reports}
    needed = set(play.best(1))
    for rung in (1, 3, 9):
        ranked = sorted((loss, number) for (number, epoch), loss in at.items() if epoch == rung)
        needed |= {number for _, number in ranked[: max(len(ranked) // 3, 1)]}
    assert needed <= play.on_disk == play.in_table
    assert len(play.on_disk) < 18, "and not many others"


def test_the_best_third_of_random_trials_stays_too_where_they_are_ranked_apart(home: Path):
    play = Play(home, {**ASHA, "method": "bayes", "limits": {"trials": 81, "epochs": 9, "checkpoints": 1}})
    at = {(report.number, report.epoch): report.metrics["loss"] for report in play.reports}
    needed = set()
    for rung in (1, 3, 9):
        for group in (True, False):
            here = [(loss, number) for (number, epoch), loss in at.items() if epoch == rung]
            ranked = sorted(entry for entry in here if play.searcher.is_random(entry[1]) is group)
            needed |= {number for _, number in ranked[: len(ranked) // 3]}
    assert needed <= play.on_disk == play.in_table
    assert len(play.on_disk) < 50, "and not many others"


def test_a_configuration_that_cannot_be_trained_keeps_nothing(home: Path):
    play = Play(home, TREE, bad=(1, 2))
    assert not {1, 2} & (play.on_disk | play.in_table)


def test_more_epochs_continue_from_the_last_where_a_checkpoint_stayed_and_from_0_elsewhere(home: Path):
    first = Play(home, TREE)
    second = Play(home, {**TREE, "limits": {"trials": 12, "epochs": 27}})
    assert {number for number, begun in second.begun_at.items() if begun == [9]} == first.on_disk
    assert {number for number, begun in second.begun_at.items() if begun == [0]} == set(range(1, 13)) - first.on_disk
    epochs: dict[int, list[int]] = {}
    for report in second.reports:
        epochs.setdefault(report.number, []).append(report.epoch)
    assert all(seen == list(range(1, 28)) for seen in epochs.values()), "no hole, nothing twice"


def test_more_epochs_under_asha_are_for_those_that_deserve_it(home: Path):
    first = Play(home, ASHA)
    second = Play(home, {**ASHA, "limits": {"trials": 12, "epochs": 27}})
    at_the_end = {trial.number for trial in first.trials if trial.epochs_trained == 9}
    further = {trial.number for trial in second.trials if trial.epochs_trained == 27}
    assert further and further <= at_the_end
    assert all(second.begun_at[number] == [9] for number in further)


def test_clean_frees_all_but_the_best_and_reports_how_much(home: Path):
    play = Play(home, {**ASHA, "limits": {"trials": 27, "epochs": 9}})
    before = play.on_disk
    size = sum(path.stat().st_size for path in play.folder.rglob("epoch-*"))
    would = clean(home, "s", dry_run=True)
    assert play.on_disk == before
    assert set(would.kept) == play.best(3) and set(would.trials) == before - play.best(3)
    done = clean(home)
    assert done == would
    assert play.on_disk == play.best(3)
    assert done.freed_bytes == size - sum(path.stat().st_size for path in play.folder.rglob("epoch-*")) > 0
    with Ledger(home) as ledger:
        assert {trial.number for trial in ledger.trials(ledger.sweep()) if trial.checkpoint_epoch} == play.best(3)
    assert clean(home).trials == ()


def test_clean_keeps_what_an_interrupted_sweep_resumes_from(home: Path):
    play = Play(home, TREE)
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep("s")
        ledger.end_sweep(record, "interrupted")
        ledger.update_trial(play.trials[0].id, state="interrupted")
    checkpoint_dir(play.folder, 1).mkdir(parents=True, exist_ok=True)
    stray = checkpoint_dir(play.folder, min(set(range(2, 13)) - play.on_disk))
    stray.mkdir(parents=True)
    before = play.on_disk
    assert clean(home).trials == (int(stray.parent.name),), "a driver died before it removed it"
    assert play.on_disk == before - {int(stray.parent.name)}


def test_clean_refuses_a_sweep_that_runs(home: Path):
    Play(home, TREE)
    with writer_lock(home / "s", "s"), pytest.raises(SweepInUse):
        clean(home, "s")


def test_what_another_sweep_borrowed_outlives_its_removal(home: Path):
    first = Play(home, {**TREE, "limits": {"trials": 3, "epochs": 3}})
    second = Play(home, {**TREE, "name": "t", "limits": {"trials": 3, "epochs": 6}})
    assert all(begun == [3] for number, begun in second.begun_at.items() if number in first.on_disk)
    clean(home, "s")
    assert second.on_disk == second.in_table
