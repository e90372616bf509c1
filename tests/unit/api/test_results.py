"""Rows, tables, files and what is shown, out of a ledger that the tests write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hpsearch
from hpsearch.api.results import Results
from hpsearch.errors import UnknownSweep
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.best import best_spec
from hpsearch.results.rows import history_rows, trial_columns, trial_rows
from hpsearch.results.summaries import failure_lines, headline, next_step_lines, trial_details, trial_summary
from hpsearch.spec.sweep import Sweep
from tests.support.checkpoints import write_checkpoint

SPEC = Sweep.from_dict(
    {
        "name": "demo",
        "trainable": "a:b",
        "metric": {"name": "loss", "goal": "minimize"},
        "method": "optuna",
        "parameters": {"lr": {"min": 1e-4, "max": 1e-1, "log": True}, "kind": {"values": ["a", {"x": 1}]}, "fixed": 3},
        "early_terminate": {"type": "asha"},
        "limits": {"trials": 5, "epochs": 9},
    }
).to_dict()


def fill(home: Path, points: list[dict[str, Any]] | None = None) -> SweepRecord:
    """Four trials: two good ones, one that failed, one that runs."""
    points = points or [
        {"lr": 0.1, "kind": "a"},
        {"lr": 0.01, "kind": {"x": 1}},
        {"lr": 0.02, "kind": "a"},
        {"lr": 0.03, "kind": "a"},
    ]
    ends: list[dict[str, Any]] = [
        {
            "state": "done",
            "best_value": 0.5,
            "best_epoch": 2,
            "epochs_trained": 2,
            "last_metrics": {"loss": 0.5, "acc": 0.9},
        },
        {
            "state": "stopped",
            "best_value": 0.25,
            "best_epoch": 1,
            "epochs_trained": 1,
            "last_metrics": {"loss": 0.25},
            "checkpoint_epoch": 1,
        },
        {
            "state": "failed",
            "cause": "user_error",
            "evidence": "ValueError: <b>no</b> (f.py:3 in train)",
            "best_value": 0.01,
            "best_epoch": 1,
        },
        {"state": "running"},
    ]
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        for number, (point, end) in enumerate(zip(points, ends, strict=True), 1):
            row = ledger.add_trial(sweep, number, point={**point, "fixed": 3}, seed=0)
            for epoch in range(1, end.get("epochs_trained", 0) + 1):
                ledger.add_report(row, epoch=epoch, metrics={"loss": 1 / epoch, "epoch": epoch}, elapsed_s=float(epoch))
            ledger.update_trial(row, **end)
    return sweep


def test_every_row_has_every_column_in_order(home: Path):
    sweep = fill(home)
    with Ledger(home) as ledger:
        trials = ledger.trials(sweep)
    write_checkpoint(home / "demo" / "trials" / "0002" / "checkpoint", 1)
    rows = trial_rows(sweep, trials, home=home)
    assert [list(row) for row in rows] == [trial_columns(sweep, trials).names] * 4
    assert [row["last_acc"] for row in rows] == [0.9, None, None, None]
    assert [row["checkpoint"] for row in rows] == [
        None,
        "demo/trials/0002/checkpoint/epoch-000001.rank-0.pt",
        None,
        None,
    ]


def test_names_that_collide_with_fixed_columns_get_a_prefix(home: Path):
    names = ("state", "last_loss", "best_loss", "trial", "epochs_trained")
    sweep = fill(home, [dict.fromkeys(names, i) for i in range(4)])
    with Ledger(home) as ledger:
        rows = trial_rows(sweep, ledger.trials(sweep), home=home)
        history = history_rows(ledger.reports(sweep))
    assert {f"param.{name}" for name in names} <= rows[0].keys()
    assert (rows[0]["state"], rows[0]["param.state"]) == ("done", 0)
    assert history[0]["metric.epoch"] == history[0]["epoch"] == 1


def test_the_frames_have_types_that_hold_missing_values(home: Path):
    fill(home)
    results = Results(home, "demo")
    trials, history = results.trials, results.history
    assert trials.dtypes[["trial", "state", "best_loss", "duration_s"]].astype(str).tolist() == [
        "Int64",
        "string",
        "Float64",
        "Float64",
    ]
    assert trials["best_loss"].isna().tolist() == [False, False, False, True]
    assert history[["trial", "epoch"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1]]


def test_a_home_may_be_text(home: Path):
    fill(home)
    assert Results(str(home), "demo").home == home


def test_an_empty_sweep_has_empty_tables(home: Path):
    with Ledger(home, create=True) as ledger:
        ledger.add_sweep("demo", SPEC)
    results = Results(home)
    assert len(results.trials) == len(results.history) == len(results.failed) == 0
    assert results.best is None
    assert "best_loss" in results.trials.columns
    results.folder.mkdir(exist_ok=True)
    results.write()


def test_files_come_back_as_they_were(home: Path):
    fill(home)
    results = Results(home)
    results.folder.mkdir(exist_ok=True)
    results.write()
    parquet = pd.read_parquet(results.folder / "trials.parquet")
    assert parquet["lr"].tolist() == results.trials["lr"].tolist()
    assert parquet["kind"].tolist()[1] == '{"x":1}'
    assert len(pd.read_csv(results.folder / "trials.csv")) == 4
    assert len(pd.read_parquet(results.folder / "history.parquet")) == 3
    assert not [path for path in results.folder.iterdir() if path.name.startswith(".")], "nothing half written is left"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@cmd", "\t=1"])
def test_a_formula_in_a_csv_is_text(home: Path, text: str):
    fill(home, [{"note": text}] * 4)
    results = Results(home)
    results.folder.mkdir(exist_ok=True)
    results.write()
    assert pd.read_csv(results.folder / "trials.csv")["note"].tolist() == [f"'{text}"] * 4


def test_the_best_is_the_best_that_succeeded(home: Path):
    fill(home)
    best = Results(home).best
    assert best is not None
    assert (best.trial, best.value, best.epoch) == (2, 0.25, 1)
    assert best.config == {"lr": 0.01, "kind": {"x": 1}, "fixed": 3}


def test_the_checkpoint_of_the_best_epoch_and_the_newest_are_found(home: Path):
    fill(home)
    folder = home / "demo" / "trials" / "0002" / "checkpoint"
    write_checkpoint(folder, 1)
    write_checkpoint(folder, 9)
    paths = [str(folder / f"epoch-00000{epoch}.rank-0.pt") for epoch in (1, 9)]
    best = Results(home).best
    assert best is not None and (best.checkpoint, best.newest_checkpoint) == (paths[0], paths[0])
    with Ledger(home) as ledger:
        trial = ledger.trials(ledger.sweep("demo"))[1]
        ledger.update_trial(trial.id, checkpoint_epoch=9, best_epoch=3)
    best = Results(home).best
    assert best is not None and (best.checkpoint, best.newest_checkpoint) == (None, paths[1])


def test_load_opens_a_sweep_by_its_name_or_the_newest(home: Path, monkeypatch: pytest.MonkeyPatch):
    fill(home)
    with Ledger(home) as ledger:
        ledger.add_sweep("later", SPEC)
    assert hpsearch.load("demo", home=home).best == Results(home, "demo").best
    monkeypatch.setenv("HPSEARCH_HOME", str(home))
    assert (hpsearch.load().name, hpsearch.load("demo").name) == ("later", "demo")
    monkeypatch.delenv("HPSEARCH_HOME")
    monkeypatch.chdir(home.parent)
    home.rename("sweeps")
    assert hpsearch.load().home == Path("sweeps")


def test_load_says_which_sweeps_there_are(home: Path):
    with pytest.raises(hpsearch.UnknownSweep, match=r"there is no ledger here yet.*in Python home="):
        hpsearch.load(home=home)
    fill(home)
    with pytest.raises(hpsearch.UnknownSweep, match="Did you mean 'demo'"):
        hpsearch.load("dmeo", home=home)


def test_the_failed_come_with_cause_evidence_and_log(home: Path):
    fill(home)
    failed = Results(home).failed
    assert failed[["trial", "cause"]].to_numpy().tolist() == [[3, "user_error"]]
    assert failed["log"][0].endswith("demo/trials/0003/log.txt")


def test_the_html_is_small_static_and_escaped(home: Path):
    fill(home, [{"<script>alert(1)</script>": f"<img src=x onerror=alert({i})>"} for i in range(4)])
    text = Results(home)._repr_html_()
    assert "<script" not in text and "<img" not in text and "&lt;img" in text
    assert len(text) < 100_000


def test_the_repr_is_one_line(home: Path):
    fill(home)
    text = repr(Results(home))
    assert "\n" not in text and "demo" in text and "1 failed" in text and "0.25" in text


def test_the_summary_ranks_by_value_and_shows_what_varies(home: Path):
    sweep = fill(home)
    with Ledger(home) as ledger:
        table, note = trial_summary(sweep, ledger.trials(sweep))
    assert [row["trial"] for row in table.rows] == ["2", "1", "4", "3"], "what failed comes last, whatever it reported"
    titles = [column.title for column in table.columns]
    assert "fixed" not in titles and "lr" in titles
    assert "best loss 0.25 in trial 2" in note


def test_equal_failures_are_listed_once(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        for number in range(1, 12):
            row = ledger.add_trial(sweep, number, point={}, seed=0)
            ledger.update_trial(row, state="failed", cause="user_error", evidence="E at f:1" if number > 1 else "other")
        lines = failure_lines(sweep, ledger.trials(sweep), home=home)
    assert len(lines) == 2
    assert lines[0] == f"trial 1 failed (user_error): other. Log: {home}/demo/trials/0001/log.txt"
    assert lines[1].startswith("10 trials (2, 3, 4, 5, 6, 7, 8, 9, ...) failed")


def test_failures_that_differ_in_numbers_alone_are_listed_once_with_those_of_the_first(home: Path):
    killed = "rank 0 (process {}) was killed by signal {}"
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        for number, evidence in enumerate([killed.format(411, 9), killed.format(77, 9), killed.format(5, 11)], 1):
            row = ledger.add_trial(sweep, number, point={}, seed=0)
            ledger.update_trial(row, state="failed", cause="killed", evidence=evidence)
        lines = failure_lines(sweep, ledger.trials(sweep), home=home)
    assert lines[0].startswith("2 trials (1, 2) failed (killed): rank 0 (process 411) was killed by signal 9. Log: ")
    assert lines[1].startswith("trial 3 failed (killed): rank 0 (process 5) was killed by signal 11. Log: ")


SAME_COMMAND = "Correct it and run the same `sweep` command again: no trial succeeded, so the sweep starts again."
RESUME = "python -m hpsearch resume demo"
UNCHANGED = f"Without a change: {RESUME} --retry-failed"


@pytest.mark.parametrize(
    ("sweep_state", "trials", "steps"),
    [
        ("gave_up", [{"cause": "bad_metric"}] * 3, [SAME_COMMAND]),
        ("gave_up", [{"cause": "user_error"}] * 3, [SAME_COMMAND, UNCHANGED]),
        ("gave_up", [{"cause": "killed"}] * 3 + [{"state": "interrupted"}], [SAME_COMMAND, UNCHANGED]),
        ("done", [{"cause": "diverged"}, {"cause": "oom_gpu"}], [SAME_COMMAND]),
        (
            "gave_up",
            [{"cause": "user_error", "epochs_trained": 9, "checkpoint_epoch": 9}] * 3,
            [SAME_COMMAND, f"From checkpoints: {RESUME} --retry-failed --accept-changes", UNCHANGED],
        ),
        ("done", [{"cause": "diverged", "epochs_trained": 9, "checkpoint_epoch": 9}], [SAME_COMMAND]),
        (
            "gave_up",
            [{"cause": "user_error"}, {"state": "interrupted", "epochs_trained": 2}],
            [f"Correct it, then: {RESUME} --retry-failed --accept-changes"],
        ),
        (
            "gave_up",
            [{"cause": "user_error"}, {"state": "done"}],
            [f"Correct it, then: {RESUME} --retry-failed --accept-changes"],
        ),
        ("gave_up", [{"state": "interrupted"}], [f"Resume it:        {RESUME}"]),
        ("interrupted", [{"cause": "user_error"}, {"state": "interrupted"}], [f"Resume it:        {RESUME}"]),
        ("done", [{"cause": "gpu_fault"}, {"state": "done"}], [f"Try them again:   {RESUME} --retry-failed"]),
        ("done", [{"cause": "user_error"}, {"state": "done"}], [f"Try failed again: {RESUME} --retry-failed"]),
        ("done", [{"state": "done"}], []),
        ("running", [{"state": "running"}], [f"Resume it:        {RESUME}"]),
    ],
)
def test_after_failures_the_next_step_is_named(home: Path, sweep_state, trials, steps):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        for number, values in enumerate(trials, 1):
            row = ledger.add_trial(sweep, number, point={}, seed=0)
            ledger.update_trial(row, **{"state": "failed", "evidence": "E", **values})
        if sweep_state != "running":
            ledger.end_sweep(sweep, sweep_state)
        found = list(next_step_lines(ledger.sweep("demo"), ledger.trials(sweep), home=home))
    assert found == [f"{step} --home {home}" if RESUME in step else step for step in steps]


def test_a_sweep_that_was_kept_when_it_started_again_has_no_next_step(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo~1", SPEC)
        ledger.update_trial(ledger.add_trial(sweep, 1, point={}, seed=0), state="failed", cause="user_error")
        ledger.end_sweep(sweep, "gave_up")
        assert not list(next_step_lines(ledger.sweep("demo~1"), ledger.trials(sweep), home=home))


def test_a_sweep_whose_trials_were_killed_by_signal_9_says_where_that_often_comes_from(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        row = ledger.add_trial(sweep, 1, point={}, seed=0)
        evidence = "rank 0 (process 411) was killed by signal 9 (Killed)"
        ledger.update_trial(row, state="failed", cause="killed", evidence=evidence)
        ledger.end_sweep(sweep, "gave_up")
        lines = list(next_step_lines(ledger.sweep("demo"), ledger.trials(sweep), home=home))
    assert lines[:2] == [
        "Signal 9 often comes from the kernel, where memory ran out: `sudo dmesg` says so.",
        SAME_COMMAND,
    ]


def test_the_best_spec_is_a_spec_of_one_trial(home: Path):
    sweep = fill(home)
    with Ledger(home) as ledger:
        tree, note = best_spec(sweep, ledger.trials(sweep))
    checked = Sweep.from_dict(tree)
    assert checked.max_trials == 1 and checked.name == "demo-best" and checked.early_terminate.type == "none"
    assert checked.space.constants == {"lr": 0.01, "kind": {"x": 1}, "fixed": 3}
    assert checked.max_epochs == 9
    assert "trial 2" in note


def test_the_best_spec_spells_out_lists_which_would_read_as_a_search(home: Path):
    layers = [{"min": 16, "max": 64}, 3]
    sweep = fill(home, [{"layers": layers, "sizes": [1, 2]}] * 4)
    with Ledger(home) as ledger:
        tree, _ = best_spec(sweep, ledger.trials(sweep))
    sweep_again = Sweep.from_dict(tree)
    assert sweep_again.space.constants == {"layers": layers, "sizes": [1, 2], "fixed": 3}
    assert sweep_again.surprises == ()


def test_a_sweep_without_a_success_has_no_best_spec(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", SPEC)
        with pytest.raises(UnknownSweep, match="no successful trial"):
            best_spec(sweep, [])
        assert "no trial yet" in headline(sweep, [])


def test_one_trial_is_shown_with_its_epochs(home: Path):
    sweep = fill(home)
    with Ledger(home) as ledger:
        details = trial_details(sweep, ledger.trials(sweep), ledger.reports(sweep), 1, home=home)
        with pytest.raises(UnknownSweep, match="no trial 9"):
            trial_details(sweep, ledger.trials(sweep), [], 9, home=home)
    assert [row["epoch"] for row in details["history"]] == [1, 2]
    assert details["config"] == {"lr": 0.1, "kind": "a", "fixed": 3}


def test_columns_stay_apart_whatever_users_call_things(home: Path):
    sweep = fill(home, [{"seed": i, "param.seed": i, "last_loss": i} for i in range(4)])
    with Ledger(home) as ledger:
        names = trial_columns(sweep, ledger.trials(sweep)).names
    assert len(names) == len(set(names))
    epoch = SweepRecord(**{**vars(sweep), "spec": {**sweep.spec, "metric": {"name": "epoch", "goal": "minimize"}}})
    names = trial_columns(epoch, []).names
    assert len(names) == len(set(names)) and "metric.best_epoch" in names


def test_json_keeps_every_digit(home: Path, tmp_path: Path):
    from hpsearch.results.tables import write_json

    fill(home, [{"lr": 1.23456789012345e-12}] * 4)
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        write_json(trial_rows(sweep, ledger.trials(sweep), home=home), tmp_path / "t.json")
    rows = json.loads((tmp_path / "t.json").read_text())
    assert rows[0]["lr"] == 1.23456789012345e-12
    assert rows[3]["best_loss"] is None


def test_the_best_spec_of_a_conditional_space_is_a_spec(home: Path):
    tree = {
        **SPEC,
        "parameters": {
            "kind": {"values": ["a", "b"]},
            "lr": {"min": 0.1, "max": 1.0},
            "momentum": {"min": 0.0, "max": 0.9, "when": {"kind": "a"}},
            "half": {"expr": "lr / 2"},
        },
        "constraints": ["lr < 0.9"],
        "initial_points": [{"kind": "b", "lr": 0.2}],
    }
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("demo", Sweep.from_dict(tree).to_dict())
        row = ledger.add_trial(sweep, 1, point={"kind": "b", "lr": 0.2, "half": 0.1}, seed=0)
        ledger.update_trial(row, state="done", best_value=1.0, best_epoch=1)
        best, _ = best_spec(sweep, ledger.trials(sweep))
    assert Sweep.from_dict(best).space.constants == {"kind": "b", "lr": 0.2, "half": 0.1}


def test_the_summary_says_what_was_reused_and_what_ran_with_other_code(home: Path):
    record = fill(home)
    with Ledger(home) as ledger:
        plain, _ = trial_summary(record, ledger.trials(record))
        assert not {"reused_from", "code"} & {column.key for column in plain.columns}, "while there is nothing to say"
        rows = {trial.number: trial.id for trial in ledger.trials(record)}
        ledger.update_trial(rows[1], reused_from="other/7", code_hash="1" * 64)
        ledger.update_trial(rows[2], code_hash="2" * 64)
        table, _ = trial_summary(record, ledger.trials(record))
    shown = {row["trial"]: row for row in table.rows}
    assert {"reused_from", "code"} <= {column.key for column in table.columns}
    assert (shown["1"]["reused_from"], shown["1"]["code"]) == ("other/7", "1" * 12)
    assert (shown["2"]["reused_from"], shown["2"]["code"]) == ("-", "2" * 12)
