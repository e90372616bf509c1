"""Comparisons of sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.errors import SpecError
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.compare import Comparison, compare_sweeps, read_sweep
from hpsearch.results.columns import COMPARE
from tests.support.curves import EPOCH_S, run

SMALL = {"trials": 6, "epochs": 9, "concurrent": 2}


def compared(home: Path, *names: str) -> Comparison:
    with Ledger(home) as ledger:
        records = [ledger.sweep(name) for name in names]
        return compare_sweeps([read_sweep(each, ledger.trials(each), ledger.reports(each)) for each in records])


def test_sweeps_are_compared_at_the_budget_of_the_shortest(home: Path):
    run(home, name="short", limits=SMALL, early_terminate={"type": "none"})
    run(home, name="long", limits={**SMALL, "trials": 12}, early_terminate={"type": "none"}, seed=1)
    short, long = compared(home, "short", "long").rows
    assert (short.trials, long.trials, short.method) == (6, 12, "random")
    assert short.epochs == 54 and long.epochs == 9 * (12 - long.failed)
    assert short.best == short.best_at_equal_epochs == short.best_at_equal_time
    assert long.best is not None and long.best_at_equal_epochs is not None
    assert long.best <= long.best_at_equal_epochs
    assert compared(home, "short", "long").equal_epochs == 54
    assert short.training_s == pytest.approx(54 * EPOCH_S)


def test_what_was_reused_cost_nothing_but_counts_at_equal_budgets(home: Path):
    run(home, name="first", limits=SMALL)
    run(home, name="again", limits=SMALL)
    first, again = compared(home, "first", "again").rows
    assert again.epochs < first.epochs and again.best == first.best
    assert again.best_at_equal_epochs == first.best_at_equal_epochs


def test_a_sweep_without_a_result_has_no_equal_budget(home: Path):
    run(home, name="full", limits=SMALL)
    run(home, name="empty", limits=SMALL, max_reports=0, seed=5)
    comparison = compared(home, "full", "empty")
    assert "no result yet" in comparison.sentence
    assert [row.best_at_equal_epochs for row in comparison.rows] == [None, None]
    assert comparison.rows[1].best is None


def test_what_is_maximised_is_compared_the_other_way_round(home: Path):
    goal = {"name": "val_accuracy", "goal": "maximize"}
    run(home, name="a", limits=SMALL, metric=goal)
    run(home, name="b", limits={**SMALL, "trials": 12}, metric=goal, seed=1)
    comparison = compared(home, "a", "b")
    assert "higher is better" in comparison.sentence
    assert all((row.best or 0) >= (row.best_at_equal_epochs or 0) > 0 for row in comparison.rows)


def test_sweeps_of_different_metrics_are_refused_with_both_named(home: Path):
    run(home, name="a", limits=SMALL)
    run(home, name="b", limits=SMALL, metric={"name": "val_accuracy", "goal": "maximize"})
    with pytest.raises(
        SpecError, match=r"'a' ranks by val_loss \(minimize\) and 'b' ranks by val_accuracy \(maximize\)"
    ):
        compared(home, "a", "b")


def test_the_command_line_and_python_say_the_same(home: Path):
    run(home, name="a", limits=SMALL)
    run(home, name="b", limits={**SMALL, "trials": 8}, seed=1)
    printed = CliRunner().invoke(app, ["compare", "a", "b", "--home", str(home)]).stdout
    assert printed.startswith("val_loss, lower is better; equal budgets: ") and "random + asha" in printed
    rows = json.loads(CliRunner().invoke(app, ["compare", "a", "b", "--json", "--home", str(home)]).stdout)
    frame = Results(home, "a").compare("b")
    assert list(frame.columns) == [column.name for column in COMPARE]
    assert [row["best"] for row in rows] == frame["best"].tolist()


def test_the_chart_has_a_line_for_each_sweep_and_the_budget(home: Path, tmp_path: Path):
    for i in range(6):
        run(home, name=f"sweep-{i}", limits=SMALL, seed=i, max_reports=None if i else 0)
    names = [f"sweep-{i}" for i in range(6)]
    path = tmp_path / "compared.svg"
    done = CliRunner().invoke(app, ["compare", *names[1:], "-o", str(path), "--home", str(home)])
    assert done.exit_code == 0 and path.stat().st_size < 100_000
    text = path.read_text()
    assert all(name in text for name in names[1:]) and "equal budgets" in text and names[0] not in text
    done = CliRunner().invoke(app, ["compare", *names, "-o", str(path), "--home", str(home)])
    assert "equal budgets" not in path.read_text(), "one has no result yet"


def test_a_chart_of_another_file_type_is_refused(home: Path, tmp_path: Path):
    run(home, limits=SMALL)
    done = CliRunner().invoke(app, ["compare", "curves", "-o", str(tmp_path / "x.bmp"), "--home", str(home)])
    assert isinstance(done.exception, SpecError) and ".png, .svg or .html" in str(done.exception)
