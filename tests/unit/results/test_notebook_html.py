"""What a notebook shows below a cell that ends in `results`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpsearch.api.results import Results
from hpsearch.results.notebook import MAX_PARAMETERS, MAX_ROWS
from tests.support import hostile
from tests.support.curves import Landscape, run


def cells(text: str) -> list[list[str]]:
    """The table, row by row, the head first."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, flags=re.DOTALL)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_the_best_trials_come_first_and_the_failed_ones_last(home: Path):
    name = run(home, limits={"trials": 18, "epochs": 3, "concurrent": 2}, seed=3)
    results = Results(home, name)
    head, *rows = cells(results._repr_html_())
    assert head[:3] == ["trial", "state", "cause"] and head[-2:] == ["epochs_trained", "best_val_loss"]
    assert set(head[3:-2]) == {"lr", "width", "optimizer", "batch_size", "momentum"}
    assert results.best is not None and rows[0][0] == str(results.best.trial)
    assert results._repr_html_().count("<th>") == 2 * len(head), "the best row is a head of its own: bold"
    values = [float(row[-1]) for row in rows if row[-1]]
    assert values == sorted(values)
    states = [row[1] for row in rows]
    assert "failed" not in states[: len(states) - states.count("failed")]


def test_a_large_sweep_is_cut_and_says_so(home: Path):
    many = {f"p{i}": {"min": 0.0, "max": 1.0} for i in range(40)}
    free = Landscape(report=lambda config, epoch: {"val_loss": config["p0"]}, failure=lambda config: None)
    run(home, parameters=many, landscape=free, limits={"trials": 30, "epochs": 1})
    text = Results(home)._repr_html_()
    assert len(cells(text)) == 1 + MAX_ROWS and len(cells(text)[0]) == 5 + MAX_PARAMETERS
    assert "Not shown: 10 more trials, 30 more varying parameters" in text


def test_whatever_others_wrote_runs_nothing_and_is_small(home: Path):
    results = Results(home, hostile.run(home))
    text = results._repr_html_()
    assert len(text.encode()) < 100_000
    tags = set(re.findall(r"<[^>]*>", text))
    known = ("p", "table", "thead", "tbody", "tr", "th", "td", "code")
    plain = {f"<{slash}{tag}>" for tag in known for slash in ("", "/")}
    assert tags <= plain
    assert repr(results).isprintable()


@pytest.mark.browser
def test_a_browser_draws_the_table_and_runs_nothing(home: Path, browser):
    results = Results(home, hostile.run(home))
    page = browser.new_page()
    page.set_content(f"<!doctype html><body>{results._repr_html_()}</body>")
    assert page.evaluate("globalThis.harmed") is None
    assert page.locator("tr").count() > 10 and page.locator("img, script, svg, a").count() == 0
    page.close()


def test_a_parameter_named_like_a_column_keeps_its_own_column(home: Path):
    both = {"state": {"min": 0.0, "max": 1.0}, "best_val_loss": {"min": 0.0, "max": 1.0}}
    free = Landscape(report=lambda config, epoch: {"val_loss": config["state"]}, failure=lambda config: None)
    run(home, parameters=both, landscape=free, limits={"trials": 3, "epochs": 1})
    head, first, *_ = cells(Results(home)._repr_html_())
    assert head[1] == "state" and head[3] == "param.state" and first[1] == "done" and float(first[3]) <= 1


def test_an_empty_sweep_has_an_empty_table(home: Path):
    run(home, max_reports=0, limits={"trials": 1, "epochs": 1})
    assert "no trial yet" in Results(home)._repr_html_() or len(cells(Results(home)._repr_html_())) == 2
