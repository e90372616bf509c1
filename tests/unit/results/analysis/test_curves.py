"""Learning curves, what they cost, comparisons at equal epochs and rungs, out of a real sweep under ASHA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord, best_of
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.common_epoch import ahead_of_winner, common_epoch, ranking
from hpsearch.results.analysis.curves import Curve, best_value_steps, learning_curves, rungs_reached
from hpsearch.results.analysis.rungs import RungTable, rung_table
from hpsearch.spec.sweep import Sweep
from tests.support.curves import run

Read = tuple[SweepRecord, list[TrialRecord], list[ReportRecord]]


def read(home: Path) -> Read:
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        return sweep, ledger.trials(sweep), ledger.reports(sweep)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """64 trials under ASHA, rungs at 1, 3 and 9 of 27 epochs."""
    home = tmp_path_factory.mktemp("finished")
    run(home)
    return read(home)


def curve(number: int, *values: float, state: str = "done", sign: int = 1) -> Curve:
    epochs = tuple(range(1, len(values) + 1))
    return Curve(number=number, state=state, epochs=epochs, values=values, elapsed_s=epochs, sign=sign)  # type: ignore[arg-type]


def table_of_rungs(sweep: SweepRecord, curves: list[Curve]) -> RungTable:
    return rung_table(sweep, curves, rungs=rungs_reached(Sweep.from_stored(sweep.spec).rungs, curves))


def test_every_trial_has_a_curve_with_all_its_epochs(finished: Read):
    sweep, trials, reports = finished
    curves = learning_curves(sweep, trials, reports)
    assert [each.number for each in curves] == [trial.number for trial in trials]
    assert [each.last_epoch for each in curves] == [trial.epochs_trained for trial in trials]
    assert sum(len(each.values) for each in curves) == len(reports)
    assert rungs_reached(Sweep.from_stored(sweep.spec).rungs, curves) == (1, 3, 9)


def test_a_curve_knows_its_best_up_to_an_epoch():
    assert curve(1, 0.5, 0.3, 0.4).best_until(2) == 0.3
    assert curve(1, 0.5, 0.3, 0.4).best_until(9) == 0.3, "it ended by itself"
    assert curve(1, 0.5, 0.3, 0.4, state="stopped").best_until(9) is None
    assert curve(1, 0.5, 0.7, sign=-1).best_until(2) == 0.7
    assert curve(1).best_until(1) is None


def test_the_best_value_only_improves_and_ends_with_everything_that_was_spent(finished: Read):
    sweep, trials, reports = finished
    steps = best_value_steps(sweep, trials, reports)
    values = [step.value for step in steps]
    assert values == sorted(values, reverse=True)
    best = best_of(trials, sign=sweep.sign)
    assert best is not None and (steps[-1].value, steps[-1].trial) == (best.best_value, best.number)
    assert (steps[-1].trials, steps[-1].epochs) == (64, len(reports))
    assert steps[-1].seconds == pytest.approx(sum({each.number: each.elapsed_s for each in reports}.values()))


def test_what_was_reused_cost_nothing_and_what_failed_is_never_best(finished: Read):
    sweep, trials, reports = finished
    best = best_of(trials, sign=sweep.sign)
    assert best is not None
    free = best_value_steps(sweep, [replace(trial, state="reused") for trial in trials], reports)
    assert (free[-1].epochs, free[-1].seconds, free[-1].value) == (0, 0, best.best_value)
    without = [replace(trial, state="failed") if trial is best else trial for trial in trials]
    assert best_value_steps(sweep, without, reports)[-1].trial != best.number


def test_a_maximised_metric_rises(tmp_path: Path):
    run(tmp_path, metric={"name": "val_accuracy", "goal": "maximize"}, limits={"trials": 12, "epochs": 9})
    sweep, trials, reports = read(tmp_path)
    values = [step.value for step in best_value_steps(sweep, trials, reports)]
    assert values == sorted(values) and len(values) > 2
    ranks = ranking(learning_curves(sweep, trials, reports), 1)
    assert [each.value for each in ranks] == sorted((each.value for each in ranks), reverse=True)


def test_the_common_epoch_is_one_that_stopped_trials_reached(finished: Read):
    assert common_epoch(learning_curves(*finished)) == 1


@pytest.mark.parametrize(
    ("curves", "epoch"),
    [
        ([], None),
        ([curve(1), curve(2, 1.0, state="failed")], None),
        ([curve(i, 1.0, 1.0, 1.0) for i in range(9)] + [curve(9, 1.0, 1.0, state="stopped")], 3),
        ([curve(i, 1.0, 1.0, 1.0) for i in range(8)] + [curve(9, 1.0, state="stopped")], 1),
        ([curve(1, 1.0, 1.0, 1.0), curve(2, 1.0, state="running")], 3),
        ([curve(1, 1.0, 1.0, 1.0), curve(2, 1.0, state="paused")], 1),
        ([curve(1, 1.0, 1.0, 1.0), curve(2, 1.0)], 3),
    ],
    ids=["nothing", "only failures", "one in ten", "one in nine", "one runs", "one waits", "one ended by itself"],
)
def test_nine_in_ten_trials_make_an_epoch_common(curves, epoch):
    assert common_epoch(curves) == epoch


def test_trials_are_ranked_by_their_best_value_up_to_the_same_epoch():
    curves = [curve(1, 0.5, 0.1), curve(2, 0.4, 0.3), curve(3, 0.2, state="stopped"), curve(4, 0.1, state="failed")]
    assert [each.trial for each in ranking(curves, 1)] == [3, 2, 1]
    assert [(each.rank, each.trial, each.value) for each in ranking(curves, 2)] == [(1, 1, 0.1), (2, 2, 0.3)]


def test_a_stopped_trial_that_was_ahead_of_the_winner_is_named(finished: Read):
    sweep, trials, reports = finished
    winner = best_of(trials, sign=sweep.sign)
    assert winner is not None and not ahead_of_winner(sweep, trials, reports), "ASHA promotes the best of each rung"
    first = next(trial for trial in trials if trial.state == "stopped" and trial.epochs_trained == 1)
    then = learning_curves(sweep, [winner], reports)[0].best_until(1)
    assert then is not None
    better = replace(first, best_value=then - 0.01)
    changed = [better if trial is first else trial for trial in trials]
    [found] = ahead_of_winner(sweep, changed, reports)
    assert (found.trial, found.epoch, found.winner) == (first.number, 1, winner.number)
    assert (found.value, found.winner_value) == (then - 0.01, then)


def test_the_rungs_account_for_every_trial_and_for_what_was_saved(finished: Read):
    sweep, trials, reports = finished
    curves = learning_curves(sweep, trials, reports)
    table = table_of_rungs(sweep, curves)
    assert [row.epoch for row in table.rows] == [1, 3, 9, 27]
    assert all(row.entered == row.promoted + row.stopped + row.waiting for row in table.rows)
    assert [row.promoted for row in table.rows[:-1]] == [row.entered for row in table.rows[1:]]
    stopped = [trial for trial in trials if trial.state == "stopped"]
    assert table.saved_epochs == sum(27 - trial.epochs_trained for trial in stopped)
    assert table.saved_epochs == sum(row.saved_epochs for row in table.rows)
    assert table.trained_epochs == len(reports)
    assert 0.5 < table.saved_share < 1


def test_a_sweep_without_a_stopping_rule_has_no_rungs(tmp_path: Path):
    run(tmp_path, early_terminate={"type": "none"}, limits={"trials": 4, "epochs": 2})
    sweep, trials, reports = read(tmp_path)
    table = table_of_rungs(sweep, learning_curves(sweep, trials, reports))
    assert (table.rows, table.saved_epochs, table.saved_share) == ((), 0, 0.0)


def test_a_sweep_before_its_first_report_has_empty_curves(tmp_path: Path):
    run(tmp_path, max_reports=0)
    sweep, trials, reports = read(tmp_path)
    curves = learning_curves(sweep, trials, reports)
    assert not any(each.epochs for each in curves)
    assert best_value_steps(sweep, trials, reports) == [] and table_of_rungs(sweep, curves).rows == ()
