"""Exports a sweep for TensorBoard: one run for each trial, with its curves and its hyperparameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hpsearch.ledger.records import SUCCESS_STATES, ReportRecord, SweepRecord, TrialRecord
from hpsearch.links import make_folder
from hpsearch.paths import replace_file
from hpsearch.plain import canonical
from hpsearch.results.export import event_files
from hpsearch.results.export.event_files import Parameter, Status

FILE_NAME = "events.out.tfevents.0.hpsearch"
"""Name of the one file in each run's folder, always the same, so that a second export replaces the first."""


def write_tensorboard(
    sweep: SweepRecord, trials: Iterable[TrialRecord], reports: Iterable[ReportRecord], folder: Path
) -> int:
    """Write a folder for `tensorboard --logdir`; runs of an earlier export are replaced.

    Args:
        sweep: The sweep.
        trials: Its trials; each becomes the run `trial-NNNN`.
        reports: The reports of all trials; each metric becomes a curve over epochs.
        folder: Where the runs are written; made if needed.

    Returns:
        Number of runs written.

    Raises:
        LinkRefused: A run's folder is a link.
        OSError: A file can't be written.
    """
    by_trial: dict[int, list[ReportRecord]] = defaultdict(list)
    for report in reports:
        by_trial[report.number].append(report)
    folder.mkdir(parents=True, exist_ok=True)
    num_runs = 0
    for trial in trials:
        path = folder / f"trial-{trial.number:04d}" / FILE_NAME
        make_folder(path.parent, parts=1)
        # in one step: a running TensorBoard may read the file at any time
        replace_file(path, event_files.event_file(_events(sweep, trial, by_trial[trial.number])))
        num_runs += 1
    return num_runs


def _events(sweep: SweepRecord, trial: TrialRecord, reports: list[ReportRecord]) -> Iterator[bytes]:
    start_s = datetime.fromisoformat(trial.started_at).timestamp()
    end_s = start_s + (trial.duration_s or 0.0)
    yield event_files.session_start(_parameters(trial.point), at_s=start_s)
    tags = _labels(dict.fromkeys(name for report in reports for name in report.metrics))
    for report in reports:
        for name, value in report.metrics.items():
            yield event_files.scalar(tags[name], value, step=report.epoch, at_s=start_s + report.elapsed_s)
    if trial.best_value is not None and trial.best_epoch is not None:
        tag = f"best/{_label(sweep.metric)}"
        yield event_files.scalar(tag, trial.best_value, step=trial.best_epoch, at_s=end_s)
    yield event_files.session_end(_status(trial), at_s=end_s)


def _status(trial: TrialRecord) -> Status:
    if trial.state in SUCCESS_STATES:
        return Status.SUCCESS
    return Status.FAILURE if trial.state == "failed" else Status.RUNNING


def _parameters(point: Mapping[str, Any]) -> dict[str, Parameter]:
    """Every parameter, constants included; values that are neither text nor number are JSON text."""
    labels = _labels(point)
    return {
        labels[name]: value if isinstance(value, str | bool | int | float) else canonical(value)
        for name, value in point.items()
    }


def _labels(names: Iterable[str]) -> dict[str, str]:
    """Name to label; no two names have the same label."""
    found: dict[str, str] = {}
    for name in names:
        label = _label(name)
        while label in found.values():
            label += "_"
        found[name] = label
    return found


def _label(name: str) -> str:
    """A name without control characters and without slashes, of which TensorBoard would make groups."""
    return "".join("_" if sign == "/" or not sign.isprintable() else sign for sign in name)
