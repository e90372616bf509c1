"""The cache of trials: epochs and checkpoints of the whole ledger by fingerprint, so that none is trained twice."""

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
class KnownTrial:
    """A trial of the ledger whose epochs an equal trial reuses."""

    name: str
    """Its sweep and number, as `sweep/number`."""
    reports: tuple[ReportRecord, ...]
    """Its reports from epoch 1 on, none missing; at least one."""
    complete: bool
    """Whether its trainable ended by itself, so that there are no further epochs."""


@final
class TrialCache:
    """Finds trials that can be reused by one sweep, and keeps other sweeps from training the same at the same time."""

    def __init__(
        self, ledger: Ledger, sweep: Sweep, record: SweepRecord, *, code: Code | None, again: bool = False
    ) -> None:
        """A cache for the trials of one sweep; hashes the data of its spec.

        Args:
            ledger: All sweeps of it are searched.
            sweep: The sweep whose trials are looked up.
            record: The same sweep in the ledger.
            code: The trainable's code; None if it can't be read, and then nothing is ever found.
            again: Find and claim nothing: the user asked to train everything again.
        """
        self._ledger, self._sweep, self._record, self._again = ledger, sweep, record, again
        self._claims = Claims(ledger)
        self._code = code
        self._data = data_hash(sweep.data)
        self.code_hash = None if code is None else code_hash(code)
        """Hash of the trainable's code; None if it can't be read."""

    def fingerprint(self, point: Point) -> str | None:
        """The fingerprint of a trial with these parameters; None if it can't be known."""
        return trial_fingerprint(point, sweep=self._sweep, code=self._code, data=self._data)

    def claim(self, fingerprint: str | None, number: int) -> str | None:
        """Claim a fingerprint for a trial, so that no other sweep trains an equal one meanwhile.

        Args:
            fingerprint: The trial's; None claims nothing.
            number: The trial's number.

        Returns:
            None if the trial may be trained now; else the equal trial that a living process trains, as `sweep/number`.
        """
        if self._again or fingerprint is None:
            return None
        while (holder := self._claims.claim(fingerprint, self._record, number)) is not None:
            if self._is_alive(holder):
                return f"{holder.name}/{holder.number}"
            self._claims.void(fingerprint, holder)
        return None

    def is_busy(self, fingerprint: str | None) -> bool:
        """Whether a living process of another sweep trains this fingerprint now."""
        holder = None if self._again or fingerprint is None else self._claims.holder(fingerprint)
        return holder is not None and holder.sweep_id != self._record.id and self._is_alive(holder)

    def lookup(self, fingerprint: str | None, *, ledger_id: int, losses: Mapping[int, float]) -> KnownTrial | None:
        """Find the trial with this fingerprint that has the most epochs, and more than the trial that would reuse them.

        Args:
            fingerprint: None finds nothing.
            ledger_id: Key of the row of the trial that would reuse them; it is left out.
            losses: Epoch to loss of that trial, lower being better. Trials with other losses at these epochs
                are left out: their later epochs are not how this one would continue.

        Returns:
            None if there is no such trial.
        """
        for sweep, trial in self._trained(fingerprint, ledger_id=ledger_id, beyond=max(losses, default=0)):
            reports = self._ledger.reports_of(trial)
            is_whole = [report.epoch for report in reports] == list(range(1, len(reports) + 1))
            if is_whole and self._agree(reports, losses) == losses.keys():
                last_epoch = sweep.spec["limits"]["epochs"]
                return KnownTrial(
                    name=f"{sweep.name}/{trial.number}",
                    reports=tuple(reports),
                    complete=trial.state == "done" and (last_epoch is None or trial.epochs_trained < last_epoch),
                )
        return None

    def borrow_checkpoint(
        self, fingerprint: str | None, *, ledger_id: int, number: int, losses: Mapping[int, float]
    ) -> str | None:
        """Give a trial of this sweep the checkpoints of an equal one, if these are newer than its own.

        They are linked, not copied: it takes no disk space, and the other sweep may remove its own at any time.

        Args:
            fingerprint: None finds nothing.
            ledger_id: Key of the row of the trial that gets them; it is left out of the search.
            number: The number of that trial.
            losses: Epoch to loss of that trial, lower being better. Only checkpoints of epochs at which the
                other trial had the same loss are shared.

        Returns:
            The other trial as `sweep/number`; None if no trial has a newer checkpoint.
        """
        target = checkpoint_dir(self._ledger.home / self._record.folder, number)
        own = newest_epoch(target, at_most=max(losses, default=0)) or 0
        lenders = [
            (epochs, f"{sweep.name}/{trial.number}", checkpoint_dir(self._ledger.home / sweep.folder, trial.number))
            for sweep, trial in self._trained(fingerprint, ledger_id=ledger_id)
            if (epochs := self._lent(sweep, trial, losses=losses, beyond=own))
        ]
        for epochs, name, source in sorted(lenders, key=lambda lender: -max(lender[0])):
            if share_checkpoints(source, target, epochs=epochs) is not None:
                return name
        return None

    def _lent(
        self, sweep: SweepRecord, trial: TrialRecord, *, losses: Mapping[int, float], beyond: int
    ) -> frozenset[int]:
        """Epochs after `beyond` of which a trial has a checkpoint, and the same loss as in `losses`."""
        found = complete_epochs(checkpoint_dir(self._ledger.home / sweep.folder, trial.number))
        wanted = {epoch for epoch in found if epoch > beyond and epoch in losses}
        return self._agree(self._ledger.reports_of(trial), losses) & wanted if wanted else frozenset()

    def _agree(self, reports: list[ReportRecord], losses: Mapping[int, float]) -> frozenset[int]:
        """Epochs at which the reports of a trial have the same loss as `losses`."""
        metric = self._sweep.metric
        return frozenset(
            report.epoch for report in reports if losses.get(report.epoch) == metric.sign * report.metrics[metric.name]
        )

    def _trained(
        self, fingerprint: str | None, *, ledger_id: int, beyond: int = 0
    ) -> Iterator[tuple[SweepRecord, TrialRecord]]:
        if self._again or fingerprint is None:
            return
        for sweep, trial in self._claims.find_trained(fingerprint, exclude_id=ledger_id, beyond=beyond):
            if trial.state not in ACTIVE_STATES or not is_held(self._ledger.home / sweep.folder):
                yield sweep, trial

    def _is_alive(self, holder: Claim) -> bool:
        return is_held(self._ledger.home / holder.folder)
