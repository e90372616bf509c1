"""Each picture of a sweep of formulas: what it shows, and what it says of itself."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.ledger.records import ReportRecord
from hpsearch.results import plots
from hpsearch.results.analysis.findings import Findings, read_findings
from hpsearch.results.charts.axes import metric_axis, number_axis
from hpsearch.results.charts.curves import MAX_POINTS
from hpsearch.results.charts.description import Chart, joined
from hpsearch.results.charts.parallel import MAX_LINES
from hpsearch.slots.protocol import Failed
from hpsearch.spec.sweep import Sweep
from tests.support import curves


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("charts")
    return read_findings(home, curves.run(home))


def all_charts(found: Findings) -> list[Chart]:
    return [
        plots.curves_of(found),
        *plots.progress_of(found),
        plots.importance_of(found),
        plots.parallel_of(found),
        *plots.slices_of(found),
    ]


def check(chart: Chart) -> None:
    """What both renderers rely on."""
    assert chart.alternative.endswith(".")
    for series in chart.series:
        lengths = {len(values) for values in (series.x, series.y, series.trials, series.texts, series.low, series.high)}
        assert lengths <= {0, len(series.x)}
        assert all(math.isnan(x) == math.isnan(y) for x, y in zip(series.x, series.y, strict=True))
        assert not any(map(math.isinf, (*series.x, *series.y)))
        for axis, values in ((chart.x, series.x), (chart.y, series.y)):
            assert not axis.is_log or all(value > 0 for value in values if not math.isnan(value))
    for axis in (chart.x, chart.y):
        assert axis.limits is None or axis.limits[0] < axis.limits[1]


def test_every_trial_that_reported_has_a_curve_that_ends_in_a_marker(found: Findings):
    chart = plots.curves_of(found)
    ends = [trial for series in chart.series if series.kind == "points" for trial in series.trials]
    assert sorted(ends) == [trial.number for trial in found.trials if trial.epochs_trained]
    assert [mark.x for mark in chart.marks] == [1, 3, 9]
    assert chart.series[-1].role == "best"
    assert found.best is not None
    assert f"The best is trial {found.best.number} with {found.best.best_value:.4g} in 27 epochs." in chart.alternative


def test_the_best_so_far_ends_where_the_sweep_stands(found: Findings):
    trials, compute = plots.progress_of(found)
    assert trials.series[0].x[-1] == 64
    assert found.best is not None and trials.series[0].y[-1] == found.best.best_value
    assert compute.x.name == "minutes of training, summed over trials"
    assert "in 64 trials" in trials.alternative


def test_bars_stand_for_the_importances_the_largest_on_top(found: Findings):
    chart = plots.importance_of(found)
    (bars,) = chart.series
    assert bars.x == tuple(100 * row.importance for row in found.importance.rows)
    assert chart.y.ticks is not None and chart.y.ticks[0] == (4.0, "lr")
    assert all(low <= at <= high for low, at, high in zip(bars.low, bars.x, bars.high, strict=True))


def test_parallel_coordinates_hold_every_trial_once(found: Findings):
    chart = plots.parallel_of(found)
    drawn = [trial for series in chart.series for trial in set(series.trials)]
    assert sorted(drawn) == [trial.number for trial in found.trials]
    names = [name for _, name in chart.x.ticks or ()]
    assert names == [*(row.parameter for row in found.importance.rows), "epochs", "best val_loss"]
    assert "none" in {label.text for label in chart.labels}  # momentum of adamw, the objective of the failed


def test_slices_compare_trials_at_one_epoch(found: Findings):
    lr = plots.slices_of(found, "lr")[0]
    assert lr.x.is_log
    assert lr.y.name == f"val_loss by epoch {found.importance.epoch}"
    points = {trial: y for series in lr.series for trial, y in zip(series.trials, series.y, strict=True)}
    assert points == found.values
    momentum = plots.slices_of(found, "momentum")[0]
    assert "trials without momentum." in momentum.note


def test_a_slice_of_something_unknown_is_refused_with_what_there_is(found: Findings):
    with pytest.raises(SpecError, match=r"slices: 'lrr' is not a parameter that varies\. These vary: lr, "):
        plots.Plots(lambda: found).slices("lrr")


def test_what_the_renderers_rely_on_holds(found: Findings):
    for chart in all_charts(found):
        check(chart)


def nested(config, epoch):
    return {"accuracy": -1.0 if config["net"]["shape"] is None else 0.9 - 1 / epoch + len(str(config)) / 1000}


AWKWARD: dict[str, dict[str, Any]] = {
    "nothing yet": {"max_reports": 0},
    "one report": {"max_reports": 1},
    "half way": {"max_reports": 60},
    "one trial": {"limits": {"trials": 1, "epochs": 3}},
    "no epochs known": {"limits": {"trials": 6}, "early_terminate": {"type": "none"}, "max_reports": 40},
    "no parameter varies": {"parameters": {"lr": 0.1, "width": 16, "optimizer": "sgd", "batch_size": 64}},
    "all equal": {"landscape": curves.Landscape(report=lambda config, epoch: {"val_loss": 1.0})},
    "all failed": {
        "landscape": curves.Landscape(failure=lambda config: Failed(cause="oom_gpu", evidence="no", elapsed_s=1))
    },
    "huge and tiny": {"landscape": curves.Landscape(report=lambda c, e: {"val_loss": 1e300 if e == 1 else 1e-300})},
    "below zero": {"landscape": curves.Landscape(report=lambda c, e: {"val_loss": -(10.0 ** (c["lr"] * 9)) + 1 / e})},
    "nested, maximised": {
        "landscape": curves.Landscape(report=nested, failure=lambda config: None),
        "metric": {"name": "accuracy", "goal": "maximize"},
        "parameters": {
            "net": {"shape": {"values": [[1, 2], {"a": 1}, None, "x"]}, "n": {"min": 1, "max": 3}},
            "p": {"min": -1.0, "max": 0.0, "when": {"net.shape": [[1, 2]]}},
        },
    },
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_sweeps_have_pictures_or_say_why_not(case, home: Path):
    found = read_findings(home, curves.run(home, **AWKWARD[case]))
    for chart in all_charts(found):
        check(chart)
        assert not chart.is_empty or "Traceback" not in chart.alternative


def of_a_thousand(home: Path) -> Findings:
    """A sweep without a stopping rule, and a thousand like its first trial: 27,000 reports."""
    found = read_findings(home, curves.run(home, limits={"trials": 1, "epochs": 27}, early_terminate={"type": "none"}))
    (first,), draw = found.trials, Sweep.from_dict(dict(found.sweep.spec)).space.draw
    numbers, rng = range(1, 1001), random.Random(0)
    points = {number: draw(rng) for number in numbers}
    trials = [
        replace(
            first, number=number, point=point, best_value=min(curves.losses(point, e)["val_loss"] for e in (25, 26, 27))
        )
        for number, point in points.items()
    ]
    reports = [
        ReportRecord(number=t.number, epoch=e, metrics=curves.losses(t.point, e), elapsed_s=2.0 * e)
        for t in trials
        for e in range(1, 28)
    ]
    return replace(found, trials=trials, reports=reports)


def test_a_thousand_full_trials_are_thinned_and_say_so(home: Path):
    found = of_a_thousand(home)
    assert found.best is not None
    chart = plots.curves_of(found)
    assert sum(len(series.x) for series in chart.series if series.kind == "lines") <= MAX_POINTS + len(found.trials)
    assert [series.name for series in chart.series if series.name] == [
        "fully trained (900)",
        "best tenth (99)",
        f"best: trial {found.best.number}",
    ]
    assert "At most 12 epochs of each curve are drawn." in chart.note
    parallel = plots.parallel_of(found)
    assert len({trial for series in parallel.series for trial in series.trials}) == MAX_LINES
    assert f"Not drawn: {len(found.trials) - MAX_LINES} of 1000 trials." in parallel.note


def test_an_objective_over_decades_gets_a_logarithmic_axis():
    assert metric_axis("loss", [1e-3, 1.0])[0].is_log
    assert not metric_axis("loss", [0.5, 1.0])[0].is_log
    assert not metric_axis("loss", [-1e-3, 1e3])[0].is_log
    assert not metric_axis("loss", [0.0, 1e3])[0].is_log


def test_few_far_values_do_not_squash_all_others():
    axis, note = metric_axis("loss", [*(i / 100 for i in range(-50, 50)), -1e9, 1e12])
    assert axis.limits is not None and axis.limits[0] > -1 and axis.limits[1] < 1
    assert note == "Outside the axis: 2 values, the furthest at 1e+12."


def test_gaps_lie_between_joined_curves():
    x, y, trials = joined([[(1.0, 2.0, 3)], [], [(1.0, 4.0, 5)]])
    assert trials == (3, 3, 5, 5)
    assert [math.isnan(value) for value in x] == [math.isnan(value) for value in y] == [False, True, False, True]


@pytest.mark.parametrize(
    ("low", "high", "named"),
    [
        (0.01, 0.1, ["0.01", "0.02", "0.05", "0.1"]),
        (1e-4, 0.03, ["0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03"]),
        (1e-8, 1e-3, ["1e-08", "1e-07", "1e-06", "1e-05", "0.0001", "0.001"]),
        (0.3, 0.4, ["0.3", "0.4"]),
    ],
)
def test_a_logarithmic_axis_has_no_more_numbers_than_there_is_room_for(low, high, named):
    assert [text for _, text in number_axis("lr", (low, high), is_log=True).ticks or ()] == named
