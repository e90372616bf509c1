"""Earlier trials of the whole ledger, found by fingerprint: what was trained once is not trained again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from hpsearch.ledger.checkpoints import complete_epochs, newest_epoch, share_checkpoints
from hpsearch.ledger.claims import Claims
from hpsearch.ledger.fingerprint import Code, code_hash, data_hash, trial_fingerprint
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import ACTIVE_STATES, Claim, ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.paths import checkpoint_dir
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Known:
    """A trial that trained what another one is about to train."""

    name: str
    """As `sweep/number`."""
    reports: tuple[ReportRecord, ...]
    """Its epochs from 1 on, none missing; at least one."""
    complete: bool
    """Whether its trainable came to its end by itself: there are no further epochs."""


@final
class TrialCache:
    """Looks up what is known of a point, for one sweep, and keeps others from training the same meanwhile."""

    def __init__(
        self, ledger: Ledger, sweep: Sweep, record: SweepRecord, *, code: Code | None, again: bool = False
    ) -> None:
        """Prepare to look up.

        Args:
            ledger: Every sweep of it counts.
            sweep: Whose trials are looked up.
            record: The same sweep in the ledger.
            code: The trainable's source; None if it can't be read, and then nothing is ever found.
            again: Find and claim nothing, on the user's word.
        """
        self._ledger, self._sweep, self._record, self._again = ledger, sweep, record, again
        self._claims = Claims(ledger)
        self._code = code
        self._data = data_hash(sweep.data)
        self.code_hash = None if code is None else code_hash(code)

    def fingerprint(self, point: Point) -> str | None:
        """What `point` is recognised by in later sweeps; None if it can't be."""
        return trial_fingerprint(point, sweep=self._sweep, code=self._code, data=self._data)

    def claim(self, fingerprint: str | None, number: int) -> str | None:
        """Keep other sweeps from training this while trial `number` does.

        Returns:
            None if it is ours now; else, as `sweep/number`, the trial of a living process that has it.
        """
        if self._again or fingerprint is None:
            return None
        while (holder := self._claims.claim(fingerprint, self._record, number)) is not None:
            if self._is_alive(holder):
                return f"{holder.name}/{holder.number}"
            self._claims.void(fingerprint, holder)
        return None

    def is_busy(self, fingerprint: str | None) -> bool:
        """Whether another living process trains this now."""
        holder = None if self._again or fingerprint is None else self._claims.holder(fingerprint)
        return holder is not None and holder.sweep_id != self._record.id and self._is_alive(holder)

    def lookup(self, fingerprint: str | None, *, row: int, losses: Mapping[int, float]) -> Known | None:
        """The trial that went furthest with this fingerprint, further than the one that asks.

        Args:
            fingerprint: None finds nothing.
            row: The trial that asks; it does not count.
            losses: Epoch to what that one has on record, lower being better. One that had other values in these epochs
                is passed over: what it trained later is not how this one goes on.
        """
        for sweep, trial in self._trained(fingerprint, row=row, beyond=max(losses, default=0)):
            reports = self._ledger.reports_of(trial)
            is_whole = [report.epoch for report in reports] == list(range(1, len(reports) + 1))
            if is_whole and self._agree(reports, losses) == losses.keys():
                last_epoch = sweep.spec["limits"]["epochs"]
                return Known(
                    name=f"{sweep.name}/{trial.number}",
                    reports=tuple(reports),
                    complete=trial.state == "done" and (last_epoch is None or trial.epochs_trained < last_epoch),
                )
        return None

    def borrow_checkpoint(
        self, fingerprint: str | None, *, row: int, number: int, losses: Mapping[int, float]
    ) -> str | None:
        """Give trial `number` of this sweep the checkpoints of an equal one, if these are newer than its own.

        They are linked, not copied: it costs no room, and the other sweep may remove its own at any time.

        Args:
            fingerprint: None finds nothing.
            row: The trial that asks; it does not count.
            number: Its number.
            losses: Epoch to what it has on record, lower being better. Only the checkpoint of an epoch in which the
                other one had the same value is one of that epoch.

        Returns:
            The other trial as `sweep/number`; None if none has a better one.
        """
        target = checkpoint_dir(self._ledger.home / self._record.folder, number)
        own = newest_epoch(target, at_most=max(losses, default=0)) or 0
        lenders = [
            (epochs, f"{sweep.name}/{trial.number}", checkpoint_dir(self._ledger.home / sweep.folder, trial.number))
            for sweep, trial in self._trained(fingerprint, row=row)
            if (epochs := self._lent(sweep, trial, losses=losses, beyond=own))
        ]
        for epochs, name, source in sorted(lenders, key=lambda lender: -max(lender[0])):
            if share_checkpoints(source, target, epochs=epochs) is not None:
                return name
        return None

    def _lent(
        self, sweep: SweepRecord, trial: TrialRecord, *, losses: Mapping[int, float], beyond: int
    ) -> frozenset[int]:
        """Epochs of `losses`, later than `beyond`, of which a trial has a checkpoint."""
        found = complete_epochs(checkpoint_dir(self._ledger.home / sweep.folder, trial.number))
        wanted = {epoch for epoch in found if epoch > beyond and epoch in losses}
        return self._agree(self._ledger.reports_of(trial), losses) & wanted if wanted else frozenset()

    def _agree(self, reports: list[ReportRecord], losses: Mapping[int, float]) -> frozenset[int]:
        """Epochs in which a trial of the same fingerprint had the same value of the objective."""
        metric = self._sweep.metric
        return frozenset(
            report.epoch for report in reports if losses.get(report.epoch) == metric.sign * report.metrics[metric.name]
        )

    def _trained(
        self, fingerprint: str | None, *, row: int, beyond: int = 0
    ) -> Iterator[tuple[SweepRecord, TrialRecord]]:
        if self._again or fingerprint is None:
            return
        for sweep, trial in self._claims.find_trained(fingerprint, but=row, beyond=beyond):
            if trial.state not in ACTIVE_STATES or not is_held(self._ledger.home / sweep.folder):
                yield sweep, trial

    def _is_alive(self, holder: Claim) -> bool:
        return is_held(self._ledger.home / holder.folder)
