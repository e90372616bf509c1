"""Earlier trials of the whole ledger, found by fingerprint: what was trained once is not trained again."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from hpsearch.ledger.claims import Claims
from hpsearch.ledger.fingerprint import Code, code_hash, data_hash, trial_fingerprint
from hpsearch.ledger.layout import checkpoint_dir
from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import UNDER_WAY_STATES, Claim, ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.space import Point
from hpsearch.sweep import Sweep

_EPOCH = re.compile(r"(?:ray-)?epoch-(\d+)\b")


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
class Memory:
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

    def recall(self, fingerprint: str | None, *, row: int, beyond: int = 0) -> Known | None:
        """The trial that went furthest with this fingerprint.

        Args:
            fingerprint: None finds nothing.
            row: The trial that asks; it does not count.
            beyond: Epochs that are known already.
        """
        for sweep, trial in self._trained(fingerprint, row=row, beyond=beyond):
            reports = self._ledger.reports_of(trial)
            if [report.epoch for report in reports] == list(range(1, len(reports) + 1)):
                last_epoch = sweep.spec["limits"]["epochs"]
                return Known(
                    name=f"{sweep.name}/{trial.number}",
                    reports=tuple(reports),
                    complete=trial.state == "done" and (last_epoch is None or trial.epochs_trained < last_epoch),
                )
        return None

    def borrow_checkpoint(self, fingerprint: str | None, *, row: int, number: int, at_most: int) -> str | None:
        """Give trial `number` of this sweep the checkpoints of an equal one, if these are newer than its own.

        They are linked, not copied: it costs no room, and the other sweep may remove its own at any time.

        Args:
            fingerprint: None finds nothing.
            row: The trial that asks; it does not count.
            number: Its number.
            at_most: Epochs that it has on record; a later checkpoint is of no use to it.

        Returns:
            The other trial as `sweep/number`; None if none has a better one.
        """
        target = checkpoint_dir(self._ledger.home / self._record.folder, number)
        own = newest_epoch(target, at_most)
        for sweep, trial in self._trained(fingerprint, row=row):
            source = checkpoint_dir(self._ledger.home / sweep.folder, trial.number)
            if newest_epoch(source, at_most) > own and _link_files(source, target):
                return f"{sweep.name}/{trial.number}"
        return None

    def _trained(
        self, fingerprint: str | None, *, row: int, beyond: int = 0
    ) -> Iterator[tuple[SweepRecord, TrialRecord]]:
        if self._again or fingerprint is None:
            return
        for sweep, trial in self._claims.find_trained(fingerprint, but=row, beyond=beyond):
            if trial.state not in UNDER_WAY_STATES or not is_held(self._ledger.home / sweep.folder):
                yield sweep, trial

    def _is_alive(self, holder: Claim) -> bool:
        return is_held(self._ledger.home / holder.folder)


def newest_epoch(folder: Path, at_most: int) -> int:
    """The last epoch that has files in a folder of checkpoints, none later than `at_most`; 0 without any."""
    found = (_EPOCH.match(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return max((epoch for match in found if match and (epoch := int(match[1])) <= at_most), default=0)


def _link_files(source: Path, target: Path) -> bool:
    """Put what is in `source` into `target` in place of what is there; false if it vanished meanwhile.

    A file that vanishes is passed over: a checkpoint that misses one is noticed when it is read.
    """
    beside = target.with_name(f".{target.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(source, beside, symlinks=True, copy_function=_link)
    except (shutil.Error, FileNotFoundError):
        if not beside.is_dir():
            return False
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return True


def _link(path: str, target: str) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(path, target)
