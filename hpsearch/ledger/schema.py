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

SCHEMA_VERSION = 4

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # running | done | gave_up | interrupted
    Column("reason", Text),  # why it ended, in one sentence; NULL where it ran to its end
    Column("spec", Text, nullable=False),  # JSON: the resolved spec
    Column("folder", Text, nullable=False),  # the sweep's files, relative to the ledger's folder
    Column("spec_dir", Text),  # folder of the spec, where a trainable's file may be; absolute
    Column("code", Text),  # JSON: file or function -> hash; NULL where it can't be known
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("can_pause", Boolean),  # false once a trial should have waited at a rung and had no checkpoint
    Column("spec_from_home", Text),  # `spec_dir` from the ledger's folder, which may have moved with it; or NULL
)

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
    Column("code_hash", String(64)),  # hash of the code that it began with; NULL where it can't be known
    Column("code", Text),  # beginnings of the hashes of all code that it ran under, by commas; NULL where not known
    UniqueConstraint("sweep_id", "number"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),  # rises in the order in which the reports came, which replay needs
    Column("trial_id", Integer, ForeignKey("trials.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", Text, nullable=False),  # JSON: name -> number
    Column("elapsed_s", Float, nullable=False),  # seconds of training of this trial up to here
    UniqueConstraint("trial_id", "epoch"),
)

failures = Table(
    "failures",
    metadata,
    Column("id", Integer, primary_key=True),  # rises in the order in which they came, which replay needs
    Column("trial_id", Integer, ForeignKey("trials.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("place", Text),  # `Type at file:line` of an exception
    Column("was_retried", Boolean, nullable=False),
    Column("counts", Boolean, nullable=False),  # false once the user asked for another try all the same
    Column("failed_at", String(32), nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # nobody else trains this now
    Column("sweep_id", Integer, ForeignKey("sweeps.id"), nullable=False),  # void when its writer's lock is free
    Column("number", Integer, nullable=False),  # the trial that does
)

Index("failures_by_trial", failures.c.trial_id)
Index("trials_by_fingerprint", trials.c.fingerprint)
