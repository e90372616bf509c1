"""Migrations of older ledgers to the current schema, one step for each version.

Steps only add tables and columns, so that a process of the version before can keep using a ledger that it has open. A
step is never edited once a ledger of its version exists; `tests/ledgers/` keeps one of each version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hpsearch.ledger.schema import SCHEMA_VERSION, about

if TYPE_CHECKING:
    from alembic.operations import Operations


def _to_2(op: Operations) -> None:
    """Add the tables of failures and claims, whether a sweep can pause trials, and the code that a trial began with."""
    op.add_column("sweeps", sa.Column("can_pause", sa.Boolean))
    op.add_column("trials", sa.Column("code_hash", sa.String(64)))
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trial_id", sa.Integer, sa.ForeignKey("trials.id"), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("cause", sa.String(32), nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("was_retried", sa.Boolean, nullable=False),
        sa.Column("counts", sa.Boolean, nullable=False),
        sa.Column("failed_at", sa.String(32), nullable=False),
    )
    op.create_index("failures_by_trial", "failures", ["trial_id"])
    op.create_table(
        "claims",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("sweep_id", sa.Integer, sa.ForeignKey("sweeps.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
    )


def _to_3(op: Operations) -> None:
    """Add the folder of a sweep's spec, relative to the ledger's."""
    op.add_column("sweeps", sa.Column("spec_from_home", sa.Text))


def _to_4(op: Operations) -> None:
    """Add the hashes of the code that a trial ran with."""
    op.add_column("trials", sa.Column("code", sa.Text))


def _to_5(op: Operations) -> None:
    """Add whether a sweep trains all its trials itself."""
    op.add_column("sweeps", sa.Column("again", sa.Boolean))


STEPS: Mapping[int, Callable[[Operations], None]] = {2: _to_2, 3: _to_3, 4: _to_4, 5: _to_5}
"""Version to the step that migrates a ledger of the version before to it."""


def migrate(connection: Connection, version: int) -> int:
    """Take one step, within the caller's transaction; if another process has taken it meanwhile, do nothing.

    The first statement takes the write lock, so that of two processes one takes the step and the other finds it done.

    Args:
        connection: In a transaction that the caller commits.
        version: The version that the ledger had when it was read; less than SCHEMA_VERSION.

    Returns:
        The version that the ledger has now; at least SCHEMA_VERSION after as many calls as there are steps.
    """
    from alembic.operations import Operations  # importing it takes half a second, which only an older ledger needs
    from alembic.runtime.migration import MigrationContext

    is_schema = about.c.key == "schema"
    raised = sa.update(about).where(is_schema, about.c.value == str(version)).values(value=str(version + 1))
    if connection.execute(raised).rowcount == 1:
        STEPS[version + 1](Operations(MigrationContext.configure(connection)))
        return version + 1
    return int(connection.execute(sa.select(about.c.value).where(is_schema)).scalar_one())


assert set(STEPS) == set(range(2, SCHEMA_VERSION + 1)), "a step for each version"
