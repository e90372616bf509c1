"""Which sweeps reused which: a trial keeps the name that its source had when it was reused, as `sweep/number`.

Its reports are its own, and its checkpoints are links of its own, so that nothing of it is lost with the source. The
source may have been removed or renamed since, and another sweep may have its name: one that began later is not it.
"""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from hpsearch.ledger import schema
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger


def reused_by(ledger: Ledger, sweep: SweepRecord) -> Counter[str]:
    """Name of another sweep to the number of its trials that were reused from this one."""
    sweeps, trials = schema.sweeps, schema.trials
    query = (
        sa.select(sweeps.c.name, trials.c.reused_from, trials.c.ended_at)
        .join(trials, trials.c.sweep_id == sweeps.c.id)
        .where(trials.c.reused_from.startswith(f"{sweep.name}/", autoescape=True), sweeps.c.id != sweep.id)
        .order_by(sweeps.c.id)
    )
    began = {sweep.name: sweep.started_at}
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
    return Counter(name for name, source, ended_at in rows if not _is_lost(source, ended_at, began))


def lost_sources(ledger: Ledger, sweep: SweepRecord) -> Counter[str]:
    """Name of a sweep that the ledger no longer has under that name to the number of trials reused from it."""
    sweeps, trials = schema.sweeps, schema.trials
    query = (
        sa.select(trials.c.reused_from, trials.c.ended_at)
        .where(trials.c.sweep_id == sweep.id, trials.c.reused_from.is_not(None))
        .order_by(trials.c.number)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
        found = connection.execute(sa.select(sweeps.c.name, sweeps.c.started_at)).all() if rows else []
    began = {row.name: row.started_at for row in found}
    return Counter(_sweep_of(source) for source, ended_at in rows if _is_lost(source, ended_at, began))


def _is_lost(source: str, ended_at: str | None, began: dict[str, str]) -> bool:
    """Whether no sweep of the source's name had begun when the trial that was reused from it ended."""
    started_at = began.get(_sweep_of(source))
    return started_at is None or (ended_at is not None and ended_at < started_at)


def _sweep_of(source: str) -> str:
    return source.rpartition("/")[0]
