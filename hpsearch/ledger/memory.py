"""Earlier trials of the whole ledger, found by fingerprint: what was trained once is not trained again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

from hpsearch.ledger.fingerprint import Code, data_hash, trial_fingerprint
from hpsearch.ledger.records import ReportRecord, SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.space import Point
from hpsearch.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Known:
    """A trial that trained what another one is about to train."""

    name: str
    """As `sweep/number`."""
    reports: tuple[ReportRecord, ...]
    """Its epochs from 1 on, none missing; at least one."""
    complete: bool
    """Whether its trainable came to its end by itself: there are no further epochs."""
    checkpoint_dir: Path | None
    """Its checkpoints; None without any."""


@final
class Memory:
    """Looks up what is known of a point, for one sweep."""

    def __init__(
        self, ledger: Ledger, sweep: Sweep, record: SweepRecord, *, code: Code | None, again: bool = False
    ) -> None:
        """Prepare to look up.

        Args:
            ledger: Every sweep of it counts.
            sweep: Whose trials are looked up.
            record: The same sweep in the ledger.
            code: The trainable's source; None if it can't be read, and then nothing is ever found.
            again: Find nothing, on the user's word.
        """
        self._ledger, self._sweep, self._record, self._again = ledger, sweep, record, again
        self._code = code
        self._data = data_hash(sweep.data)

    def fingerprint(self, point: Point) -> str | None:
        """What `point` is recognised by in later sweeps; None if it can't be."""
        return trial_fingerprint(point, sweep=self._sweep, code=self._code, data=self._data)

    def recall(self, fingerprint: str | None, *, row: int) -> Known | None:
        """The trial that went furthest with this fingerprint, but for the one in `row` itself."""
        if self._again or fingerprint is None:
            return None
        found = self._ledger.find_trained(fingerprint, but=row)
        if found is None:
            return None
        sweep, trial = found
        reports = self._ledger.reports_of(trial)
        if not reports or [report.epoch for report in reports] != list(range(1, len(reports) + 1)):
            return None
        last_epoch = sweep.spec["limits"]["epochs"]
        checkpoint_dir = self._ledger.home / sweep.folder / "trials" / f"{trial.number:04d}" / "checkpoint"
        return Known(
            name=f"{sweep.name}/{trial.number}",
            reports=tuple(reports),
            complete=trial.state == "done" and (last_epoch is None or trial.epochs_trained < last_epoch),
            checkpoint_dir=checkpoint_dir if checkpoint_dir.is_dir() else None,
        )

    def take_checkpoint(self, known: Known, number: int) -> None:
        """Copy the known trial's checkpoints to trial `number` of this sweep, which goes on from there."""
        target = self._ledger.home / self._record.folder / "trials" / f"{number:04d}" / "checkpoint"
        if known.checkpoint_dir is not None and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(known.checkpoint_dir, target, symlinks=True)
