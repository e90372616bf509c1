"""The ledger's tables. A change here raises SCHEMA_VERSION and needs a step in `migrations.py`.

Values that only Python reads back (points, metrics, specs) are JSON text; what a query selects or sorts by is a column.
Times of day are UTC, ISO 8601 text with microseconds, so that they sort as text and read the same everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 5
"""Version of the tables, which a ledger has in its table `about`."""

metadata = MetaData()
"""All tables."""

about = Table(
    "about",
    metadata,
    Column("key", String(64), primary_key=True),  # only `schema`
    Column("value", Text, nullable=False),  # of `schema`: the version of the tables, in decimal digits
)
"""Facts about the ledger itself."""

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # one of records.SweepState
    Column("reason", Text),  # why it ended, in one sentence; NULL where it ran to its end
    Column("spec", Text, nullable=False),  # JSON: the resolved spec
    Column("folder", Text, nullable=False),  # the sweep's folder, relative to the ledger's
    Column("spec_dir", Text),  # folder of the spec, where a trainable's file may be; absolute
    Column("code", Text),  # JSON: file or function -> hash; NULL where it can't be known
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("can_pause", Boolean),  # false once a trial had no checkpoint at a rung, so that trials are stopped there
    Column("spec_from_home", Text),  # `spec_dir` relative to the ledger's folder, for when both are moved; or NULL
    Column("again", Boolean),  # true if no trial is reused from another sweep; NULL if it began before version 5
)
"""One row for each sweep; see `records.SweepRecord`."""

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", Integer, ForeignKey("sweeps.id"), nullable=False),
    Column("number", Integer, nullable=False),  # counted from 1 in each sweep
    Column("state", String(16), nullable=False),
    Column("cause", String(32)),
    Column("evidence", Text),  # one sentence
    Column("point", Text, nullable=False),  # JSON: dotted name -> value, constants included
    Column("seed", Integer, nullable=False),
    Column("fingerprint", String(64)),  # NULL where it can't be known
    Column("attempts", Integer, nullable=False),
    Column("epochs_trained", Integer, nullable=False),
    Column("best_value", Float),
    Column("best_epoch", Integer),
    Column("last_metrics", Text),  # JSON: name -> number
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("duration_s", Float),  # seconds of training, all attempts
    Column("gpu_peak_gib", Float),
    Column("host_peak_gib", Float),
    Column("checkpoint_epoch", Integer),
    Column("reused_from", Text),
    Column("code_hash", String(64)),  # hash of the code that it began with; NULL if unknown
    Column("code", Text),  # first digits of the hashes of all code that it ran with, by commas; NULL if unknown
    UniqueConstraint("sweep_id", "number"),
)
"""One row for each trial; see `records.TrialRecord`."""

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),  # in the order in which the reports arrived, which replay needs
    Column("trial_id", Integer, ForeignKey("trials.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", Text, nullable=False),  # JSON: name -> number
    Column("elapsed_s", Float, nullable=False),  # seconds of training of this trial up to here
    UniqueConstraint("trial_id", "epoch"),
)
"""One row for each trial and epoch; see `records.ReportRecord`."""

failures = Table(
    "failures",
    metadata,
    Column("id", Integer, primary_key=True),  # in the order in which they failed, which replay needs
    Column("trial_id", Integer, ForeignKey("trials.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("place", Text),  # `Type at file:line` of an exception
    Column("was_retried", Boolean, nullable=False),
    Column("counts", Boolean, nullable=False),  # false once the user asked for another attempt
    Column("failed_at", String(32), nullable=False),
)
"""One row for each failed attempt; see `records.FailureRecord`."""

claims = Table(
    "claims",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # no other sweep trains this now
    Column(
        "sweep_id", Integer, ForeignKey("sweeps.id"), nullable=False
    ),  # the claim is void if no process holds its lock
    Column("number", Integer, nullable=False),  # the trial that is trained
)
"""One row for each fingerprint that is being trained; see `records.Claim`."""

Index("failures_by_trial", failures.c.trial_id)
Index("trials_by_fingerprint", trials.c.fingerprint)
