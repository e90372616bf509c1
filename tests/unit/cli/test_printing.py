"""Printed tables fit the terminal; in a pipe a line has at most 200 characters."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app, printing
from hpsearch.paths import home_option
from hpsearch.slots.protocol import Failed
from hpsearch.text_table import Column, TextTable, fit, table_of, truncate
from tests.support.curves import Landscape, run

MANY = {f"layer{number}": {"width": {"min": 0.0, "max": 1.0}} for number in range(1, 31)}
LONG = "expected float but got Half: " + "a_name_that_is_long and " * 30
VERBS = ["list", "show", "show --trial 1", "show --epoch 1", "show --failures", "compare wide"]


@pytest.fixture
def wide(home: Path) -> Path:
    """A sweep of 30 parameters, of long texts and of long evidence."""
    landscape = Landscape(
        report=lambda config, epoch: {"val_loss": 1.0 / epoch, "m" * 90: 1.0, "n" * 90: 1.0},
        failure=lambda config: Failed(cause="user_error", evidence=LONG, elapsed_s=1.0) if config["fails"] else None,
    )
    parameters: dict[str, Any] = {
        "note": {"values": ["x" * 150, "y" * 150]},
        **MANY,
        "fails": {"values": [True, False]},
    }
    run(home, name="wide", parameters=parameters, landscape=landscape, limits={"trials": 8, "epochs": 2}, printed=LONG)
    return home


def printed(*words: str, home: Path) -> str:
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_no_line_in_a_pipe_is_longer_than_200_characters(wide: Path, verb: str):
    text = printed(*verb.split(), home=wide)
    assert max(map(len, text.splitlines())) <= 200


def test_show_names_the_columns_that_it_leaves_out_and_where_they_are(wide: Path):
    lines = printed("show", home=wide).splitlines()
    assert "layer1.width" in lines[1] and "layer30.width" not in lines[1] and "best_val_loss" in lines[1]
    assert "x" * 39 + "…" in "\n".join(lines)
    first = next(i for i, line in enumerate(lines) if line.startswith("Columns"))
    said, *commands = lines[first : first + 3]
    assert said.startswith("Columns that don't fit into 200 characters: layer") and said.endswith(" more.")
    at = home_option(wide)
    assert commands == [
        f"All columns: python -m hpsearch show wide --json{at}",
        f"All columns: python -m hpsearch export wide{at}",
    ]


def test_the_evidence_of_a_failure_is_shown_whole(wide: Path):
    text = " ".join(printed("show", "--failures", home=wide).split())
    assert LONG.strip() in text


@pytest.mark.parametrize("width", [60, 100, 250])
def test_a_table_on_a_terminal_has_its_width(wide: Path, width: int, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback: os.terminal_size((width, 24)))
    rows = [{f"c{number}": number * 1.5 for number in range(60)}]
    printing.print_rows(rows, kept=("c0",), complete=["--json"])
    titles, values, *said = capsys.readouterr().out.splitlines()
    assert width - 8 < len(titles) <= width and len(values) <= width
    assert said[0].startswith(f"Columns that don't fit into {width} characters: c")


def test_a_narrower_column_takes_the_place_of_one_that_does_not_fit():
    columns = [Column(key=key, title=key, drop=drop) for key, drop in (("a", 0), ("b", 1), ("c", 1), ("d", 2))]
    found = fit(columns, [{"a": "a", "b": "b" * 30, "c": "ccc", "d": "d"}], width=10)
    assert [column.key for column in found.columns] == ["a", "c", "d"]
    assert [column.key for column in found.left_out] == ["b"]


def test_what_is_shown_whatever_the_width_comes_first():
    columns = [Column(key="wide", title="w" * 15), Column(key="kept", title="k" * 15, drop=0)]
    assert [column.key for column in fit(columns, [], width=20).columns] == ["kept"]


def test_a_wrapped_text_continues_below_its_column(capsys):
    rows = [{"trial": 1, "evidence": "one two three four five six seven eight"}, {"trial": 22, "evidence": "short"}]
    table = table_of(rows, kept=("trial", "evidence"), wrapped="evidence")
    found = fit(table.columns, table.rows, width=31)
    assert [line for row in table.rows for line in found.lines(row)] == [
        "    1  one two three four five",
        "       six seven eight",
        "   22  short",
    ]


def test_columns_with_wide_characters_are_aligned_and_their_texts_are_whole():
    rows = [
        {"optimizer": "学習率", "x": 1, "evidence": "記憶が足りない " * 4},
        {"optimizer": "adam", "x": 22, "evidence": "é"},
    ]
    table = table_of(rows, kept=("optimizer", "x", "evidence"), wrapped="evidence")
    found = fit(table.columns, table.rows, width=40)
    first, *others = [line for row in table.rows for line in found.lines(row)]
    assert (first, others[-1]) == ("学習率      1  記憶が足りない", "adam       22  é")
    assert "".join([first, *others]).count("記憶が足りない") == 4
    assert truncate("学習率", 5) == "学習…" and truncate("学習率", 6) == "学習率"


def test_a_table_without_rows_prints_nothing(capsys):
    printing.print_table(TextTable(columns=(), rows=()), complete=[])
    assert capsys.readouterr().out == ""


def test_a_list_of_sweeps_fits_eighty_characters(home: Path, monkeypatch):
    run(home, limits={"trials": 2, "epochs": 1})
    monkeypatch.setattr(printing, "line_width", lambda: 80)
    titles, row = printed("list", home=home).splitlines()
    assert titles.split()[-1] == "started_at" and re.fullmatch(r".* \d{4}-\d\d-\d\d \d\d:\d\d", row)


def test_a_note_of_validate_is_one_line_in_a_pipe(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("def train(config): ...\n")
    parameters = "{x: {min: 0, max: 1}}"
    spec = f"trainable: train.py:train\nmetric: {{name: loss, goal: minimize}}\nparameters: {parameters}\n"
    Path("net.yaml").write_text(spec)
    note = "Note: net.yaml:3: parameters.x: takes only the values 0 and 1, since both bounds are whole numbers. Write"
    wanted = f"{note} {{min: 0.0, max: 1.0}} for a number between them, or {{values: [0, 1]}} for a choice."
    assert wanted in printed("validate", "net.yaml", home=Path("sweeps")).splitlines()
