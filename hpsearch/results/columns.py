"""Every column of every table, declared once: name, dtype, unit, meaning. The guide's lists are made from here.

A name in angle brackets stands for several columns, which depend on the sweep: `last_<metric>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """As the user sees it."""
    dtype: str
    """The pandas dtype; all of them can hold a missing value. Empty where it depends on the values."""
    unit: str
    """Of the numbers; empty where they have none."""
    meaning: str
    """One sentence."""


BEFORE: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column("state", "string", "", "queued, running, paused, done, stopped, failed, interrupted or reused."),
    Column("cause", "string", "", "Why a failed trial failed."),
)
"""Columns of the trials before the parameters."""
PARAMETER = Column("<parameter>", "", "", "One for each parameter, by its dotted name; constants too.")
EPOCHS_TRAINED = Column("epochs_trained", "Int64", "epochs", "Reports on record.")
LAST = Column("last_<metric>", "Float64", "", "Last reported value of every metric.")
BEST = Column("best_<objective>", "Float64", "", "Best value of the objective in any epoch.")
BEST_EPOCH = Column("best_epoch", "Int64", "epochs", "Epoch of that value, from 1.")
AFTER: tuple[Column, ...] = (
    Column("started_at", "string", "", "Start of the first attempt, UTC, ISO 8601."),
    Column("duration_s", "Float64", "s", "Time of training, all attempts."),
    Column("gpu_peak_gib", "Float64", "GiB", "Most GPU memory reserved by any rank."),
    Column("host_peak_gib", "Float64", "GiB", "Most host memory resident, sum over ranks."),
    Column("seed", "Int64", "", "Seed of the trial's random numbers."),
    Column("attempts", "Int64", "", "Tries at the trial."),
    Column("reused_from", "string", "", "The trial that answered without training, as sweep/number."),
    Column(
        "checkpoint",
        "string",
        "",
        "The newest checkpoint, its epoch in its name, relative to the ledger's folder: the file of rank 0, with those"
        " of other ranks beside it, or a Ray Tune function's folder; empty where there is none.",
    ),
    Column(
        "code",
        "string",
        "",
        "Hash of the code that the trial ran with; several where it was accepted that it changed, empty where unknown.",
    ),
)
"""Columns of the trials after the metrics."""

HISTORY: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column("epoch", "Int64", "epochs", "Epoch of the report, from 1."),
    Column("<metric>", "Float64", "", "One for each metric; missing where a report did not have it."),
    Column("elapsed_s", "Float64", "s", "Time of training of this trial up to there."),
)

FAILURES: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column("attempt", "Int64", "", "Which try at the trial, from 1."),
    Column("cause", "string", "", "Why it failed, out of a closed list."),
    Column("class", "string", "", "config, infra or unknown: what follows from the cause."),
    Column("was_retried", "boolean", "", "Whether another attempt followed, or was to follow."),
    Column("state", "string", "", "How the trial stands now; only `failed` is for good."),
    Column("evidence", "string", "", "The cause in one sentence."),
    Column("place", "string", "", "`Type at file:line` of an exception."),
    Column("log", "string", "", "The trial's log, of all its attempts."),
    Column("log_tail", "string", "", "Its last lines, at most 20 and 4 KiB, without what a terminal would obey."),
)

IMPORTANCE: tuple[Column, ...] = (
    Column("parameter", "string", "", "Dotted name."),
    Column("importance", "Float64", "", "Its share in all importances, from 0 to 1."),
    Column("low", "Float64", "", "Nine times in ten the share lies above this ..."),
    Column("high", "Float64", "", "... and below this."),
    Column("epoch", "Int64", "epochs", "Trials are compared by their best value up to here."),
    Column("trials", "Int64", "", "Trials that were compared."),
)

COMPARE: tuple[Column, ...] = (
    Column("sweep", "string", "", "Its name."),
    Column("method", "string", "", "Its method, with its sampler and its stopping rule."),
    Column("state", "string", "", "running, done, gave_up or interrupted."),
    Column("trials", "Int64", "", "Trials that were begun."),
    Column("failed", "Int64", "", "Trials that failed."),
    Column("epochs", "Int64", "epochs", "Epochs that were trained, over all trials; what was reused cost none."),
    Column("training_s", "Float64", "s", "Time of training, over all trials; of those that run side by side, the sum."),
    Column("best", "Float64", "", "Best value of the objective."),
    Column("best_trial", "Int64", "", "The trial that has it."),
    Column("best_at_equal_epochs", "Float64", "", "Best value after as many epochs as the shortest of the sweeps has."),
    Column("best_at_equal_time", "Float64", "", "Best value after as much training as the shortest of the sweeps has."),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "trials": (*BEFORE, PARAMETER, EPOCHS_TRAINED, LAST, BEST, BEST_EPOCH, *AFTER),
    "history": HISTORY,
    "failures": FAILURES,
    "importance": IMPORTANCE,
    "compare": COMPARE,
}
"""Name of each table to its columns in order."""


def dtypes(columns: tuple[Column, ...]) -> dict[str, str]:
    """Name to dtype of the columns that have a fixed name."""
    return {column.name: column.dtype for column in columns if not column.name.startswith("<")}
