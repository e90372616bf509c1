"""Values of different types look different wherever a table shows them, and so do null and an inactive parameter."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.engine.trial import Trial
from hpsearch.ledger.store import Ledger
from hpsearch.live.progress import describe
from hpsearch.priors.tables import read_table
from hpsearch.results.analysis.findings import read_findings
from hpsearch.results.html.elements import render
from hpsearch.results.report.tables import top_table
from hpsearch.slots.dashboard_names import call_name
from hpsearch.slots.protocol import Assignment
from hpsearch.spec.sweep import Sweep
from tests.support.curves import SPEC, Landscape, run

VALUES = [1, 1.0, "1", None, True, "true"]
TEXTS = ["1", "1.0", '"1"', "null", "true", '"true"']
"""How each of them is shown."""
PARAMETERS = {"x": {"values": VALUES}, "y": {"values": [None, 2, 3], "when": {"x": [1, 1.0, None]}}}
"""A parameter of values of different types, and one that may be null or inactive."""


def try_every_point(home: Path, parameters: dict[str, Any]) -> None:
    """Run a sweep by `grid`; all points are as good, and none fails."""
    free = Landscape(report=lambda config, epoch: {"val_loss": 1.0}, failure=lambda config: None)
    rules: dict[str, Any] = {"limits": {"epochs": 1}, "early_terminate": {"type": "none"}}
    run(home, parameters=parameters, landscape=free, method="grid", **rules)


@pytest.fixture
def mixed(home: Path) -> Path:
    """The ledger of a sweep that tried every point: x alone, or with y as null, 2 and 3."""
    try_every_point(home, PARAMETERS)
    return home


def printed(*words: str, home: Path) -> str:
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert done.exit_code == 0, done.output
    return done.stdout


def pairs(x: list[str], y: list[str]) -> set[tuple[str, str]]:
    return set(zip(x, y, strict=True))


EXPECTED = {(x, y) for x in ("1", "1.0", "null") for y in ("null", "2", "3")} | {
    (x, "-") for x in ('"1"', "true", '"true"')
}


def columns(text: str, *titles: str) -> list[list[str]]:
    """The columns of a printed table below these titles; no cell of it has a blank."""
    head, *rows = (line.split() for line in text.splitlines() if not line.startswith("curves"))
    return [[row[head.index(title)] for row in rows] for title in titles]


@pytest.mark.parametrize("verb", ["show", "show --epoch 1"])
def test_show_tells_them_apart(mixed: Path, verb: str):
    assert pairs(*columns(printed(*verb.split(), home=mixed), "x", "y")) == EXPECTED


@pytest.mark.parametrize("verb", ["show --json", "show --epoch 1 --json", "export --to json -o -"])
def test_json_has_the_values_and_lacks_what_is_inactive(mixed: Path, verb: str):
    rows = json.loads(printed(*verb.split(), home=mixed))
    assert {json.dumps(row["x"]) for row in rows} == set(TEXTS)
    with_y = [row for row in rows if "y" in row]
    assert {json.dumps(row["y"]) for row in with_y} == {"null", "2", "3"} and len(with_y) == 9 < len(rows)


def test_one_trial_is_shown_with_its_configuration_as_yaml(mixed: Path):
    trials = Results(mixed).trials
    number = next(row["trial"] for row in trials.to_dict(orient="records") if row["x"] == "1")
    assert 'config:\n  x: "1"\n' in printed("show", "--trial", str(number), home=mixed)


def test_the_frame_has_the_values_themselves(mixed: Path):
    trials = Results(mixed).trials
    assert {repr(value) for value in trials["x"]} == {repr(value) for value in VALUES}
    inactive = [value for value in trials["y"] if isinstance(value, float)]
    assert len(inactive) == 3 and all(map(pd.isna, inactive))
    assert {repr(value) for value in trials["y"]} == {"None", "2", "3", "nan"}


def test_a_csv_file_tells_them_apart_and_is_read_as_a_prior(mixed: Path, tmp_path: Path):
    path = tmp_path / "trials.csv"
    printed("export", "-o", str(path), home=mixed)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert pairs([row["x"] for row in rows], [row["y"] or "-" for row in rows]) == EXPECTED
    sweep = Sweep.from_dict({**SPEC, "parameters": PARAMETERS})
    earlier = read_table(path, space=sweep.space, metric=sweep.metric)
    with Ledger(mixed) as ledger:
        tried = [trial.point for trial in ledger.trials(ledger.sweep())]
    assert [repr(each.point) for each in earlier] == [repr(point) for point in tried]


def test_a_parquet_file_tells_them_apart_as_json(mixed: Path, tmp_path: Path):
    path = tmp_path / "trials.parquet"
    printed("export", "--to", "parquet", "-o", str(path), home=mixed)
    table = pd.read_parquet(path)
    assert pairs(list(table["x"]), ["-" if pd.isna(y) else y for y in table["y"]]) == EXPECTED


def cells(text: str, position: int) -> set[str]:
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text)]
    return {row[position].replace("&quot;", '"') for row in rows[1:]}


def test_a_notebook_tells_them_apart(mixed: Path):
    text = Results(mixed)._repr_html_()
    assert cells(text, 3) == set(TEXTS) and cells(text, 4) == {"null", "2", "3", "-"}


def test_the_report_tells_them_apart(mixed: Path):
    assert Results(mixed).report().is_file()
    found = top_table(read_findings(mixed, "curves"))
    assert found is not None
    text = render(found).replace("&quot;", '"')
    assert {each for each in TEXTS if f">{each}<" in text} >= {"1", "1.0", "null"} and ">-<" in text


@pytest.mark.parametrize(("value", "text"), list(zip(VALUES, TEXTS, strict=True)))
def test_the_line_of_a_trial_and_the_name_of_a_call_tell_them_apart(value: Any, text: str):
    sweep = Sweep.from_dict({**SPEC, "parameters": {"x": PARAMETERS["x"]}})
    assert describe(Trial(number=1, point={"x": value}, ledger_id=1), sweep) == f"x={text}"
    if value is not None:
        call = Assignment(number=7, attempt=1, config={"x": value}, seed=0, max_epochs=9)
        assert call_name(call, sweep="net", shown=("x",), progress=None).endswith(f" x={text}")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2], "Int64"), ([0.5, 2], "float64"), ([True, False], "boolean"), (["a", "b"], "str"), ([None, 2], "object")],
)
def test_a_column_has_the_type_of_its_values_also_where_it_is_inactive(home: Path, values: list[Any], dtype: str):
    parameters = {"on": {"values": ["yes", "no"]}, "y": {"values": values, "when": {"on": "yes"}}}
    try_every_point(home, parameters)
    column = Results(home).trials["y"]
    assert column.dtype == dtype and column.isna().sum() == 1 + (None in values)
    assert set(column.dropna()) == {value for value in values if value is not None}


def test_whole_numbers_stay_whole_in_a_csv_file(home: Path):
    parameters = {"on": {"values": [True, False]}, "y": {"values": [2, 3], "when": {"on": True}}}
    try_every_point(home, parameters)
    rows = list(csv.DictReader(printed("export", "-o", "-", home=home).splitlines()))
    assert {row["y"] for row in rows} == {"2", "3", ""}
