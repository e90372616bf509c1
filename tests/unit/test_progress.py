"""What is shown while a sweep runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hpsearch.progress import Lines, LiveTable, Standing, duration_text, headline
from hpsearch.sweep import Sweep
from hpsearch.trial_run import TrialRun

SWEEP = Sweep.from_dict(
    {
        "name": "demo",
        "metric": {"name": "acc", "goal": "maximize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}, "note": {"values": ["[red]a[/red]", "b"]}},
        "limits": {"trials": 4, "epochs": 9},
    }
)


def trial(number: int, *values: float, state: str = "running") -> TrialRun:
    losses = {epoch: -value for epoch, value in enumerate(values, 1)}
    best = min(losses, key=losses.__getitem__) if losses else None
    return TrialRun(
        number=number,
        point={"lr": 0.123456, "note": "[red]a[/red]"},
        row=number,
        state=state,
        epochs=len(values),
        losses=losses,
        best_epoch=best,
        past_s=1.5,
    )  # type: ignore[arg-type]


def test_the_headline_counts_and_names_the_best():
    now = [0.0]
    standing = Standing(SWEEP, clock=lambda: now[0])
    first, second = trial(1, 0.5, 0.9), trial(2, 0.7)
    for each in (first, second):
        standing.on_start(each)
        standing.on_report(each)
    now[0] = 10.0
    first.state = "done"
    standing.on_end(first)
    assert str(headline(standing)) == "1/4 trials (1 done) | 1 running | best acc 0.9 (trial 1) | about 30 s to go"


def test_a_paused_trial_that_is_promoted_is_counted_once():
    standing = Standing(SWEEP)
    each = trial(1, 0.5, state="paused")
    standing.on_end(each)
    assert standing.ended == 1
    standing.on_start(each)
    assert standing.ended == 0
    each.state = "done"
    standing.on_end(each)
    assert (standing.ended, str(headline(standing)).startswith("1/4 trials (1 done)")) == (1, True)


def test_trials_that_go_further_after_the_end_are_counted_once():
    past = [trial(number, 0.5, state="done") for number in (1, 2, 3, 4)]
    standing = Standing(SWEEP, past=past)
    assert standing.ended == 4
    for each in past:
        standing.on_start(each)
        assert standing.ended == 3
        standing.on_end(each)
    assert (standing.ended, standing.states["done"]) == (4, 4)


def test_a_pipe_gets_one_line_for_each_trial():
    lines: list[str] = []
    standing = Standing(SWEEP)
    observer = Lines(standing, lines.append)
    failed = trial(2, state="failed")
    failed.cause, failed.evidence = "oom_gpu", "too large"
    for each in (trial(1, 0.5, state="done"), failed):
        observer.on_start(each)
        observer.on_report(each)
        standing.on_end(each)
        observer.on_end(each)
    assert lines[0].startswith("[1/4] + trial 1 done after 1 epochs, 1.5 s: acc 0.5 (lr=0.123 ")
    assert "oom_gpu: too large" in lines[1]


@pytest.mark.parametrize("width", [60, 200])
def test_the_live_table_draws_what_users_wrote_as_text(width):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, legacy_windows=False)
    standing = Standing(SWEEP)
    with LiveTable(standing, console) as table:
        each = trial(1, 0.5)
        for observer in (standing, table):
            observer.on_start(each)
        standing.on_report(each)
    text = stream.getvalue()
    assert "0/4 trials" in text or "1 running" in text
    if width == 200:
        assert "[red]a[/red]" in text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3661, "1 h 01 min")])
def test_durations_are_said_as_a_person_would(seconds, text):
    assert duration_text(seconds) == text
