"""What `list` and `show` print: of finished and running sweeps, and of hostile texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.errors import LedgerError
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import best_of
from hpsearch.ledger.store import Ledger
from hpsearch.results.summaries import ahead_lines, headline
from hpsearch.slots.protocol import Failed
from tests.support.curves import Landscape, run

HARM = "=1+1\x9b2J\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>=1+1\u202e"


def printed(*words: str, home: Path) -> str:
    done = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_running_trial_is_shown_with_the_epochs_that_it_has_reported(home: Path):
    run(home, max_reports=30, early_terminate={"type": "none"}, limits={"trials": 8, "epochs": 9, "concurrent": 4})
    frame = Results(home).trials
    running = frame[frame["state"] == "running"]
    assert running["epochs_trained"].min() > 0 and running["best_val_loss"].notna().all()
    assert frame["epochs_trained"].sum() == 30
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        trial = next(each for each in ledger.current_trials(sweep) if each.state == "running")
        assert trial.last_metrics == ledger.reports_of(trial)[-1].metrics


def test_show_says_where_a_stopped_trial_was_ahead_of_the_winner(home: Path):
    run(home)
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        trials = ledger.trials(sweep)
        winner = best_of(trials, sign=sweep.sign)
        assert winner is not None
        reports = ledger.reports_of(winner)
    assert ahead_lines(sweep, trials, reports) == []
    lucky = [trial for trial in trials if trial.state == "stopped" and trial.epochs_trained == 1][:2]
    better = {trial.number: replace(trial, best_value=0.5 + 0.1 * i) for i, trial in enumerate(lucky)}
    [line] = ahead_lines(sweep, [better.get(trial.number, trial) for trial in trials], reports)
    first, second = better
    assert line.startswith(f"trial {first} (and trial {second}) were stopped while ahead of trial {winner.number}")
    assert f"at epoch 1: val_loss 0.5 against {reports[0].metrics['val_loss']:.6g}" in line


def test_trials_can_be_ranked_at_an_epoch(home: Path):
    run(home)
    text = printed("show", "--epoch", "3", home=home)
    assert "trials reached epoch 3" in text and "best_val_loss_to_epoch_3" in text
    values = [float(line.split()[-1]) for line in text.splitlines()[2:]]
    assert values == sorted(values) and len(values) > 10


@pytest.fixture
def hostile(home: Path) -> Path:
    """A sweep whose parameters, values, metrics and errors are made of escapes, HTML and formulas."""
    landscape = Landscape(
        report=lambda config, epoch: {"val_loss": 1.0 / epoch, HARM: 2.0},
        failure=lambda config: Failed(cause="user_error", evidence=HARM, elapsed_s=1.0) if config["y"] > 0.7 else None,
    )
    spec: dict[str, Any] = {"@SUM(<b>)": {"values": [HARM, {"deep": HARM}]}, "y": {"min": 0.0, "max": 1.0}}
    run(home, parameters=spec, landscape=landscape, printed=HARM, limits={"trials": 8, "epochs": 2})
    return home


VERBS = ["list", "show", "show --trial 1", "show --epoch 1", "show --failures", "best", "compare curves"]


@pytest.mark.parametrize("verb", [*VERBS, "list --json", "show --json", "show --failures --json", "export -o -"])
def test_a_terminal_gets_no_control_characters_that_others_wrote(hostile: Path, verb: str):
    text = printed(*verb.split(), home=hostile)
    assert text and all(character.isprintable() or character == "\n" for character in text)


def test_a_notebook_runs_nothing_that_others_wrote(hostile: Path):
    results = Results(hostile)
    text = results._repr_html_()
    assert "<script" not in text and "<b>" not in text and "&lt;script&gt;" in text
    assert "\x1b" not in repr(results)


def test_a_spreadsheet_runs_nothing_that_others_wrote(hostile: Path):
    results = Results(hostile)
    results.write()
    table = (hostile / "curves" / "trials.csv").read_text()
    assert "\x1b" not in table
    cells = [cell for line in table.splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.strip('"').startswith(("=", "+", "@"))]


def test_a_sweep_that_was_killed_is_distinguished_from_one_that_runs(home: Path):
    run(home, max_reports=20)
    assert printed("show", home=home).startswith("curves: was killed and can be resumed: ")
    assert printed("show", home=home).endswith(f"Resume it:        python -m hpsearch resume curves --home {home}\n")
    assert printed("list", home=home).splitlines()[1].split()[:2] == ["curves", "killed"]
    with writer_lock(home / "curves", "curves"):
        assert printed("list", home=home).splitlines()[1].split()[:2] == ["curves", "running"]
        assert printed("show", home=home).startswith("curves: runs: ")
        assert "was killed" not in repr(Results(home))


def first_row(home: Path) -> list[str]:
    lines = printed("show", home=home).splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("trial ")) + 1].split()


@pytest.mark.parametrize("max_reports", [1, 20, 30, 60, 90])
def test_show_and_list_name_the_first_row_of_the_table_as_the_best_so_far(home: Path, max_reports: int):
    run(home, max_reports=max_reports)
    with writer_lock(home / "curves", "curves"):
        number, state, *_ = first_row(home)
        said = printed("show", home=home).splitlines()[0]
        html = Results(home)._repr_html_()
        (row,) = json.loads(printed("list", "--json", home=home))
    now = {"running": ", still running", "paused": ", which is paused"}.get(state, "")
    best = next(
        each["best_val_loss"]
        for each in json.loads(printed("show", "--json", home=home))
        if each["trial"] == int(number)
    )
    assert f"; best val_loss{' so far' if now else ''} {best:.6g} in trial {number}{now}" in said
    assert f"<tr><th>{number}</th>" in html and row["best"] == best


def test_the_best_trial_that_ended_is_named_too_while_another_one_is_ahead(home: Path):
    run(home, limits={"trials": 2, "epochs": 3})
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        one, two = ledger.trials(sweep)
    ended, ahead = replace(one, state="done", best_value=0.5), replace(two, state="running", best_value=0.25)
    end = "; of those that ended 0.5 in trial 1"
    running = headline(sweep, [ended, ahead], is_alive=True)
    assert running.endswith(f"; best val_loss so far 0.25 in trial 2, still running{end}")
    killed = headline(sweep, [ended, replace(ahead, state="interrupted")], is_alive=False)
    assert killed.endswith(f"; best val_loss so far 0.25 in trial 2, which is interrupted{end}")
    assert headline(sweep, [ended, replace(ahead, state="done")]).endswith("; best val_loss 0.25 in trial 2")


def test_a_trial_that_runs_is_not_called_running_once_its_sweep_was_killed(home: Path):
    run(home, max_reports=3, early_terminate={"type": "none"})
    assert ", which was running" in printed("show", home=home).splitlines()[0]


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "optuna"])
def test_a_path_that_cannot_be_written_gives_one_sentence(home: Path, kind: str):
    run(home, limits={"trials": 1, "epochs": 1})
    path = home / "nowhere" / "table"
    done = CliRunner().invoke(app, ["export", "--to", kind, "-o", str(path), "--home", str(home)])
    assert isinstance(done.exception, LedgerError)
    assert str(done.exception).startswith(f"{path}: can't be written: No such file or directory.")
