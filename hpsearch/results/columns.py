"""The columns of all tables: name, dtype, unit and meaning. `docs/tables.md` is made from them.

A name in angle brackets means several columns, which depend on the sweep: `last_<metric>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """Name in the table."""
    dtype: str
    """The pandas dtype, which can hold missing values; empty if it depends on the values."""
    unit: str
    """Unit of the numbers; empty if they have none."""
    meaning: str
    """What the values mean, in one sentence."""


BEFORE: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column(
        "state",
        "string",
        "",
        "State of the trial: queued, running, paused, done, stopped, failed, interrupted or reused.",
    ),
    Column("cause", "string", "", "Why a failed trial failed."),
)
"""Columns of the table of trials before the parameters."""
PARAMETER = Column(
    "<parameter>",
    "",
    "",
    "The value of a parameter, missing where it is inactive; one column for each, by its dotted name, constants too.",
)
EPOCHS_TRAINED = Column("epochs_trained", "Int64", "epochs", "Number of epochs that were reported.")
LAST = Column("last_<metric>", "Float64", "", "Last reported value of a metric; one column for each.")
BEST = Column("best_<objective>", "Float64", "", "Best value of the objective in any epoch.")
BEST_EPOCH = Column("best_epoch", "Int64", "epochs", "Epoch of the best value, from 1.")
AFTER: tuple[Column, ...] = (
    Column("started_at", "string", "", "Start of the first attempt: UTC, ISO 8601."),
    Column("duration_s", "Float64", "s", "Training time of all attempts."),
    Column("gpu_peak_gib", "Float64", "GiB", "Peak of the GPU memory that any rank reserved."),
    Column("host_peak_gib", "Float64", "GiB", "Peak of the resident host memory, summed over ranks."),
    Column("seed", "Int64", "", "Seed of the trial's random numbers."),
    Column("attempts", "Int64", "", "Number of attempts; 0 for a trial that was reused without training."),
    Column(
        "reused_from",
        "string",
        "",
        "The trial whose epochs were reused instead of training, as sweep/number, by its sweep's name at that time.",
    ),
    Column(
        "checkpoint",
        "string",
        "",
        "The newest checkpoint, with its epoch in its name, relative to the ledger's folder: the file of rank 0, with"
        " those of other ranks beside it, or the folder of a Ray Tune function; empty without a checkpoint.",
    ),
    Column(
        "code",
        "string",
        "",
        "Hash of the code that the trial ran with; several if a change of code was accepted, empty if it is unknown.",
    ),
)
"""Columns of the table of trials after the metrics."""

HISTORY: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column("epoch", "Int64", "epochs", "Epoch of the report, from 1."),
    Column(
        "<metric>", "Float64", "", "The value of a metric; one column for each, missing where a report did not have it."
    ),
    Column("elapsed_s", "Float64", "s", "Training time of the trial up to the end of this epoch."),
)

FAILURES: tuple[Column, ...] = (
    Column("trial", "Int64", "", "Number of the trial, from 1."),
    Column("attempt", "Int64", "", "Number of the attempt, from 1."),
    Column("cause", "string", "", "Why the attempt failed."),
    Column("class", "string", "", "Class of the cause, which decides what happens next: config, infra or unknown."),
    Column("was_retried", "boolean", "", "Whether another attempt followed, or was to follow."),
    Column("state", "string", "", "State of the trial now; it failed for good only if this is `failed`."),
    Column("evidence", "string", "", "What led to the cause, in one sentence."),
    Column("place", "string", "", "Where an exception was raised, as `Type at file:line`."),
    Column("log", "string", "", "Path of the trial's log, which has the output of all its attempts."),
    Column("log_tail", "string", "", "Last lines of the log, at most 20 and 4 KiB, without control characters."),
)

IMPORTANCE: tuple[Column, ...] = (
    Column("parameter", "string", "", "Dotted name of the parameter."),
    Column("importance", "Float64", "", "Share of the sum of all importances, from 0 to 1."),
    Column("low", "Float64", "", "Lower end of the interval that has the share in nine of ten bootstrap resamples."),
    Column("high", "Float64", "", "Upper end of that interval."),
    Column("epoch", "Int64", "epochs", "Trials are compared by their best value up to this epoch."),
    Column("trials", "Int64", "", "Number of trials that were compared."),
)

COMPARE: tuple[Column, ...] = (
    Column("sweep", "string", "", "Name of the sweep."),
    Column("method", "string", "", "Search method, with its sampler and its stopping rule."),
    Column("state", "string", "", "State of the sweep: running, done, gave_up or interrupted."),
    Column("trials", "Int64", "", "Number of trials that have begun."),
    Column("failed", "Int64", "", "Number of trials that failed."),
    Column("epochs", "Int64", "epochs", "Epochs that were trained, over all trials; reused trials count none."),
    Column(
        "training_s",
        "Float64",
        "s",
        "Training time, summed over all trials, also over those that ran at the same time.",
    ),
    Column("best", "Float64", "", "Best value of the objective."),
    Column("best_trial", "Int64", "", "Number of the trial with the best value."),
    Column("best_at_equal_epochs", "Float64", "", "Best value after as many epochs as the sweep with the fewest has."),
    Column(
        "best_at_equal_time", "Float64", "", "Best value after as much training time as the sweep with the least has."
    ),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "trials": (*BEFORE, PARAMETER, EPOCHS_TRAINED, LAST, BEST, BEST_EPOCH, *AFTER),
    "history": HISTORY,
    "failures": FAILURES,
    "importance": IMPORTANCE,
    "compare": COMPARE,
}
"""Name of each table to its columns, in order."""


def dtypes(columns: tuple[Column, ...]) -> dict[str, str]:
    """Name to dtype, of the columns that have a fixed name."""
    return {column.name: column.dtype for column in columns if not column.name.startswith("<")}
