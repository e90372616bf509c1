"""What is shown while a sweep runs."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from hpsearch.engine.status import IdleReason
from hpsearch.engine.trial import Trial
from hpsearch.ledger.records import TrialState
from hpsearch.live.cells import scale_of, sparkline
from hpsearch.live.frame import Extras, frame
from hpsearch.live.lines import Lines
from hpsearch.live.progress import DriverStatus, SweepProgress, describe, headline
from hpsearch.live.terminal import ProgressView, Screen, Ticker
from hpsearch.spec.sweep import Sweep
from hpsearch.text import duration_text
from hpsearch.text_table import Column

SWEEP = Sweep.from_dict(
    {
        "name": "demo",
        "metric": {"name": "acc", "goal": "maximize"},
        "parameters": {
            "net": {"lr": {"min": 0.0, "max": 1.0}},
            "note": {"values": ["[red]a[/red]", "b", "\x1b[2J"]},
            "same": {"values": [1, 2]},
        },
        "early_terminate": {"type": "asha", "min_iter": 1, "eta": 3},
        "limits": {"trials": 4, "epochs": 9},
    }
)


def trial(number: int, *values: float, state: TrialState = "running", **point: object) -> Trial:
    losses = {epoch: -value for epoch, value in enumerate(values, 1)}
    best = min(losses, key=losses.__getitem__) if losses else None
    return Trial(
        number=number,
        point={"net.lr": number / 8.1, "note": "[red]a[/red]", "same": 1, **point},
        ledger_id=number,
        state=state,
        epochs=len(values),
        losses=losses,
        best_epoch=best,
        past_s=1.5,
    )


def progress_of(*trials: Trial, reason: IdleReason | None = None, sweep: Sweep = SWEEP) -> SweepProgress:
    """The progress of a sweep with these trials; its time of day is 100."""
    numbered = {each.number: each for each in trials}
    status = DriverStatus(concurrent=2, idle_reason=reason)
    progress = SweepProgress(sweep, numbered, lambda: status, clock=lambda: 0.0, wall_clock=lambda: 100.0)
    for each in trials:
        if each.state != "running":
            progress.on_end(each)
    return progress


def text_of(progress: SweepProgress, *, width: int = 200, height: int = 40, extras: Extras | None = None) -> str:
    return "\n".join(line for line, _ in frame(progress, width=width, height=height, extras=extras))


def test_the_headline_counts_and_names_the_best():
    progress = progress_of(trial(1, 0.5, 0.9, state="done"), trial(2, 0.7))
    text = headline(progress)
    assert text.startswith("1/4 trials (1 done) | 1 running | best acc 0.9 (trial 1) | about ")
    assert text.endswith(" to go")


def test_the_headline_says_where_the_best_trial_still_runs():
    progress = progress_of(trial(1, 0.5, 0.6, state="done"), trial(2, 0.7))
    assert " | best acc 0.7 (trial 2, still running)" in headline(progress)


def test_a_sweep_that_is_over_has_no_time_to_go():
    assert (
        headline(progress_of(trial(1, 0.5, state="done"))) == "1/4 trials (1 done) | 0 running | best acc 0.5 (trial 1)"
    )


def test_a_trial_that_is_promoted_is_no_longer_counted_as_paused():
    each = trial(1, 0.5, state="paused")
    progress = progress_of(each)
    assert (progress.states.total(), progress.state_text(each)) == (1, "paused at 1")
    each.state = "running"
    assert (progress.states.total(), progress.state_text(each)) == (0, "promoted to 3")
    each.state = "done"
    progress.on_end(each)
    assert (progress.states.total(), len(progress.latest)) == (1, 1)


def test_a_trial_that_failed_is_not_the_best():
    assert progress_of(trial(1, 0.9, state="failed"), trial(2, 0.7)).best.number == 2  # type: ignore[union-attr]


def test_only_parameters_that_differ_are_shown():
    text = text_of(progress_of(trial(1, 0.5), trial(2, 0.6)))
    titles = next(line for line in text.splitlines() if "epoch" in line)
    assert " lr" in titles
    assert "note" not in titles and "same" not in titles


def test_a_parameter_that_some_trials_do_not_have_differs():
    one, two = trial(1, 0.5), trial(2, 0.6)
    del two.point["same"]
    assert progress_of(one, two).varying == ["net.lr", "same"]


@pytest.mark.parametrize(("width", "height"), [(40, 8), (80, 24), (160, 50), (300, 10)])
def test_the_frame_fits_the_screen(width: int, height: int):
    trials = [trial(number, *(0.1 * number / epoch for epoch in range(1, 30)), note="x" * 90) for number in range(60)]
    for each in trials[:40]:
        each.state = "done"
    reason = IdleReason(kind="rung", text="w" * 300, since=40.0)
    lines = frame(progress_of(*trials, trial(99), reason=reason), width=width, height=height)
    assert len(lines) <= height
    assert all(len(line) <= width for line, _ in lines)


def test_what_does_not_fit_is_counted():
    progress = progress_of(*(trial(number, 0.5, note=str(number)) for number in range(1, 21)))
    assert text_of(progress, height=12).splitlines()[-1] == "(11 more trials running)"
    narrow = text_of(progress, width=50).splitlines()[-1]
    assert narrow.startswith("(columns not shown: ") and "curve, last" in narrow


def test_running_trials_come_first_then_the_best_then_the_latest():
    trials = [trial(number, 0.1 * number, state="stopped") for number in range(1, 9)]
    best, running = trial(9, 5.0, state="done"), trial(10, 0.2)
    text = text_of(progress_of(best, *trials, running), height=8)
    numbers = [line.split()[1] for line in text.splitlines() if line[:1] in "+->"]
    assert numbers == ["10", "9", "8", "7", "6"]


def test_the_frame_says_why_no_trial_begins_and_for_how_long():
    reason = IdleReason(kind="elsewhere", text="trial 7 waits for another sweep", since=30.0)
    assert "No trial begins: trial 7 waits for another sweep (for 1 min 10 s)" in text_of(progress_of(reason=reason))


def test_a_reason_that_has_just_arisen_has_no_duration():
    reason = IdleReason(kind="stopping", text="the sweep ends", since=99.9996)
    assert text_of(progress_of(reason=reason)).splitlines()[1] == "No trial begins: the sweep ends"


def test_a_search_method_that_computes_for_an_instant_is_not_mentioned():
    thinks = [IdleReason(kind="searcher", text="the search method thinks", since=since) for since in (99.9, 98.0)]
    assert [progress_of(reason=reason).idle_reason for reason in thinks] == [None, thinks[1]]


def test_extra_columns_are_shown_beside_the_trials():
    extras = Extras(notes=["CPU 3 %\x1b"], columns=[Column(key="gpu", title="GPU")], cells={1: {"gpu": "0: 87 %"}})
    text = text_of(progress_of(trial(1, 0.5), trial(2)), extras=extras)
    assert "CPU 3 %?" in text and "0: 87 %" in text


def test_nothing_that_users_wrote_reaches_the_terminal_as_a_command():
    hostile: Mapping[str, object] = {"note": "\x1b[2J\nx"}
    lines: list[str] = []
    failed = trial(2, state="failed", **hostile)
    failed.cause, failed.evidence = "user_error", "ValueError: \x1b]0;title\x07"
    progress = progress_of(trial(1, 0.5), failed)
    Lines(progress, lines.append).on_end(failed)
    for text in (*lines, *text_of(progress).splitlines()):
        assert text.isprintable()


def test_curves_are_drawn_on_one_scale_and_keep_their_shape():
    falling, high = [9.0, 1.0, 0.5, 0.1], [2.0, 2.0, 2.0, 2.0]
    scale = scale_of([falling, high], sign=1)
    assert scale == (0.1, 2.0)
    assert sparkline(falling, scale=scale, width=10) == "█▄▂▁"
    assert sparkline(high, scale=scale, width=10) == "████"


def test_a_curve_where_higher_is_better_is_cut_at_its_low_end():
    scale = scale_of([[-50.0, 0.5, 0.6, 0.7, 0.8, 0.9]], sign=-1)
    assert scale == (0.5, 0.9)
    assert sparkline([-50.0, 0.5, 0.9], scale=scale, width=3) == "▁▁█"


def test_a_long_curve_keeps_its_last_value():
    values = [float(epoch) for epoch in range(1000)]
    line = sparkline(values, scale=(0.0, 999.0), width=8)
    assert line == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize("values", [[], [float("nan")], [float("nan"), float("inf"), 1.0], [1.0, 1.0]])
def test_a_curve_without_a_range_is_drawn_all_the_same(values: list[float]):
    line = sparkline(values, scale=scale_of([values], sign=1), width=8)
    assert len(line) == len(values)
    assert set(line) <= set("▁?")


def test_a_pipe_gets_one_line_for_each_trial():
    lines: list[str] = []
    failed = trial(2, state="failed")
    failed.cause, failed.evidence = "oom_gpu", "too large"
    done = trial(1, 0.5, state="done")
    observer = Lines(progress_of(done), lines.append)
    observer.on_end(done)
    observer.on_end(failed)
    assert lines[0].startswith("[1/4] + trial 1 done after 1 epoch, 1.5 s: acc 0.5 (net.lr=0.123 ")
    assert "oom_gpu: too large" in lines[1]


def test_a_paused_trial_may_continue_says_its_line_which_may_be_the_last():
    lines: list[str] = []
    paused = trial(1, 0.5, state="paused")
    Lines(progress_of(paused), lines.append).on_end(paused)
    assert lines[0].startswith("[1/4] = trial 1 paused after 1 epoch, 1.5 s (may continue): acc 0.5 (net.lr=0.123 ")


def test_a_trial_of_a_space_without_a_choice_has_no_empty_brackets():
    fixed = Sweep.from_dict(SWEEP.to_dict() | {"parameters": {"x": 1}, "constraints": [], "initial_points": []})
    lines: list[str] = []
    done = trial(1, 0.5, state="done")
    Lines(progress_of(done, sweep=fixed), lines.append).on_end(done)
    assert lines[0].endswith(": acc 0.5")


def test_the_screen_is_drawn_on_a_terminal_and_gone_at_the_end():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200, height=30, legacy_windows=False)
    with Screen(ProgressView(progress_of(trial(1, 0.5), trial(2, 0.6, note="b"))), console) as screen:
        screen.draw()
    text = stream.getvalue()
    assert "demo | 0/4 trials | 2 running" in text
    assert "[red]a[/red]" in text
    assert text.rstrip().endswith("\x1b[2K"), "its lines are erased"


def test_a_task_of_the_display_that_raises_is_given_up_and_the_others_continue(capsys: pytest.CaptureFixture[str]):
    beats: list[int] = []

    def broken() -> None:
        raise RuntimeError("no display")

    with Ticker([broken, lambda: beats.append(1)], every_s=0.001):
        while len(beats) < 3:
            pass
    assert capsys.readouterr().err.count("RuntimeError: no display") == 1


def test_a_task_of_the_display_that_raises_once_continues(capsys: pytest.CaptureFixture[str]):
    rounds: list[int] = []

    def changes_under_its_eyes() -> None:
        rounds.append(1)
        if len(rounds) == 2:
            raise KeyError("an epoch that the main thread is just writing")

    with Ticker([changes_under_its_eyes], every_s=0.001):
        while len(rounds) < 6:
            pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.24, "0.24 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3661, "1 h 01 min")]
)
def test_durations_are_written_as_a_person_would(seconds: float, text: str):
    assert duration_text(seconds) == text


@pytest.mark.parametrize("evidence", ["short", "long " * 60])
def test_the_line_of_a_trial_has_as_many_parameters_as_fit(evidence: str):
    tree = {**SWEEP.to_dict(), "parameters": {f"p{number}": {"min": 0.0, "max": 1.0} for number in range(40)}}
    sweep, lines = Sweep.from_dict(tree), list[str]()
    each = trial(1, 0.5, state="failed")
    each.point = dict.fromkeys(sweep.space.searched, 0.123456)
    each.cause, each.evidence = "user_error", evidence.strip()
    Lines(progress_of(each, sweep=sweep), lines.append).on_end(each)
    assert f"user_error: {evidence.strip()} (p0=0.123 " in lines[0], "the evidence is never shortened"
    assert lines[0].endswith(" more)") and len(lines[0]) <= max(200, len(evidence) + 90)


def test_a_line_without_room_to_count_is_complete():
    assert describe(trial(1), SWEEP) == 'net.lr=0.123 note="[red]a[/red]" same=1'
