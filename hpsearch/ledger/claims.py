"""Trials of other sweeps with the same fingerprint: which were trained, and which is being trained now.

A claim says that a sweep is training a fingerprint; only one sweep can have it. It stays in the ledger when the process
of that sweep is killed, so it counts only while a process holds the lock of the sweep; see `lock.py`.
"""

from __future__ import annotations

from typing import final

import sqlalchemy as sa

from hpsearch.ledger import schema
from hpsearch.ledger.queries import sweep_record, trial_records
from hpsearch.ledger.records import ACTIVE_STATES, REUSABLE_STATES, Claim, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger


@final
class Claims:
    """Finds and claims trials of a whole ledger by their fingerprint."""

    def __init__(self, ledger: Ledger) -> None:
        """Prepare; nothing is read yet.

        Args:
            ledger: The open ledger.
        """
        self._ledger = ledger

    def find_trained(
        self, fingerprint: str, *, exclude_id: int, beyond: int = 0
    ) -> list[tuple[SweepRecord, TrialRecord]]:
        """The trials of all sweeps with this fingerprint, those with the most epochs first.

        Args:
            fingerprint: As `fingerprint.trial_fingerprint` returns it.
            exclude_id: Key of the row of a trial that is left out.
            beyond: Trials with no more epochs than this are left out.

        Returns:
            (Sweep, trial) for each in one of REUSABLE_STATES or ACTIVE_STATES; that a process trains the latter is not
            checked. Their `epochs_trained` is the epoch of the last committed report.
        """
        trials, reports = schema.trials, schema.reports
        epochs = sa.select(sa.func.max(reports.c.epoch)).where(reports.c.trial_id == trials.c.id).scalar_subquery()
        columns = [trials.c[name] for name in TrialRecord.__dataclass_fields__ if name != "epochs_trained"]
        query = (
            sa.select(*columns, epochs.label("epochs_trained"), trials.c.sweep_id)
            .where(trials.c.fingerprint == fingerprint, trials.c.id != exclude_id, epochs > beyond)
            .where(trials.c.state.in_((*REUSABLE_STATES, *ACTIVE_STATES)))
            .order_by(epochs.desc(), trials.c.id)
        )
        with self._ledger.reading() as connection:
            rows = connection.execute(query).mappings().all()
            sweeps = schema.sweeps
            theirs = sa.select(sweeps).where(sweeps.c.id.in_({row["sweep_id"] for row in rows}))
            records = connection.execute(theirs).mappings().all() if rows else ()
        found = {row["id"]: sweep_record(row, self._ledger.home) for row in records}
        return [(found[row["sweep_id"]], trial) for row, trial in zip(rows, trial_records(rows), strict=True)]

    def claim(self, fingerprint: str, sweep: SweepRecord, number: int) -> Claim | None:
        """Claim a fingerprint for a trial.

        Args:
            fingerprint: As `fingerprint.trial_fingerprint` returns it.
            sweep: The trial's sweep.
            number: The trial's number.

        Returns:
            None if it is claimed for this sweep now; else the claim of another sweep, whose process may be dead.
        """
        claims = schema.claims
        with self._ledger.transaction() as connection:
            ours = sa.update(claims).where(claims.c.fingerprint == fingerprint, claims.c.sweep_id == sweep.id)
            if connection.execute(ours.values(number=number)).rowcount == 1:
                return None
            holder = self.holder(fingerprint)
            if holder is None:
                row = {"fingerprint": fingerprint, "sweep_id": sweep.id, "number": number}
                connection.execute(sa.insert(claims).values(row))
            return holder

    def holder(self, fingerprint: str) -> Claim | None:
        """The claim of a fingerprint; None without one."""
        claims, sweeps = schema.claims, schema.sweeps
        query = (
            sa.select(sweeps.c.id.label("sweep_id"), sweeps.c.name, sweeps.c.folder, claims.c.number)
            .join(sweeps, sweeps.c.id == claims.c.sweep_id)
            .where(claims.c.fingerprint == fingerprint)
        )
        with self._ledger.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else Claim(**row)

    def void(self, fingerprint: str, claim: Claim) -> None:
        """Remove a claim of another sweep, whose process is dead."""
        claims = schema.claims
        with self._ledger.transaction() as connection:
            its = (claims.c.fingerprint == fingerprint, claims.c.sweep_id == claim.sweep_id)
            connection.execute(sa.delete(claims).where(*its))
