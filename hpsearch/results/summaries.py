"""What the commands print about a sweep, as plain rows and sentences, without pandas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.errors import CAUSE_CLASSES, UnknownSweep, is_config_fault
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord, best_of, has_only_failures
from hpsearch.paths import home_option, log_path
from hpsearch.results.analysis.best import best_so_far, ranked_trials, varying_parameters
from hpsearch.results.analysis.common_epoch import ahead_of_winner, ranking
from hpsearch.results.analysis.curves import learning_curves
from hpsearch.results.analysis.failure_regions import failure_region_lines
from hpsearch.results.analysis.failures import WHAT_FOLLOWS, FailedAttempt, count_by_cause, log_tail
from hpsearch.results.rows import checkpoint_of, history_rows
from hpsearch.space.space import to_config
from hpsearch.text import counted, duration_text, printable, without_numbers
from hpsearch.text_table import ABSENT, Column, TextTable, cell_text, parameter_cells, parameter_columns

MAX_TAILS = 5
"""Logs whose last lines are printed together at most."""


def trial_summary(
    sweep: SweepRecord, trials: Iterable[TrialRecord], *, is_alive: bool | None = None
) -> tuple[TextTable, str]:
    """The table of trials that `show` prints, and the headline above it.

    Args:
        sweep: The sweep.
        trials: All its trials, those that run with their reports so far.
        is_alive: Whether a process runs it; None if that is not known.

    Returns:
        One row for each trial, best first and failed ones last, with the parameters that vary; and the sweep in a line.
    """
    trials = list(trials)
    ranked, varying = ranked_trials(sweep, trials), varying_parameters(trials)
    any_reused = any(trial.reused_from for trial in trials)
    codes = {code for trial in trials for code in trial.codes}
    columns = [
        Column(key="trial", title="trial", right=True, drop=0),
        Column(key="state", title="state", drop=0),
        *parameter_columns([trial.point for trial in trials], varying, drop=2),
        Column(key="epochs", title="epochs", right=True, drop=1),
        Column(key="best", title=printable(f"best_{sweep.metric}"), right=True, drop=0),
        Column(key="duration_s", title="duration_s", right=True, drop=3),
        *([Column(key="reused_from", title="reused_from", drop=3)] if any_reused else []),
        *([Column(key="code", title="code", drop=3)] if len(codes) > 1 else []),
    ]
    rows = tuple(_cells(trial) | parameter_cells(trial.point, varying) for trial in ranked)
    return TextTable(columns=tuple(columns), rows=rows), headline(sweep, trials, is_alive=is_alive)


def _cells(trial: TrialRecord) -> dict[str, str]:
    """The cells of a trial but for its parameters."""
    return {
        "trial": cell_text(trial.number),
        "state": cell_text(trial.state if trial.cause is None else f"{trial.state}: {trial.cause}"),
        "epochs": cell_text(trial.epochs_trained),
        "best": cell_text(trial.best_value),
        "duration_s": ABSENT if trial.duration_s is None else f"{round(trial.duration_s, 2):.5g}",
        "reused_from": cell_text(trial.reused_from),
        "code": cell_text(", ".join(trial.codes) or None),
    }


def ranking_summary(
    sweep: SweepRecord, trials: Sequence[TrialRecord], reports: Iterable[ReportRecord], epoch: int
) -> tuple[TextTable, str]:
    """The ranking of trials at an epoch that `show --epoch` prints, and a sentence; arguments as `ranking_rows`."""
    ranked = ranking(learning_curves(sweep, trials, reports), epoch)
    by_number, varying = {trial.number: trial for trial in trials}, varying_parameters(trials)
    columns = [
        Column(key="rank", title="rank", right=True, drop=0),
        Column(key="trial", title="trial", right=True, drop=0),
        Column(key="state", title="state"),
        *parameter_columns([trial.point for trial in trials], varying, drop=2),
        Column(key="best", title=printable(f"best_{sweep.metric}_to_epoch_{epoch}"), right=True, drop=0),
    ]
    rows = tuple(
        {"rank": str(each.rank), "best": cell_text(each.value)}
        | {key: _cells(by_number[each.trial])[key] for key in ("trial", "state")}
        | parameter_cells(by_number[each.trial].point, varying)
        for each in ranked
    )
    sentence = f"{sweep.name}: {len(ranked)} of {len(trials)} trials reached epoch {epoch}; failed ones are left out."
    return TextTable(columns=tuple(columns), rows=rows), sentence


def ranking_rows(
    sweep: SweepRecord, trials: Sequence[TrialRecord], reports: Iterable[ReportRecord], epoch: int
) -> list[dict[str, Any]]:
    """The ranking of trials at an epoch as plain values; a parameter that is inactive in a trial is not in its row.

    Args:
        sweep: The sweep.
        trials: All its trials.
        reports: All its reports.
        epoch: Counted from 1.

    Returns:
        One row for each trial that reached the epoch, best first, each by its best value up to there.
    """
    by_number, varying = {trial.number: trial for trial in trials}, varying_parameters(trials)
    return [
        {"rank": each.rank, "trial": each.trial, "state": by_number[each.trial].state}
        | {name: by_number[each.trial].point[name] for name in varying if name in by_number[each.trial].point}
        | {f"best_{sweep.metric}_to_epoch_{epoch}": each.value}
        for each in ranking(learning_curves(sweep, trials, reports), epoch)
    ]


def cause_rows(attempts: Iterable[FailedAttempt]) -> list[dict[str, Any]]:
    """The table of causes of failure: one row for each, the most frequent first."""
    return [
        {
            "cause": count.cause,
            "class": count.cause_class,
            "attempts": count.attempts,
            "trials": count.trials,
            "failed for good": count.final,
            "what follows": WHAT_FOLLOWS[count.cause_class],
        }
        for count in count_by_cause(attempts)
    ]


def failure_rows(attempts: Iterable[FailedAttempt]) -> list[dict[str, Any]]:
    """The table of failed attempts: one row for each, without its log."""
    return [
        {
            "trial": each.trial,
            "attempt": each.attempt,
            "cause": each.cause,
            "then": "retried" if each.was_retried else each.state,
            "evidence": each.evidence,
        }
        for each in attempts
    ]


def log_tail_lines(attempts: Iterable[FailedAttempt]) -> list[str]:
    """The last lines of the log of the first failed attempt of each kind: same cause, same line of code."""
    first: dict[tuple[str, str | None], FailedAttempt] = {}
    for attempt in attempts:
        first.setdefault((attempt.cause, attempt.place), attempt)
    lines: list[str] = []
    for each in list(first.values())[:MAX_TAILS]:
        if tail := log_tail(each.log):
            lines += ["", f"{each.log} of trial {each.trial} ({each.cause}) ends:"]
            lines += [f"    {line}" for line in tail.splitlines()]
    return lines


def note_lines(sweep: SweepRecord, trials: Iterable[TrialRecord]) -> list[str]:
    """Notes on a sweep: one line for each region where configurations fail, one if its rule could not pause."""
    lines = failure_region_lines(trials)
    rule = sweep.spec["early_terminate"]["type"]
    if sweep.can_pause is False and rule in ("asha", "hyperband"):
        advice = "Keep it (hpsearch.fit does, or current_trial().keep) and trials are paused and promoted instead."
        lines.append(f"{rule} stopped trials for good, as asha_stop does: they kept no state at a rung. {advice}")
    return lines


def source_lines(lost: Mapping[str, int]) -> list[str]:
    """A line for each sweep that trials were reused from, and that the ledger no longer has under that name.

    Args:
        lost: Its name to the number of those trials, as `sources.lost_sources` gives it.
    """
    return [
        f"reused_from: sweep '{name}' was removed or renamed since; the {counted(count, 'trial')} reused from it"
        f" {'stays' if count == 1 else 'stay'}."
        for name, count in lost.items()
    ]


def ahead_lines(sweep: SweepRecord, trials: Sequence[TrialRecord], winner_reports: Iterable[ReportRecord]) -> list[str]:
    """A sentence if stopped trials were better than the best trial had been after as many epochs; else no line."""
    found = ahead_of_winner(sweep, trials, winner_reports)
    if not found:
        return []
    first, others = found[0], [each.trial for each in found[1:]]
    who = f"trial {first.trial}" + (f" (and {_numbers(others)})" if others else "")
    was = "was" if not others else "were"
    at = f"epoch {first.epoch}: {sweep.metric} {first.value:.6g} against {first.winner_value:.6g}"
    best = best_so_far(sweep, list(trials))
    which = "the best" if best is not None and best.number == first.winner else "the best that ended"
    return [f"{who} {was} stopped while ahead of trial {first.winner}, {which}, at {at}."]


def headline(sweep: SweepRecord, trials: Iterable[TrialRecord], *, is_alive: bool | None = None) -> str:
    """The sweep in one line: its state, why it ended, how many trials are in each state, the best value.

    Args:
        sweep: The sweep.
        trials: All its trials, those that run with their reports so far.
        is_alive: Whether a process runs it; None if that is not known.
    """
    trials = list(trials)
    states = Counter(trial.state for trial in trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items()) or "no trial yet"
    killed = "was killed and can be resumed"
    runs = {None: "runs, or was killed", True: "runs", False: killed}[is_alive]
    state = {"running": runs, "done": "done", "gave_up": "gave up", "interrupted": "interrupted"}[sweep.state]
    reason = f" ({sweep.reason})" if sweep.reason else ""
    return f"{sweep.name}: {state}{reason}: {counts}{_best_text(sweep, trials, is_alive=is_alive)}"


def _best_text(sweep: SweepRecord, trials: list[TrialRecord], *, is_alive: bool | None) -> str:
    """The first trial of the table; where it has not ended also the best one that has, which `best` would give."""
    best = best_so_far(sweep, trials)
    if best is None:
        return ""
    if best.succeeded:
        return f"; best {sweep.metric} {best.best_value:.6g} in trial {best.number}"
    is_running = best.state == "running" and is_alive is not False
    now = "still running" if is_running else f"which {'was' if best.state == 'running' else 'is'} {best.state}"
    ended = best_of(trials, sign=sweep.sign)
    other = f"; of those that ended {ended.best_value:.6g} in trial {ended.number}" if ended is not None else ""
    return f"; best {sweep.metric} so far {best.best_value:.6g} in trial {best.number}, {now}{other}"


def failure_lines(sweep: SweepRecord, trials: Iterable[TrialRecord], *, home: Path) -> list[str]:
    """One line for each different failure: which trials, the cause, the first one's evidence, and its log's path.

    Numbers in the evidence that differ from trial to trial, such as process ids, make no different failure.
    """
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        if trial.state == "failed":
            groups.setdefault((trial.cause or "", without_numbers(trial.evidence or "")), []).append(trial)
    return [
        f"{_numbers([trial.number for trial in failed])} failed ({cause}): {failed[0].evidence or ''}."
        f" Log: {log_path(home / sweep.folder, failed[0].number)}"
        for (cause, _), failed in groups.items()
    ]


def next_step_lines(sweep: SweepRecord, trials: Collection[TrialRecord], *, home: Path) -> Iterator[str]:
    """What to do after a sweep that was interrupted or killed, or ended for its time limit or failures; else no line.

    Args:
        sweep: The sweep, which no process runs.
        trials: All its trials.
        home: Folder of the ledger.
    """
    resume, at = f"python -m hpsearch resume {sweep.name}", home_option(home)
    causes = {trial.cause for trial in trials if trial.state == "failed" and trial.cause is not None}
    if sweep.state in ("interrupted", "running") or (sweep.state == "gave_up" and not causes):
        yield f"Resume it:        {resume}{at}"
    elif sweep.ended_by_time_limit and not _is_complete(sweep, trials):
        span = duration_text(sweep.spec["limits"]["time"])
        yield f"Resume it:        {resume}{at}"
        yield f"                  This begins a new span of {span}, and so does the same command again."
    elif causes and all(CAUSE_CLASSES[cause] == "infra" for cause in causes):
        yield f"Try them again:   {resume} --retry-failed{at}"
    elif "~" in sweep.name and has_only_failures(sweep, trials):
        return  # it was kept when it started again under its old name
    elif has_only_failures(sweep, trials):
        if any("signal 9" in (trial.evidence or "") for trial in trials if trial.cause == "killed"):
            yield "Signal 9 often comes from the kernel, where memory ran out: `sudo dmesg` says so."
        yield "Correct it and run the same `sweep` command again: no trial succeeded, so the sweep starts again."
        if any(trial.checkpoint_epoch and not is_config_fault(trial.cause) for trial in trials):
            yield f"From checkpoints: {resume} --retry-failed --accept-changes{at}"
        if not all(map(is_config_fault, causes)):
            yield f"Without a change: {resume} --retry-failed{at}"
    elif sweep.state == "gave_up":
        yield f"Correct it, then: {resume} --retry-failed --accept-changes{at}"
    elif not all(map(is_config_fault, causes)):
        yield f"Try failed again: {resume} --retry-failed{at}"


def _is_complete(sweep: SweepRecord, trials: Collection[TrialRecord]) -> bool:
    """Whether a sweep whose time was up has no trial to continue or to add; a stopped one may have been paused."""
    wanted = sweep.spec["limits"]["trials"]
    return wanted is not None and len(trials) >= wanted and all(t.state in ("done", "reused", "failed") for t in trials)


def trial_details(
    sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord], number: int, *, home: Path
) -> dict[str, Any]:
    """Everything that the ledger has of one trial; `history` has a row for each epoch.

    Args:
        sweep: The sweep.
        trials: All its trials.
        reports: All its reports.
        number: The trial's number.
        home: Folder of the ledger.

    Raises:
        UnknownSweep: The sweep has no such trial.
    """
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        raise UnknownSweep(
            f"sweep '{sweep.name}' has no trial {number}."
            f" See `python -m hpsearch show {sweep.name}{home_option(home)}`."
        )
    history = history_rows(report for report in reports if report.number == number)
    return {
        "trial": trial.number,
        "state": trial.state,
        "cause": trial.cause,
        "evidence": trial.evidence,
        "config": to_config(dict(trial.point)),
        "epochs_trained": trial.epochs_trained,
        f"best_{sweep.metric}": trial.best_value,
        "best_epoch": trial.best_epoch,
        "started_at": trial.started_at,
        "duration_s": trial.duration_s,
        "gpu_peak_gib": trial.gpu_peak_gib,
        "host_peak_gib": trial.host_peak_gib,
        "seed": trial.seed,
        "attempts": trial.attempts,
        "reused_from": trial.reused_from,
        "checkpoint": checkpoint_of(sweep, trial, epoch=trial.checkpoint_epoch, home=home),
        "code": trial.code,
        "log": str(log_path(home / sweep.folder, number)),
        "history": [{name: value for name, value in row.items() if name != "trial"} for row in history],
    }


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
    return f"trial {shown}" if len(numbers) == 1 else f"{len(numbers)} trials ({shown})"
