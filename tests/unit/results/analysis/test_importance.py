"""Importance of parameters over all trials of real sweeps, stopped ones included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpsearch.api.results import Results
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.importance import MIN_TRIALS, Importance, importance
from hpsearch.slots.protocol import Failed
from tests.support.calls import calls_of
from tests.support.curves import Landscape, run

EFFECTS = {"a": 2.0, "b": 1.2, "c": 0.7}
"""How much each parameter of ORDERED adds to the loss, from one end of its range to the other."""
ORDERED: dict[str, Any] = {
    "a": {"min": 1e-3, "max": 1e3, "log": True},
    "b": {"min": 0.0, "max": 1.0},
    "c": {"min": 1, "max": 50},
    "d": {"min": 0.0, "max": 1.0},
    "e": {"values": [["x"], {"y": 1}]},
    "fixed": 3,
}


def ordered(config: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """A loss with a known order of what matters: a, b, c, and nothing else."""
    shares = {"a": math.log10(config["a"]) / 6 + 0.5, "b": config["b"], "c": config["c"] / 50}
    return {"val_loss": sum(EFFECTS[name] * share for name, share in shares.items()) + 1 / epoch}


def no_failure(config: Any) -> None:
    """Nothing fails."""


def found(home: Path, **keys: Any) -> Importance:
    run(home, **keys)
    return of(home)


def of(home: Path) -> Importance:
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        return importance(sweep, ledger.trials(sweep), ledger.reports(sweep))


def names(result: Importance) -> list[str]:
    return [row.parameter for row in result.rows]


@pytest.mark.parametrize("seed", range(3))
def test_the_learning_rate_matters_most_though_most_trials_were_stopped(home: Path, seed: int):
    result = found(home, seed=seed)
    assert names(result)[0] == "lr"
    assert set(names(result)) == {"lr", "width", "optimizer", "momentum", "batch_size"}, "what varies, nothing else"
    assert result.epoch == 1 and result.num_trials + result.num_failed == 64
    assert f"epoch 1 over {result.num_trials} trials; {result.num_failed} failed" in result.sentence


def test_a_known_order_is_found_over_several_seeds(home: Path):
    landscape = Landscape(report=ordered, failure=no_failure)
    limits = {"trials": 100, "epochs": 27, "concurrent": 4}
    shares: dict[str, float] = dict.fromkeys(ORDERED, 0.0)
    for seed in range(3):
        name = f"seed-{seed}"
        for row in found(home, name=name, parameters=ORDERED, limits=limits, seed=seed, landscape=landscape).rows:
            shares[row.parameter] += row.importance / 3
    assert sorted(shares, key=lambda name: -shares[name])[:3] == ["a", "b", "c"], shares
    assert shares["a"] > 0.4 and shares["d"] + shares["e"] < 0.1 and shares["fixed"] == 0


def test_shares_add_up_to_one_and_lie_in_their_intervals(home: Path):
    rows = found(home, limits={"trials": 20, "epochs": 3}).rows
    assert sum(row.importance for row in rows) == pytest.approx(1)
    assert all(0 <= row.low <= row.importance <= row.high <= 1 for row in rows)


def test_the_same_trials_give_the_same_numbers(home: Path):
    assert found(home, limits={"trials": 20, "epochs": 3}) == of(home)


def test_what_is_maximised_matters_as_much_as_the_same_minimised(home: Path, tmp_path: Path):
    def negative(config: Any, epoch: int) -> dict[str, float]:
        return {"val_loss": -ordered(config, epoch)["val_loss"]}

    fine = {"parameters": ORDERED, "early_terminate": {"type": "none"}, "limits": {"trials": 20, "epochs": 2}}
    down = found(home, landscape=Landscape(report=ordered, failure=no_failure), **fine)
    upwards = Landscape(report=negative, failure=no_failure)
    up = found(tmp_path / "up", landscape=upwards, metric={"name": "val_loss", "goal": "maximize"}, **fine)
    assert up.rows == down.rows and up.epoch == 2


def test_too_few_trials_give_a_sentence_and_no_numbers(home: Path):
    result = found(home, limits={"trials": MIN_TRIALS - 1, "epochs": 3})
    assert not result.rows
    assert result.sentence.startswith(f"Importance needs {MIN_TRIALS} trials at a common epoch; there are ")


def test_a_sweep_before_its_first_report_gives_a_sentence(home: Path):
    result = found(home, max_reports=0)
    assert (result.epoch, result.num_trials, result.rows) == (None, 0, ())
    assert "there are 0" in result.sentence


def test_a_sweep_whose_trials_all_failed_gives_a_sentence(home: Path):
    broken = Landscape(failure=lambda config: Failed(cause="diverged", evidence="nan", elapsed_s=1.0))
    result = found(home, landscape=broken, limits={"trials": 12, "epochs": 3})
    assert not result.rows and "failed ones are left out" in result.sentence


def test_results_give_a_table_that_says_what_it_is_based_on_or_a_warning(home: Path, tmp_path: Path):
    name = run(home, limits={"trials": 24, "epochs": 3})
    frame = Results(home, name).importance()
    assert list(frame.columns) == ["parameter", "importance", "low", "high", "epoch", "trials"]
    assert frame["importance"].is_monotonic_decreasing and frame["epoch"].unique().tolist() == [1]
    run(tmp_path, limits={"trials": 2, "epochs": 3})
    with pytest.warns(UserWarning, match="Importance needs 10 trials"):
        assert Results(tmp_path).importance().empty


def test_equal_losses_give_a_sentence(home: Path):
    flat = Landscape(report=lambda config, epoch: {"val_loss": 1.0}, failure=no_failure)
    result = found(home, landscape=flat, limits={"trials": 12, "epochs": 2})
    assert not result.rows and result.sentence.startswith("No parameter makes a difference among the 12 trials")


def test_a_sweep_that_still_runs_is_compared_at_the_epochs_of_its_trials(home: Path):
    result = found(home, max_reports=80)
    assert result.epoch == 1 and 20 < result.num_trials < 64 and result.rows


def test_ten_times_the_trials_are_ten_times_the_work(home: Path):
    run(home, limits={"trials": 20, "epochs": 3, "concurrent": 4})
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        trials, reports = ledger.trials(sweep), ledger.reports(sweep)

    def work(times: int) -> int:
        many = [replace(trial, number=trial.number + 20 * i) for i in range(times) for trial in trials]
        told = [replace(report, number=report.number + 20 * i) for i in range(times) for report in reports]
        assert importance(sweep, many, told).num_trials > 18 * times
        return calls_of(lambda: importance(sweep, many, told))

    assert work(50) < 15 * work(5), "of a thousand trials, and of a hundred"
